import type { Clock } from '../../base/clock.ts';
import type { WhoamiView } from '../../contract/oauth-schemas.ts';
import type { Tokens } from '../../identity/tokens.ts';
import type { CredentialRef } from '../../model/actor.ts';
import { parseId } from '../../model/ids.ts';
import type { IdentityStore } from '../../store/identity-store.ts';
import type { Caller } from '../control.ts';
import { timeOrNull, timeText } from '../views.ts';

type WhoamiParts = {
  readonly store: Pick<IdentityStore, 'signIns'>;
  readonly tokens: Tokens;
  readonly clock: Clock;
};

/** What the caller is told of itself. Nothing is decided: it says what this very request already proved. */
export async function whoami(parts: WhoamiParts, { actor }: Caller): Promise<WhoamiView> {
  const { id, role, scopes, reach, teams, onBehalfOf, credential, signIn } = actor;
  return {
    actor: id,
    role: role ?? null,
    scopes: [...scopes],
    reach,
    teams: [...(teams ?? [])],
    onBehalfOf: onBehalfOf ?? null,
    credential: credential ?? null,
    signIn: signIn === undefined ? null : { at: timeText(signIn.at), mfa: signIn.mfa },
    expiresAt: timeOrNull(await endOf(parts, credential)),
  };
}

async function endOf(
  { store, tokens, clock }: WhoamiParts,
  credential: CredentialRef | undefined,
): Promise<number | null> {
  const signIn = parseId('signIn', credential ?? '');
  if (signIn !== null) return (await store.signIns.get(signIn, clock.now()))?.expiresAt ?? null;
  const token = parseId('token', credential ?? '');
  return token === null ? null : ((await tokens.get(token))?.expiresAt ?? null);
}
