import { Fault } from '../../contract/faults.ts';
import type { PasskeyOptions, StepUp } from '../../contract/sign-in-schemas.ts';
import { actorName } from '../../model/actor.ts';
import { parseId, type SignInId } from '../../model/ids.ts';
import type { UserRecord } from '../../store/identity-store.ts';
import type { Caller } from '../control.ts';
import { takeTotpCode } from './authenticators.ts';
import { factorsOf } from './completion.ts';
import { authenticationAnswer, passkeyProof, passkeyReason } from './sign-in.ts';
import type { SignInParts } from './sign-in-parts.ts';
import { notedLockout, refusedSignIn, refuseLocal } from './sign-in-refusals.ts';

/** Proving again who one is, within a sign-in (RFC 9470), and ending it. */
export type StepUpUseCases = {
  options(caller: Caller): Promise<PasskeyOptions>;
  /** The cookie is another one; null for a program's sign-in. */
  prove(caller: Caller, given: StepUp): Promise<{ readonly cookie: string | null }>;
  /** Containment: works while nothing can be recorded. */
  signOut(caller: Caller): Promise<void>;
};

const action = 'account.step-up';

export function stepUpUseCases(parts: SignInParts): StepUpUseCases {
  return {
    async options(caller) {
      const { user } = await signedIn(parts, caller);
      return { ...(await parts.passkeys.challenge({ purpose: 'step-up', subject: user.name })) };
    },
    async prove(caller, given) {
      const { id, user, mfa } = await signedIn(parts, caller);
      refuseLocal(parts);
      const proved =
        'answer' in given
          ? await byPasskey(parts, caller, user, given)
          : await byPassword(parts, caller, user, given);
      await parts.gate.record({
        action,
        actor: { id: caller.actor.id },
        resource: { kind: 'account', id: user.name },
        outcome: 'succeeded',
        rule: 'sign-in:proved',
        request: caller.request,
        data: { signIn: id, methods: [...proved.methods] },
      });
      const proof = {
        methods: proved.methods,
        mfa: mfa || proved.mfa,
        at: parts.clock.now(),
        provider: null,
        providerSession: null,
      };
      const next = await parts.signIns.prove(id, proof);
      if (next !== null) return next;
      throw new Fault('auth.invalid', { detail: 'This sign-in has ended. Sign in again.' });
    },
    async signOut(caller) {
      const { name, id } = ownSignIn(caller);
      const resource = { kind: 'account', id: name, owner: caller.actor.id } as const;
      await parts.gate.contain(caller, { action: 'account.sign-out', resource }, async () => {
        await parts.signIns.end(id, 'signed out');
      });
    },
  };
}

type Proved = { readonly methods: readonly string[]; readonly mfa: boolean };

async function byPasskey(
  parts: SignInParts,
  caller: Caller,
  user: UserRecord,
  { answer }: Extract<StepUp, { answer: unknown }>,
): Promise<Proved> {
  const purpose = { purpose: 'step-up', subject: user.name } as const;
  const proof = await parts.passkeys.prove(purpose, authenticationAnswer(answer));
  if (proof.ok) return passkeyProof;
  throw refusedSignIn(parts, caller.request, { action, reason: passkeyReason(proof), user: user.name });
}

/** Whoever has a second factor proves it too: a password that was seen is not enough for what is dangerous. */
async function byPassword(
  parts: SignInParts,
  { request }: Caller,
  user: UserRecord,
  { password, code }: Extract<StepUp, { password: unknown }>,
): Promise<Proved> {
  const { lockout, passwords } = parts;
  const factors = await factorsOf(parts, user);
  if (factors.length > 0 && !factors.includes('totp'))
    throw new Fault('request.invalid', {
      detail: 'Prove it with your passkey: you have no authenticator app.',
    });
  if (factors.length > 0 && code === undefined)
    throw new Fault('request.invalid', {
      detail: 'Send the code of your authenticator app with the password.',
    });
  const { name } = user;
  const locked = notedLockout(parts, request, name);
  const kept = async () => {
    await lockout.begin(name, request.address, locked);
    return user.passwordHash;
  };
  const { ok } = await passwords.verify(password, kept, request.address);
  if (!ok) throw refusedSignIn(parts, request, { action, reason: 'password', user: name });
  await lockout.forgive(name, request.address);
  if (code === undefined || factors.length === 0) return { methods: ['pwd'], mfa: false };
  await lockout.beginCode(name, locked);
  if (!(await takeTotpCode(parts, user, code)))
    throw refusedSignIn(parts, request, { action, reason: 'code', user: name });
  await lockout.forgiveCode(name);
  return { methods: ['pwd', 'otp', 'mfa'], mfa: true };
}

/** The sign-in of a person who came in interactively, and the name. Throws Fault `access.denied` for all others. */
export function ownSignIn({ actor }: Caller): { id: SignInId; name: string; mfa: boolean } {
  const id = actor.credential === undefined ? null : parseId('signIn', actor.credential);
  if (id !== null && actor.signIn !== undefined)
    return { id, name: actorName(actor.id), mfa: actor.signIn.mfa };
  throw new Fault('access.denied', {
    detail: 'This is for people who are signed in: tokens, agents and the machine have no sign-in to prove.',
  });
}

async function signedIn(
  { store }: SignInParts,
  caller: Caller,
): Promise<{ id: SignInId; user: UserRecord; mfa: boolean }> {
  const { id, name, mfa } = ownSignIn(caller);
  const user = await store.identity.users.get(name);
  if (user === null || user.phase !== 'active')
    throw new Fault('auth.invalid', { detail: 'This sign-in has ended. Sign in again.' });
  return { id, user, mfa };
}
