import { Fault } from '../../contract/faults.ts';
import type { Asked, SignInParts } from './sign-in-parts.ts';

/** Why a sign-in was refused, for the record alone: the caller is told the same whatever it was. */
export type RefusalReason =
  | 'unknown'
  | 'disabled'
  | 'password'
  | 'code'
  | 'recovery-code'
  | 'continuation'
  | 'passkey-challenge'
  | 'passkey-unknown'
  | 'passkey-invalid'
  | 'passkey-copied'
  | 'invitation'
  | 'reset'
  | 'ticket';

export type Refusal = {
  readonly action: `sign-in.${string}` | 'invitation.accept' | 'account.step-up';
  readonly reason: RefusalReason;
  /** Only of somebody who is there: what strangers type may be a password. */
  readonly user: string | null;
};

const texts: Readonly<Record<RefusalReason, string>> = {
  unknown: 'The name or the password is not right.',
  disabled: 'The name or the password is not right.',
  password: 'The name or the password is not right.',
  code: 'The code is not right, or it was used before. Take the next one.',
  'recovery-code': 'The recovery code is not right, or it was used before.',
  continuation: 'This took too long or was used before. Sign in again from the beginning.',
  'passkey-challenge': 'This took too long or was used before. Try the passkey again.',
  'passkey-unknown': 'The passkey is not taken here.',
  'passkey-invalid': 'The passkey is not taken here.',
  'passkey-copied': 'The passkey is not taken here.',
  invitation: 'The invitation is used, expired or revoked. Ask whoever sent it for another.',
  reset: 'The link is used, expired or replaced by a newer one. Ask your administrator for another.',
  ticket: 'The ticket is used or expired. Get another one.',
};

/** Records a refusal, repetitions counted, and returns what to throw. */
export function refusedSignIn({ gate }: Pick<SignInParts, 'gate'>, asked: Asked, refusal: Refusal): Fault {
  const { action, reason, user } = refusal;
  gate.note({
    action,
    actor: { id: 'system:nobody' },
    resource: user === null ? { kind: 'user' } : { kind: 'user', id: user },
    outcome: 'denied',
    rule: `sign-in:${reason}`,
    request: asked,
    countAs: `${action} ${reason} ${user ?? ''} ${asked.address ?? 'local'}`,
  });
  return new Fault('auth.invalid', { detail: texts[reason] });
}

/** Records that a name is refused unheard for a while. */
export function notedLockout(
  { gate }: Pick<SignInParts, 'gate'>,
  asked: Asked,
  user: string | null,
): () => void {
  return () =>
    gate.note({
      action: 'sign-in.lockout',
      actor: { id: 'system:nobody' },
      resource: user === null ? { kind: 'user' } : { kind: 'user', id: user },
      outcome: 'denied',
      rule: 'sign-in:locked',
      request: asked,
    });
}

/** For passwords and passkeys of this server where people have to sign in at their provider. */
export function refuseLocal({ signInConfig }: Pick<SignInParts, 'signInConfig'>): void {
  if (signInConfig.localSignIn) return;
  throw new Fault('access.denied', {
    detail: 'This server takes no passwords or passkeys of its own. Sign in through your identity provider.',
  });
}
