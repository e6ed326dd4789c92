import type { RotateKeys, SigningKeyView } from '../../contract/oauth-schemas.ts';
import type { SigningKey, SigningKeys } from '../../identity/signing-keys.ts';
import type { Caller } from '../control.ts';
import type { Gate } from '../gate.ts';
import { timeOrNull, timeText } from '../views.ts';

export type KeyUseCases = {
  /** Newest first, without anything secret. */
  list(caller: Caller): Promise<readonly SigningKeyView[]>;
  /** Signs with another key from the moment it resolves; every process on the store follows. */
  rotate(caller: Caller, request: RotateKeys): Promise<SigningKeyView>;
};

export function keyUseCases({ gate, signingKeys }: { gate: Gate; signingKeys: SigningKeys }): KeyUseCases {
  return {
    list: async (caller) => {
      await gate.read(caller, { action: 'key.list', resource: { kind: 'key' } });
      return (await signingKeys.list()).map(keyView);
    },
    rotate: async (caller, { compromised = false }) => {
      const act = { action: 'key.rotate', resource: { kind: 'key' }, data: { compromised } } as const;
      return keyView(await gate.act(caller, act, () => signingKeys.rotate({ overlap: !compromised })));
    },
  };
}

function keyView({ id, createdAt, retiredAt, expiresAt }: SigningKey): SigningKeyView {
  return {
    id,
    algorithm: 'EdDSA',
    createdAt: timeText(createdAt),
    retiredAt: timeOrNull(retiredAt),
    expiresAt: timeOrNull(expiresAt),
  };
}
