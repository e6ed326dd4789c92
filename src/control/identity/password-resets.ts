import { Fault } from '../../contract/faults.ts';
import type { AcceptPasswordReset, PasswordResetSeen } from '../../contract/sign-in-schemas.ts';
import {
  type CreatePasswordReset,
  type PasswordResetView,
  passwordResetLimits,
} from '../../contract/user-schemas.ts';
import { common, type Principals } from '../../identity/principals.ts';
import { secretForm, secretHash } from '../../identity/token-secret.ts';
import { type Actor, type ActorId, narrowerReach, type Reach } from '../../model/actor.ts';
import type { Scope } from '../../model/scopes.ts';
import type { UserRecord } from '../../store/identity-store.ts';
import type { Caller } from '../control.ts';
import { timeText } from './account-views.ts';
import { completeSignIn, refuseElsewhere } from './completion.ts';
import { refuseUnfit } from './password-choice.ts';
import { passwordMark } from './pending-sign-ins.ts';
import { firstAbove, refuseEgressBound, rightsOfUser } from './rank.ts';
import type { Asked, SignInParts, SignInResult } from './sign-in-parts.ts';
import { refusedSignIn, refuseLocal } from './sign-in-refusals.ts';
import { touchable, userAct } from './users.ts';

/**
 * How somebody who forgot the password gets another: by a link of an administrator, who never learns or chooses the
 * password. Second factors stay and are asked for as ever.
 */
export type PasswordResetUseCases = {
  /** The link is in this answer alone; a newer one of the same user ends it. */
  create(caller: Caller, name: string, request: CreatePasswordReset): Promise<PasswordResetView>;
  /** What whoever holds the link may know before using it. */
  look(asked: Asked, secret: string): Promise<PasswordResetSeen>;
  /** Sets the password, of any number at once for one, ends all sign-ins of the user, and goes on as after a password. */
  accept(asked: Asked, given: AcceptPasswordReset): Promise<SignInResult>;
};

export type PasswordResetParts = SignInParts & { readonly principals: Principals };

/** Who made the link, with what it held then. `known` where it had the name of a user or agent. */
type Maker = {
  readonly id: ActorId;
  readonly known: boolean;
  readonly scopes: readonly Scope[];
  readonly reach: Reach;
};

/** What the store keeps of a link. `password` is the mark of the one that it is there to replace. */
type Kept = {
  readonly user: string;
  readonly maker: Maker;
  readonly password: string;
  readonly expiresAt: number;
};

const secrets = secretForm('swp_');
const action = 'sign-in.password-reset';
/** The link by the hash of its secret, and which one is a user's newest by the user's name. */
const kinds = { link: 'password-reset', newest: 'password-reset-newest' } as const;
const newestTriesMax = 16;

export function passwordResetUseCases(parts: PasswordResetParts): PasswordResetUseCases {
  return {
    create: (caller, name, request) => create(parts, caller, name, request),
    look: async (asked, secret) => {
      refuseLocal(parts);
      const { kept } = await valid(parts, asked, secret);
      return { name: kept.user, expiresAt: timeText(kept.expiresAt) };
    },
    accept: (asked, given) => accept(parts, asked, given),
  };
}

async function create(
  parts: PasswordResetParts,
  caller: Caller,
  name: string,
  { expiresInSeconds = passwordResetLimits.secondsDefault }: CreatePasswordReset,
): Promise<PasswordResetView> {
  refuseLocal(parts);
  const { gate, store, clock, signInConfig } = parts;
  const act = userAct('user.reset-password', name, { expiresInSeconds });
  const user = await touchable(parts, caller, act, name);
  await refuseEgressBound(gate, caller, act);
  const password = resettable(caller, user);
  return await gate.act(caller, act, async () => {
    const secret = secrets.make();
    const expiresAt = clock.now() + expiresInSeconds * 1000;
    const kept: Kept = { user: name, maker: await makerOf(parts, caller.actor), password, expiresAt };
    await store.identity.oneTimes.put(kinds.link, secretHash(secret), kept, expiresAt);
    await makeNewest(parts, name, secretHash(secret), expiresAt);
    const link = `${new URL(signInConfig.publicUrl).origin}/reset#${secret}`;
    return { user: name, link, expiresAt: timeText(expiresAt) };
  });
}

/** The mark of the password that a link would replace. Nobody goes around the question for their own current one. */
function resettable(caller: Caller, user: UserRecord): string {
  const conflict = (detail: string) => new Fault('state.conflict', { detail });
  if (caller.actor.id === `user:${user.name}`)
    throw conflict('Change your own password in your account, or ask another administrator for a link.');
  if (user.phase !== 'active') throw conflict(`${user.name} is disabled.`);
  const mark = passwordMark(user);
  if (mark !== null) return mark;
  throw conflict(`${user.name} signs in without a password here, so there is none to reset.`);
}

async function makerOf({ principals }: PasswordResetParts, { id, scopes, reach }: Actor): Promise<Maker> {
  return { id, known: typeof (await principals.of(id)) === 'object', scopes: [...scopes], reach };
}

