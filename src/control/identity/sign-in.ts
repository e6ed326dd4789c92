import type {
  NewPasskeyAnswer,
  PasskeyAnswer,
  PasskeyOptions,
  SignInMethods,
  TotpEnrollmentView,
} from '../../contract/sign-in-schemas.ts';
import type { AuthenticationAnswer, PasskeyProof, RegistrationAnswer } from '../../identity/passkeys.ts';
import { recoveryCodeHash } from '../../identity/recovery-codes.ts';
import { isActorName } from '../../model/actor.ts';
import type { UserRecord } from '../../store/identity-store.ts';
import {
  addPasskey,
  beginTotp,
  confirmTotp,
  firstRecoveryCodes,
  requirePasskeys,
  takeTotpCode,
} from './authenticators.ts';
import { completeSignIn, factorsOf, openSignIn, type Proved } from './completion.ts';
import { type PendingSignIn, takePending, tryPending } from './pending-sign-ins.ts';
import type { Asked, SignInParts, SignInResult } from './sign-in-parts.ts';
import {
  notedLockout,
  type Refusal,
  type RefusalReason,
  refusedSignIn,
  refuseLocal,
} from './sign-in-refusals.ts';
import { type TicketParts, withTicket } from './tickets.ts';

/**
 * How people come in. Nobody is known here yet: each takes what the request says of itself, records its outcome, and
 * throws Fault `auth.invalid` with one text for everything that was not right.
 */
export type SignInUseCases = {
  methods(): Promise<SignInMethods>;
  password(asked: Asked, given: { name: string; password: string }): Promise<SignInResult>;
  totp(asked: Asked, given: { continuation: string; code: string }): Promise<SignInResult>;
  recoveryCode(asked: Asked, given: { continuation: string; code: string }): Promise<SignInResult>;
  passkeyOptions(): Promise<PasskeyOptions>;
  /** A passkey names its user and is two factors: nothing else is asked for. */
  passkey(asked: Asked, answer: PasskeyAnswer): Promise<SignInResult>;
  /** For whom a second factor is demanded and none is there; the continuation is good for this alone. */
  readonly enrollment: {
    totp(asked: Asked, continuation: string): Promise<TotpEnrollmentView>;
    confirmTotp(asked: Asked, given: { continuation: string; code: string }): Promise<SignInResult>;
    passkeyOptions(asked: Asked, continuation: string): Promise<PasskeyOptions>;
    passkey(
      asked: Asked,
      given: { continuation: string; name: string; answer: NewPasskeyAnswer },
    ): Promise<SignInResult>;
  };
  ticket(asked: Asked, ticket: string): Promise<SignInResult>;
};

export function signInUseCases(
  parts: TicketParts & { readonly providers: () => Promise<SignInMethods['providers']> },
): SignInUseCases {
  const { passkeys, signInConfig } = parts;
  return {
    methods: async () => ({
      local: signInConfig.localSignIn,
      passkeys: signInConfig.localSignIn ? passkeys.domain : null,
      providers: [...(await parts.providers())],
    }),
    password: (asked, given) => withPassword(parts, asked, given),
    totp: (asked, given) => withTotp(parts, asked, given),
    recoveryCode: (asked, given) => withRecoveryCode(parts, asked, given),
    passkeyOptions: async () => {
      refuseLocal(parts);
      requirePasskeys(parts);
      return { ...(await passkeys.challenge({ purpose: 'sign-in', subject: null })) };
    },
    passkey: (asked, answer) => withPasskey(parts, asked, answer),
    enrollment: enrollmentUseCases(parts),
    ticket: (asked, ticket) => withTicket(parts, asked, ticket),
  };
}

const local = { provider: null, providerSession: null } as const;

/** Whoever is there or not, whatever is wrong: the same work, the same words. */
async function withPassword(
  parts: SignInParts,
  asked: Asked,
  { name, password }: { name: string; password: string },
): Promise<SignInResult> {
  refuseLocal(parts);
  const { store, lockout, passwords } = parts;
  const { users } = store.identity;
  let user: UserRecord | null = null;
  const kept = async () => {
    user = isActorName(name) ? await users.get(name) : null;
    await lockout.begin(name, asked.address, notedLockout(parts, asked, user?.name ?? null));
    return user?.passwordHash ?? null;
  };
  const { ok, upgraded, hash } = await passwords.verify(password, kept, asked.address);
  const found = user as UserRecord | null;
  const refusal = (reason: RefusalReason): Refusal => ({
    action: 'sign-in.password',
    reason,
    user: found?.name ?? null,
  });
  if (found === null) throw refusedSignIn(parts, asked, refusal('unknown'));
  if (!ok) throw refusedSignIn(parts, asked, refusal('password'));
  if (found.phase !== 'active') throw refusedSignIn(parts, asked, refusal('disabled'));
  await lockout.forgive(name, asked.address);
  const isUpgraded = upgraded !== null && hash !== null && (await users.rehash(found.name, hash, upgraded));
  const proven = { ...found, passwordHash: isUpgraded ? upgraded : hash };
  return await completeSignIn(parts, asked, proven, { ...local, methods: ['pwd'], mfa: false });
}

type GivenCode = { readonly continuation: string; readonly code: string };

async function withTotp(parts: SignInParts, asked: Asked, given: GivenCode): Promise<SignInResult> {
  const action = 'sign-in.totp';
  const { lockout } = parts;
  const { pending, user } = await tryPending(parts, asked, { ...given, next: 'second-factor', action });
  await lockout.beginCode(user.name, notedLockout(parts, asked, user.name));
  if (!(await takeTotpCode(parts, user, given.code)))
    throw refusedSignIn(parts, asked, { action, reason: 'code', user: user.name });
  await takePending(parts, asked, { ...given, action });
  await lockout.forgiveCode(user.name);
  return await openSignIn(parts, asked, user, secondProof(pending, 'otp'));
}

