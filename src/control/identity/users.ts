import { absent, Fault } from '../../contract/faults.ts';
import { apiLimits } from '../../contract/limits.ts';
import type { TicketView, UpdateUser, UserView } from '../../contract/user-schemas.ts';
import type { ActionName } from '../../model/actions.ts';
import type {
  AgentRecord,
  InvitationRecord,
  UserChange,
  UserPhase,
  UserRecord,
} from '../../store/identity-store.ts';
import type { After, Listed } from '../../store/store.ts';
import type { Caller, Page, PageRequest, Versioned } from '../control.ts';
import type { Act } from '../gate.ts';
import { storePage, viewPage } from '../paging.ts';
import { userView } from './account-views.ts';
import { demandsMfa } from './completion.ts';
import { knownRoles, refuseAbove, refuseEgressBound, rightsOfUser } from './rank.ts';
import type { SignInParts } from './sign-in-parts.ts';
import { makeTicket, type TicketParts } from './tickets.ts';

/** What administrators do with people. Nobody has a hand on somebody whose role holds more than theirs. */
export type UserUseCases = {
  list(
    caller: Caller,
    query: PageRequest & { role?: string | undefined; phase?: UserPhase | undefined },
  ): Promise<Page<UserView>>;
  get(caller: Caller, name: string): Promise<Versioned<UserView>>;
  /** `ifMatch` is the version that the caller read. */
  update(caller: Caller, name: string, change: UpdateUser, ifMatch: number): Promise<Versioned<UserView>>;
  /** Containment: ends all that the user is signed in to, at once. */
  disable(caller: Caller, name: string): Promise<UserView>;
  enable(caller: Caller, name: string): Promise<UserView>;
  /** Removes authenticator, passkeys and recovery codes, and ends all sign-ins. */
  resetMfa(caller: Caller, name: string): Promise<UserView>;
  /** Containment. How many sign-ins ended. */
  signOut(caller: Caller, name: string): Promise<number>;
  /** For ever: nobody has the name again. What the user owns stays. */
  remove(caller: Caller, name: string): Promise<void>;
  /** What lets a portal of the company sign somebody in without a password: once, within two minutes. */
  ticket(caller: Caller, name: string): Promise<TicketView>;
};

export function userUseCases(parts: TicketParts): UserUseCases {
  const { gate, store } = parts;
  return {
    list: async (caller, query) => {
      await gate.privileged(caller, { action: 'user.list', resource: { kind: 'user' } });
      const { role, phase } = query;
      const listed = await store.identity.users.list({ role, phase }, storePage(query));
      const views = await Promise.all(listed.records.map((record) => viewOf(parts, record)));
      const { nextCursor } = viewPage(
        listed,
        (record) => record,
        ({ createdAt, name }) => ({ createdAt, id: name }),
      );
      return { items: views, nextCursor };
    },
    get: async (caller, name) => {
      await gate.read(caller, userAct('user.read', name));
      return await versioned(parts, await known(parts, name));
    },
    update: (caller, name, change, ifMatch) => update(parts, caller, { name, change, ifMatch }),
    disable: (caller, name) => disable(parts, caller, name),
    enable: (caller, name) => enable(parts, caller, name),
    resetMfa: (caller, name) => resetMfa(parts, caller, name),
    signOut: (caller, name) =>
      gate.contain(caller, userAct('user.sign-out', name), async () => {
        await known(parts, name);
        return await parts.signIns.endAllOf(`user:${name}`, 'ended by an administrator', null);
      }),
    remove: (caller, name) => remove(parts, caller, name),
    ticket: async (caller, name) => {
      const act = userAct('user.ticket', name);
      const user = await touchable(parts, caller, act, name);
      await refuseEgressBound(gate, caller, act);
      return await makeTicket(parts, caller, act, user);
    },
  };
}

export function userAct(action: ActionName, name: string, data?: Act['data']): Act {
  return { action, resource: { kind: 'user', id: name }, ...(data === undefined ? {} : { data }) };
}

async function known({ store }: Pick<SignInParts, 'store'>, name: string): Promise<UserRecord> {
  const user = await store.identity.users.get(name);
  if (user === null) throw absent('user');
  return user;
}

async function viewOf({ store }: SignInParts, record: UserRecord): Promise<UserView> {
  const { teams, passkeys } = store.identity;
  const own = await passkeys.of(record.name);
  return userView(record, { teams: await teams.of(`user:${record.name}`), passkeys: own.length });
}

async function versioned(parts: SignInParts, record: UserRecord): Promise<Versioned<UserView>> {
  return { view: await viewOf(parts, record), version: record.version };
}

/** Decided first, then whether the user is the caller's to touch; the record is made by whoever acts. */
export async function touchable(
  parts: Pick<SignInParts, 'gate' | 'store'>,
  caller: Caller,
  act: Act,
  name: string,
): Promise<UserRecord> {
  const { gate, store } = parts;
  await gate.read(caller, act);
  const user = await known(parts, name);
  await refuseAbove(gate, caller, act, await rightsOfUser(store, user));
  return user;
}

/** Somebody must be left who can let others in again. */
const kept = 'admin';

function lastOne(name: string): Fault {
  return new Fault('state.conflict', {
    detail: `${name} is the last active administrator. Make another one first.`,
  });
}

