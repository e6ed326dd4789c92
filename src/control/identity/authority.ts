import type {
  AuthorityCertificateView,
  AuthorityView,
  RotateAuthority,
} from '../../contract/agents-schemas.ts';
import type { AuthorityCertificate } from '../../identity/certificates/authority.ts';
import { identityLimits } from '../../identity/limits.ts';
import type { Caller } from '../control.ts';
import { timeText } from './account-views.ts';
import type { AgentParts } from './agents.ts';

/** The authority that issues certificates to agents and services. */
export type AuthorityUseCases = {
  get(caller: Caller): Promise<AuthorityView>;
  /** Another key signs from now on. */
  rotate(caller: Caller, request: RotateAuthority): Promise<AuthorityCertificateView>;
};

export function authorityUseCases(parts: AgentParts): AuthorityUseCases {
  const { gate, store, clock, authority, changes } = parts;
  return {
    get: async (caller) => {
      await gate.read(caller, { action: 'key.list', resource: { kind: 'key' } });
      const certificates = (await authority.certificates()).map(certificateView);
      const revoked = (await store.identity.agents.revoked('certificate', clock.now())).map(
        ({ id, agent, proof, revokedAt }) => ({
          credential: id,
          agent,
          fingerprint: proof,
          revokedAt: timeText(revokedAt),
        }),
      );
      return { trustDomain: authority.trustDomain, certificates, revoked };
    },
    rotate: async (caller, { overlapSeconds }) => {
      const overlapMs =
        overlapSeconds === undefined ? identityLimits.authorityOverlapMs : overlapSeconds * 1000;
      const resource = { kind: 'key', id: 'authority' } as const;
      const data = { use: 'authority', overlapSeconds: overlapMs / 1000 };
      return await gate.act(caller, { action: 'key.rotate', resource, data }, async () => {
        const made = await authority.rotate(overlapMs);
        await changes.look();
        return certificateView(made);
      });
    },
  };
}

function certificateView(one: AuthorityCertificate): AuthorityCertificateView {
  const { id, certificate, fingerprint, createdAt, expiresAt, signs } = one;
  return {
    id,
    certificate,
    fingerprint,
    createdAt: timeText(createdAt),
    expiresAt: timeText(expiresAt),
    signs,
  };
}
