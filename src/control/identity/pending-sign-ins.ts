import { secretForm, secretHash } from '../../identity/token-secret.ts';
import type { UserRecord } from '../../store/identity-store.ts';
import { controlLimits } from '../limits.ts';
import type { Asked, SignInParts } from './sign-in-parts.ts';
import { type Refusal, refusedSignIn } from './sign-in-refusals.ts';

/** What a sign-in that is not done yet waits for. */
export type PendingNext = 'second-factor' | 'enroll';

/** What was proved so far, of whom. Kept in the store as JSON. */
export type PendingSignIn = {
  readonly user: string;
  readonly next: PendingNext;
  readonly methods: readonly string[];
  readonly provider: string | null;
  readonly providerSession: string | null;
  /** The mark of the password that was proved: another one ends what was begun with it. Null where none was. */
  readonly password: string | null;
  readonly tries: number;
};

const continuations = secretForm('swc_');
const kind = 'pending-sign-in';

/** Tells one password of a user from another, where the hash itself is not to be kept. */
export function passwordMark({ passwordHash }: Pick<UserRecord, 'passwordHash'>): string | null {
  return passwordHash === null ? null : secretHash(passwordHash);
}

/** The continuation's text is known to the caller alone; it works until a sign-in comes of it, or too many tries. */
export async function openPending(
  { store, clock }: Pick<SignInParts, 'store' | 'clock'>,
  pending: Omit<PendingSignIn, 'tries'>,
): Promise<{ continuation: string; expiresAt: number }> {
  const continuation = continuations.make();
  const expiresAt = clock.now() + controlLimits.pendingSignInMs;
  await store.identity.oneTimes.put(kind, secretHash(continuation), { ...pending, tries: 0 }, expiresAt);
  return { continuation, expiresAt };
}

/**
 * Counts one try, before it is made, and says whose it is. Throws Fault `auth.invalid` where the continuation is
 * unknown, over, used, tried too often, or good for something else; or where its user may not sign in any more.
 */
export async function tryPending(
  parts: Pick<SignInParts, 'store' | 'clock' | 'gate'>,
  asked: Asked,
  given: { continuation: string; next: PendingNext; action: Refusal['action'] },
): Promise<{ pending: PendingSignIn; user: UserRecord }> {
  const { store, clock } = parts;
  const { oneTimes, users } = store.identity;
  const refused = (user: string | null) =>
    refusedSignIn(parts, asked, { action: given.action, reason: 'continuation', user });
  if (!continuations.fits(given.continuation)) throw refused(null);
  const hash = secretHash(given.continuation);
  for (let attempt = 0; attempt <= controlLimits.pendingTriesMax; attempt += 1) {
    const pending = (await oneTimes.peek(kind, hash, clock.now())) as PendingSignIn | null;
    if (pending === null) throw refused(null);
    if (pending.next !== given.next || pending.tries >= controlLimits.pendingTriesMax)
      throw refused(pending.user);
    const counted = { ...pending, tries: pending.tries + 1 };
    if (!(await oneTimes.replace(kind, hash, pending, counted, clock.now()))) continue;
    const user = await users.get(pending.user);
    if (user === null || user.phase !== 'active') throw refused(pending.user);
    if (pending.password !== null && pending.password !== passwordMark(user)) throw refused(pending.user);
    return { pending, user };
  }
  throw refused(null);
}

/** For one caller alone; the others are refused. */
export async function takePending(
  parts: Pick<SignInParts, 'store' | 'clock' | 'gate'>,
  asked: Asked,
  given: { continuation: string; action: Refusal['action'] },
): Promise<void> {
  const { store, clock } = parts;
  const taken = await store.identity.oneTimes.take(kind, secretHash(given.continuation), clock.now());
  if (taken === null)
    throw refusedSignIn(parts, asked, { action: given.action, reason: 'continuation', user: null });
}