async function update(
  parts: SignInParts,
  caller: Caller,
  { name, change, ifMatch }: { name: string; change: UpdateUser; ifMatch: number },
): Promise<Versioned<UserView>> {
  const { gate, store, signIns } = parts;
  const { role, eligibleRoles } = change;
  const given = {
    ...(role === undefined ? {} : { role }),
    ...(eligibleRoles === undefined ? {} : { eligibleRoles }),
  };
  const act = userAct('user.update', name, { fields: Object.keys(change).sort(), ...given });
  const user = await touchable(parts, caller, act, name);
  const roles = await knownRoles(store, [...(role === undefined ? [] : [role]), ...(eligibleRoles ?? [])]);
  await refuseAbove(gate, caller, act, roles);
  return await gate.act(caller, act, async () => {
    const record = await write(parts, name, definedOf(change), ifMatch);
    // What was signed in with one factor is not what the new role takes.
    if (demandsMfa(parts.signInConfig, record) && !demandsMfa(parts.signInConfig, user))
      await signIns.endAllOf(`user:${name}`, 'role changed', null);
    if (record.role !== user.role) await revokeInvitationsOf(parts, name);
    return await versioned(parts, record);
  });
}

function definedOf(change: UpdateUser): UserChange {
  const entries = Object.entries(change).filter(([, value]) => value !== undefined);
  return Object.fromEntries(entries) as UserChange;
}

async function write(
  { store, changes }: SignInParts,
  name: string,
  change: UserChange,
  version: number | null,
): Promise<UserRecord> {
  const written = await store.identity.users.update(name, change, version, kept);
  if (written.outcome === 'absent') throw absent('user');
  if (written.outcome === 'last') throw lastOne(name);
  if (written.outcome !== 'written')
    throw new Fault('precondition.failed', { detail: 'The user changed since it was read. Read it again.' });
  await changes.look();
  return written.record;
}

async function disable(parts: SignInParts, caller: Caller, name: string): Promise<UserView> {
  const act = userAct('user.disable', name);
  await touchable(parts, caller, act, name);
  return await parts.gate.contain(caller, act, async () => {
    const record = await write(parts, name, { phase: 'disabled' }, null);
    await parts.signIns.endAllOf(`user:${name}`, 'disabled', null);
    await revokeInvitationsOf(parts, name);
    return await viewOf(parts, record);
  });
}

async function enable(parts: SignInParts, caller: Caller, name: string): Promise<UserView> {
  const act = userAct('user.update', name, { phase: 'active' });
  await touchable(parts, caller, act, name);
  return await parts.gate.act(caller, act, async () =>
    viewOf(parts, await write(parts, name, { phase: 'active' }, null)),
  );
}

/** Whoever has lost all second factors is let in with the password once, to enroll new ones where the role asks. */
async function resetMfa(parts: SignInParts, caller: Caller, name: string): Promise<UserView> {
  const act = userAct('user.reset-mfa', name);
  await touchable(parts, caller, act, name);
  const { users, passkeys } = parts.store.identity;
  return await parts.gate.act(caller, act, async () => {
    await parts.signIns.endAllOf(`user:${name}`, 'second factors reset', null);
    for (const { id } of await passkeys.of(name)) await passkeys.remove(name, id);
    await users.putRecoveryCodes(name, []);
    return await viewOf(parts, await write(parts, name, { totpSealed: null }, null));
  });
}

async function remove(parts: SignInParts, caller: Caller, name: string): Promise<void> {
  const act = userAct('user.remove', name);
  await touchable(parts, caller, act, name);
  const { store, clock, changes, signIns } = parts;
  await parts.gate.act(caller, act, async () => {
    // Stopped first and gone last: where this breaks off nothing of the user works, and it can be asked again.
    await write(parts, name, { phase: 'disabled' }, null);
    await signIns.endAllOf(`user:${name}`, 'removed', null);
    await revokeInvitationsOf(parts, name);
    await disableAgentsOf(parts, name);
    const outcome = await store.identity.users.remove(name, clock.now(), kept);
    if (outcome === 'absent') throw absent('user');
    if (outcome === 'last') throw lastOne(name);
    await changes.look();
  });
}

/** A removed user's machines stop with it, until somebody takes them over and enables them. */
async function disableAgentsOf({ store }: SignInParts, name: string): Promise<void> {
  const { agents } = store.identity;
  for (let after: After | null = null; ; ) {
    const page: Listed<AgentRecord> = await agents.list(
      { owner: `user:${name}` },
      { after, limit: apiLimits.pageMax },
    );
    for (const { id, phase } of page.records)
      if (phase === 'active') await agents.update(id, { phase: 'disabled' }, null);
    after = page.records.at(-1) ?? null;
    if (!page.more || after === null) return;
  }
}

/** A link that somebody made is worth no more than who made it. */
export async function revokeInvitationsOf(
  { store, clock }: Pick<SignInParts, 'store' | 'clock'>,
  name: string,
): Promise<void> {
  const { invitations } = store.identity;
  const now = clock.now();
  let after: After | null = null;
  for (;;) {
    const page: Listed<InvitationRecord> = await invitations.list({ after, limit: apiLimits.pageMax }, now);
    for (const { id, createdBy } of page.records)
      if (createdBy === `user:${name}`) await invitations.revoke(id, now);
    const last = page.records.at(-1);
    if (!page.more || last === undefined) return;
    after = last;
  }
}
