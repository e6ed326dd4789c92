import { Fault } from '../../contract/faults.ts';
import type { SignInAnswer, secondFactors } from '../../contract/sign-in-schemas.ts';
import type { Proof } from '../../identity/sign-ins.ts';
import type { UserRecord } from '../../store/identity-store.ts';
import { openPending, passwordMark } from './pending-sign-ins.ts';
import type { Asked, SignInConfig, SignInParts, SignInResult } from './sign-in-parts.ts';
import { refusedSignIn } from './sign-in-refusals.ts';

/** What was proved, by RFC 8176 names; `mfa` where by more than one factor. Now, unless `at` says when. */
export type Proved = Omit<Proof, 'at'> & { readonly at?: number };

export type SecondFactor = (typeof secondFactors)[number];

/**
 * What follows from a proof of who somebody is: a sign-in; or, where it was by one factor alone, the second that the
 * user has enrolled; or, where the role demands one, the enrolling of one, before anything else.
 */
export async function completeSignIn(
  parts: SignInParts,
  asked: Asked,
  user: UserRecord,
  proved: Proved,
): Promise<SignInResult> {
  refuseElsewhere(parts, asked, user);
  if (proved.mfa) return await openSignIn(parts, asked, user, proved);
  const factors = await factorsOf(parts, user);
  if (factors.length > 0) return await pend(parts, asked, user, proved, 'second-factor', factors);
  if (!demandsMfa(parts.signInConfig, user)) return await openSignIn(parts, asked, user, proved);
  const enrollable: SecondFactor[] = parts.passkeys.domain === null ? ['totp'] : ['totp', 'passkey'];
  return await pend(parts, asked, user, proved, 'enroll', enrollable);
}

/** The second factors that a user can prove; recovery codes are one only beside another. */
export async function factorsOf(
  { store }: Pick<SignInParts, 'store'>,
  user: UserRecord,
): Promise<SecondFactor[]> {
  const { name, totpSealed } = user;
  const factors: SecondFactor[] = totpSealed === null ? [] : ['totp'];
  if ((await store.identity.passkeys.of(name)).length > 0) factors.push('passkey');
  if (factors.length > 0 && (await store.identity.users.recoveryCodesLeft(name)) > 0)
    factors.push('recovery-code');
  return factors;
}

/** Whether a role of the user, or one it may be elevated to, is not to be had without a second factor. */
export function demandsMfa(
  { mfaRoles }: Pick<SignInConfig, 'mfaRoles'>,
  user: Pick<UserRecord, 'role' | 'eligibleRoles'>,
): boolean {
  return [user.role, ...user.eligibleRoles].some((role) => mfaRoles.includes(role));
}

/** Roles may be kept to client networks; whoever is elsewhere is told so only after the proof. */
export function refuseElsewhere(
  { signInConfig, gate }: Pick<SignInParts, 'signInConfig' | 'gate'>,
  asked: Asked,
  { name, role }: UserRecord,
): void {
  if (signInConfig.mayComeFrom(role, asked.address)) return;
  gate.note({
    action: 'sign-in.open',
    actor: { id: `user:${name}` },
    resource: { kind: 'user', id: name },
    outcome: 'denied',
    rule: 'network:sign-in',
    request: asked,
    countAs: `network:sign-in ${asked.address ?? 'local'}`,
  });
  throw new Fault('access.denied', {
    detail: 'Your role does not sign in from this network. Use the network that your administrator names.',
  });
}

async function pend(
  parts: SignInParts,
  asked: Asked,
  user: UserRecord,
  { methods, provider, providerSession }: Proved,
  next: 'second-factor' | 'enroll',
  factors: SecondFactor[],
): Promise<SignInResult> {
  const password = methods.includes('pwd') ? passwordMark(user) : null;
  const pending = { user: user.name, next, methods, provider, providerSession, password };
  const { continuation, expiresAt } = await openPending(parts, pending);
  parts.gate.note({
    action: 'sign-in.pending',
    actor: { id: `user:${user.name}` },
    resource: { kind: 'user', id: user.name },
    outcome: 'allowed',
    rule: `sign-in:${next}`,
    request: asked,
    data: { methods: [...methods] },
  });
  const until = new Date(expiresAt).toISOString();
  return { answer: { state: 'pending', next, factors, continuation, expiresAt: until }, cookie: null };
}

/**
 * Whether the password that was proved still is the user's. Asked once the sign-in is there: whoever changes the password
 * ends what is there afterwards, so between the two nothing gets through.
 */
async function keepsPassword({ identity }: SignInParts['store'], user: UserRecord): Promise<boolean> {
  const now = await identity.users.get(user.name);
  return now !== null && passwordMark(now) === passwordMark(user);
}

/** The cookie is handed out only once the sign-in is on the record; else it is ended again. */
export async function openSignIn(
  {
    signIns,
    gate,
    store,
    clock,
    signInConfig,
  }: Pick<SignInParts, 'signIns' | 'gate' | 'store' | 'clock' | 'signInConfig'>,
  asked: Asked,
  user: UserRecord,
  proved: Proved,
  recoveryCodes?: readonly string[],
): Promise<SignInResult> {
  refuseElsewhere({ signInConfig, gate }, asked, user);
  const { address, userAgent } = asked;
  const now = clock.now();
  const proof = { at: now, ...proved };
  const opened = await signIns.openBrowser({ actor: `user:${user.name}`, proof, address, userAgent });
  const { record, cookie } = opened;
  if (proved.methods.includes('pwd') && !(await keepsPassword(store, user))) {
    await signIns.end(record.id, 'password changed');
    throw refusedSignIn({ gate }, asked, { action: 'sign-in.open', reason: 'password', user: user.name });
  }
  const note = {
    action: 'sign-in.open',
    actor: { id: record.actor },
    resource: { kind: 'user', id: user.name },
    outcome: 'succeeded',
    rule: 'sign-in:proved',
    request: asked,
    data: {
      signIn: record.id,
      methods: [...proved.methods],
      mfa: proved.mfa,
      provider: proved.provider,
    },
  } as const;
  try {
    await gate.record(note);
  } catch (error) {
    await signIns.end(record.id, 'not recorded');
    throw error;
  }
  await store.identity.users.signedIn(user.name, now);
  const answer: SignInAnswer = {
    state: 'signed-in',
    user: user.name,
    ...(recoveryCodes === undefined ? {} : { recoveryCodes: [...recoveryCodes] }),
  };
  return { answer, cookie };
}