/** From here on the earlier links of the user are worth nothing. */
async function makeNewest(
  { store }: PasswordResetParts,
  name: string,
  hash: string,
  expiresAt: number,
): Promise<void> {
  const { oneTimes } = store.identity;
  for (let attempt = 0; attempt < newestTriesMax; attempt += 1) {
    // Expired ones too: they stay until they are swept.
    await oneTimes.take(kinds.newest, name, 0);
    if (await oneTimes.put(kinds.newest, name, { hash }, expiresAt)) return;
  }
  throw new Fault('state.conflict', { detail: 'Others make links for the same user. Try again.' });
}

type Valid = { readonly hash: string; readonly kept: Kept; readonly user: UserRecord };

/**
 * The newest unused link of an active user, from somebody who could still make it, for the password that it was made
 * for. Whatever else it is, the caller is told the same.
 */
async function valid(parts: PasswordResetParts, asked: Asked, secret: string): Promise<Valid> {
  const refused = (user: string | null) => refusedSignIn(parts, asked, { action, reason: 'reset', user });
  if (!secrets.fits(secret)) throw refused(null);
  const { oneTimes, users } = parts.store.identity;
  const hash = secretHash(secret);
  const kept = (await oneTimes.peek(kinds.link, hash, parts.clock.now())) as Kept | null;
  if (kept === null) throw refused(null);
  const user = await users.get(kept.user);
  const isGood =
    user !== null &&
    user.phase === 'active' &&
    passwordMark(user) === kept.password &&
    (await isNewest(parts, kept.user, hash)) &&
    (await mayStill(parts, kept.maker, user));
  if (!isGood) throw refused(kept.user);
  return { hash, kept, user };
}

async function isNewest({ store, clock }: PasswordResetParts, name: string, hash: string): Promise<boolean> {
  const newest = await store.identity.oneTimes.peek(kinds.newest, name, clock.now());
  return (newest as { hash: string } | null)?.hash === hash;
}

/** A link is worth no more than who made it: neither may have lost, nor the user have got, what sets them apart. */
async function mayStill(
  { principals, store }: PasswordResetParts,
  maker: Maker,
  user: UserRecord,
): Promise<boolean> {
  const known = await principals.of(maker.id);
  if (known === 'disabled' || (known === 'unknown' && maker.known)) return false;
  if (known !== 'unknown' && known.egress !== undefined) return false;
  const now = known === 'unknown' ? null : (known.elevated ?? known);
  const scopes = now === null ? new Set(maker.scopes) : common(now.scopes, maker.scopes);
  const reach = now === null ? maker.reach : narrowerReach(now.reach, maker.reach);
  const keepsScope = scopes.has('identity:write') || scopes.has('*') || !holdsScope(maker);
  return keepsScope && firstAbove({ scopes, reach }, await rightsOfUser(store, user)) === null;
}

/** Whether the act was its own by scope; else a policy of an administrator permitted it. */
function holdsScope({ scopes }: Maker): boolean {
  return scopes.includes('identity:write') || scopes.includes('*');
}

async function accept(
  parts: PasswordResetParts,
  asked: Asked,
  given: AcceptPasswordReset,
): Promise<SignInResult> {
  refuseLocal(parts);
  const { gate, passwords, lockout } = parts;
  const { user: owner } = await valid(parts, asked, given.reset);
  refuseElsewhere(parts, asked, owner);
  refuseUnfit(parts, given.password, owner);
  const passwordHash = await passwords.hash(given.password, asked.address);
  // Its turn may have come late: what was true before need not be so any more.
  const { hash, kept, user } = await valid(parts, asked, given.reset);
  const event = {
    action,
    actor: { id: `user:${user.name}` },
    resource: { kind: 'user', id: user.name },
    rule: 'password-reset:link',
    request: asked,
    data: { madeBy: kept.maker.id },
  } as const;
  await gate.record({ ...event, outcome: 'allowed' });
  const isDone = await replacePassword(parts, { hash, user, passwordHash });
  gate.note({ ...event, outcome: isDone ? 'succeeded' : 'failed' });
  if (!isDone) throw refusedSignIn(parts, asked, { action, reason: 'reset', user: user.name });
  await lockout.forgive(user.name, asked.address);
  const proved = { methods: ['pwd'], mfa: false, provider: null, providerSession: null };
  return await completeSignIn(parts, asked, { ...user, passwordHash }, proved);
}

/** For one caller alone. False where the link was used or replaced, or the password changed, in the meantime. */
async function replacePassword(
  parts: PasswordResetParts,
  { hash, user, passwordHash }: { hash: string; user: UserRecord; passwordHash: string },
): Promise<boolean> {
  const { store, clock, signIns, changes } = parts;
  const { oneTimes, users } = store.identity;
  if ((await oneTimes.take(kinds.link, hash, clock.now())) === null) return false;
  if (!(await isNewest(parts, user.name, hash))) return false;
  if (!(await users.rehash(user.name, user.passwordHash ?? '', passwordHash))) return false;
  await signIns.endAllOf(`user:${user.name}`, 'password reset', null);
  await changes.look();
  return true;
}