async function withRecoveryCode(parts: SignInParts, asked: Asked, given: GivenCode): Promise<SignInResult> {
  const action = 'sign-in.recovery-code';
  const { store, clock } = parts;
  const { pending, user } = await tryPending(parts, asked, { ...given, next: 'second-factor', action });
  const hash = recoveryCodeHash(given.code);
  if (!(await store.identity.users.takeRecoveryCode(user.name, hash, clock.now())))
    throw refusedSignIn(parts, asked, { action, reason: 'recovery-code', user: user.name });
  await takePending(parts, asked, { ...given, action });
  return await openSignIn(parts, asked, user, secondProof(pending, 'recovery'));
}

function secondProof({ methods, provider, providerSession }: PendingSignIn, method: string): Proved {
  return { methods: [...methods, method, 'mfa'], mfa: true, provider, providerSession };
}

async function withPasskey(parts: SignInParts, asked: Asked, answer: PasskeyAnswer): Promise<SignInResult> {
  refuseLocal(parts);
  requirePasskeys(parts);
  const action = 'sign-in.passkey';
  const purpose = { purpose: 'sign-in', subject: null } as const;
  const proof = await parts.passkeys.prove(purpose, authenticationAnswer(answer));
  if (!proof.ok)
    throw refusedSignIn(parts, asked, { action, reason: passkeyReason(proof), user: proof.user });
  const user = await parts.store.identity.users.get(proof.user);
  if (user === null || user.phase !== 'active')
    throw refusedSignIn(parts, asked, { action, reason: 'disabled', user: proof.user });
  return await openSignIn(parts, asked, user, { ...local, ...passkeyProof });
}

/** User verification is checked, so it is something that one has and something that one is or knows. */
export const passkeyProof = { methods: ['hwk', 'user', 'mfa'], mfa: true } as const;

/** The reason of a refusal that the record holds. */
export function passkeyReason({ reason }: Extract<PasskeyProof, { ok: false }>): RefusalReason {
  return `passkey-${reason}`;
}

/** What the schema took, in the words of the library. */
export function authenticationAnswer({
  authenticatorAttachment,
  ...answer
}: PasskeyAnswer): AuthenticationAnswer {
  const { userHandle, ...response } = answer.response;
  return {
    ...answer,
    response: { ...response, ...(userHandle === undefined ? {} : { userHandle }) },
    ...(authenticatorAttachment === undefined ? {} : { authenticatorAttachment }),
  };
}

/** The same for a new one. */
export function registrationAnswer({
  authenticatorAttachment,
  ...answer
}: NewPasskeyAnswer): RegistrationAnswer {
  const { transports, ...response } = answer.response;
  return {
    ...answer,
    response: { ...response, ...(transports === undefined ? {} : { transports }) },
    ...(authenticatorAttachment === undefined ? {} : { authenticatorAttachment }),
  } as RegistrationAnswer;
}

function enrollmentUseCases(parts: SignInParts): SignInUseCases['enrollment'] {
  const { passkeys } = parts;
  const action = 'sign-in.enroll';
  const begin = async (asked: Asked, continuation: string) => {
    const tried = await tryPending(parts, asked, { continuation, next: 'enroll', action });
    // Since the password was proved somebody enrolled one: it is due now, and not to be gone around.
    if ((await factorsOf(parts, tried.user)).length === 0) return tried;
    throw refusedSignIn(parts, asked, { action, reason: 'continuation', user: tried.user.name });
  };
  const finish = async (asked: Asked, continuation: string, pending: PendingSignIn, method: string) => {
    await takePending(parts, asked, { continuation, action });
    const user = await parts.store.identity.users.get(pending.user);
    if (user === null) throw refusedSignIn(parts, asked, { action, reason: 'disabled', user: pending.user });
    const codes = await firstRecoveryCodes(parts, user.name);
    return await openSignIn(parts, asked, user, secondProof(pending, method), codes);
  };
  return {
    async totp(asked, continuation) {
      const { user } = await begin(asked, continuation);
      return await beginTotp(parts, user.name);
    },
    async confirmTotp(asked, { continuation, code }) {
      const { pending, user } = await begin(asked, continuation);
      await recordEnrolling(parts, asked, user, 'totp');
      if (!(await confirmTotp(parts, user.name, code)))
        throw refusedSignIn(parts, asked, { action, reason: 'code', user: user.name });
      return await finish(asked, continuation, pending, 'otp');
    },
    async passkeyOptions(asked, continuation) {
      requirePasskeys(parts);
      const { user } = await begin(asked, continuation);
      return { ...(await passkeys.registration(user)) };
    },
    async passkey(asked, { continuation, name, answer }) {
      requirePasskeys(parts);
      const { pending, user } = await begin(asked, continuation);
      await recordEnrolling(parts, asked, user, 'passkey');
      if ((await addPasskey(parts, user, name, registrationAnswer(answer))) === null)
        throw refusedSignIn(parts, asked, { action, reason: 'passkey-invalid', user: user.name });
      return await finish(asked, continuation, pending, 'hwk');
    },
  };
}

/** Recorded before it happens, as everything that the person will have afterwards. */
async function recordEnrolling(
  { gate }: SignInParts,
  asked: Asked,
  { name }: UserRecord,
  factor: string,
): Promise<void> {
  await gate.record({
    action: 'account.mfa.enroll',
    actor: { id: `user:${name}` },
    resource: { kind: 'account', id: name },
    outcome: 'allowed',
    rule: 'sign-in:enroll',
    request: asked,
    data: { factor },
  });
}
