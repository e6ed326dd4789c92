import { OAuthFault } from '../../contract/oauth.ts';
import type { Proof } from '../../identity/sign-ins.ts';
import type { ActorId } from '../../model/actor.ts';
import { parseId, type SignInId } from '../../model/ids.ts';
import type { Caller } from '../control.ts';
import type { Act } from '../gate.ts';
import type { OAuthParts } from './oauth-parts.ts';

/** Who let a program or device in, by which sign-in, and how the person had proved who it is. Kept in the store. */
export type Approval = { readonly actor: ActorId; readonly signIn: SignInId; readonly proof: Proof };

type Parts = Pick<OAuthParts, 'store' | 'clock' | 'gate'>;

/**
 * Of a person in a browser: no program lets in another one, which would live on when the first is over. What comes of
 * it is as old and as strong as the sign-in. Throws Fault `access.denied`, which is on record.
 */
export async function approvalBy({ store, clock, gate }: Parts, caller: Caller, act: Act): Promise<Approval> {
  const { actor } = caller;
  const signIn = parseId('signIn', actor.credential ?? '');
  const record = signIn === null ? null : await store.signIns.get(signIn, clock.now());
  if (signIn === null || record?.kind !== 'browser' || actor.signIn === undefined)
    throw await gate.refuse(caller, act, {
      rule: 'approval:not-a-browser',
      detail: 'Programs are let in by a person in a browser.',
    });
  const { authAt, methods, mfa, provider, providerSession } = record;
  return { actor: actor.id, signIn, proof: { at: authAt, methods, mfa, provider, providerSession } };
}

/**
 * Whoever signs out everywhere, or is signed out, has let nobody in who waits still. Throws OAuthFault `invalid_grant`
 * where the sign-in has ended.
 */
export async function refuseEnded({ store, clock }: Parts, { signIn }: Approval): Promise<void> {
  if ((await store.signIns.get(signIn, clock.now())) !== null) return;
  throw new OAuthFault('invalid_grant', 'The sign-in that let it in has ended. Sign in once more.');
}
