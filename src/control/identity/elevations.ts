import type { Clock } from '../../base/clock.ts';
import type { ElevationView, RequestElevation } from '../../contract/access-schemas.ts';
import { absent, Fault } from '../../contract/faults.ts';
import type { ChangeFeed } from '../../identity/change-feed.ts';
import type { ActionName } from '../../model/actions.ts';
import { type Actor, type ActorId, actorKind, actorName } from '../../model/actor.ts';
import { type ElevationId, newId } from '../../model/ids.ts';
import type { ElevationRecord, ElevationState } from '../../store/identity-store.ts';
import type { Store } from '../../store/store.ts';
import type { Caller, Page, PageRequest } from '../control.ts';
import type { Act, Gate } from '../gate.ts';
import { controlLimits } from '../limits.ts';
import { storePage, viewPage } from '../paging.ts';
import { knownRoles, refuseAbove } from './rank.ts';

/**
 * A role for a time. A user asks for one of those that administrators said it may be elevated to, and has it in place
 * of its own until the time is over or it is ended; where this instance asks for it, only after a second person said
 * yes.
 */
export type ElevationUseCases = {
  request(caller: Caller, request: RequestElevation): Promise<ElevationView>;
  list(
    caller: Caller,
    query: PageRequest & { user?: ActorId | undefined; state?: ElevationState | undefined },
  ): Promise<Page<ElevationView>>;
  /** The caller's own. */
  listOwn(caller: Caller, query: PageRequest): Promise<Page<ElevationView>>;
  /** By a person who signed in, holds as much as the role, and is not the one who asked. */
  approve(caller: Caller, id: ElevationId): Promise<ElevationView>;
  deny(caller: Caller, id: ElevationId): Promise<ElevationView>;
  /** Containment: one's own, or anybody's. Ending what has ended changes nothing. */
  end(caller: Caller, id: ElevationId): Promise<ElevationView>;
};

export type ElevationParts = {
  readonly store: Store;
  readonly gate: Gate;
  readonly clock: Clock;
  readonly changes: Pick<ChangeFeed, 'look'>;
  /** Whether a second person has to approve. */
  readonly elevationApproval: boolean;
};

export function elevationUseCases(parts: ElevationParts): ElevationUseCases {
  const { store, gate, clock } = parts;
  const { elevations } = store.identity;
  const pageOf = async (filter: Parameters<typeof elevations.list>[0], query: PageRequest) => {
    const listed = await elevations.list(filter, storePage(query));
    return viewPage(
      listed,
      (record) => elevationView(record, clock.now()),
      ({ requestedAt, id }) => ({ createdAt: requestedAt, id }),
    );
  };
  return {
    request: (caller, request) => ask(parts, caller, request),
    list: async (caller, { user, state, ...query }) => {
      await gate.privileged(caller, { action: 'elevation.list', resource: { kind: 'elevation' } });
      return await pageOf({ user, state }, query);
    },
    listOwn: async (caller, query) => {
      await gate.read(caller, accountAct('account.read', caller.actor));
      return await pageOf({ user: caller.actor.id }, query);
    },
    approve: (caller, id) => approve(parts, caller, id),
    deny: (caller, id) => deny(parts, caller, id),
    end: (caller, id) => end(parts, caller, id),
  };
}

function accountAct(action: ActionName, { id }: Pick<Actor, 'id'>): Act {
  return { action, resource: { kind: 'account', id: actorName(id), owner: id } };
}

function elevationAct(action: ActionName, record: ElevationRecord): Act {
  const { id, user, role, seconds } = record;
  return { action, resource: { kind: 'elevation', id, owner: user }, data: { user, role, seconds } };
}

async function ask(
  parts: ElevationParts,
  caller: Caller,
  { role, reason, seconds }: RequestElevation,
): Promise<ElevationView> {
  const { store, gate, clock, changes, elevationApproval } = parts;
  const { id: user } = caller.actor;
  const asked = accountAct('account.elevation.request', caller.actor);
  const act: Act = { ...asked, data: { role, reason, seconds, approval: elevationApproval } };
  await gate.read(caller, act);
  if (!(await isEligible(store, user, role)))
    throw await gate.refuse(caller, act, {
      rule: 'elevation:not-eligible',
      detail: `You may not be elevated to the role ${role}. An administrator can make you eligible for it.`,
    });
  await refuseSecond(parts, user);
  return await gate.act(caller, act, async () => {
    const now = clock.now();
    const record: ElevationRecord = {
      id: newId('elevation', now),
      user,
      role,
      reason,
      seconds,
      state: elevationApproval ? 'requested' : 'active',
      requestedAt: now,
      decidedBy: null,
      decidedAt: elevationApproval ? null : now,
      expiresAt: elevationApproval ? null : now + seconds * 1000,
    };
    // Of many at once one is made; the others hear of it as if they had come later.
    if (!(await store.identity.elevations.create(record, now - controlLimits.elevationWaitMs))) {
      await refuseSecond(parts, user);
      throw conflict('Another elevation began meanwhile.');
    }
    await changes.look();
    return elevationView(record, now);
  });
}

async function isEligible(store: Store, user: ActorId, role: string): Promise<boolean> {
  if (actorKind(user) !== 'user') return false;
  const record = await store.identity.users.get(actorName(user));
  return record?.phase === 'active' && record.eligibleRoles.includes(role);
}

/** One at a time, so that the one that is ended is the one that works. */
async function refuseSecond({ store, clock }: ElevationParts, user: ActorId): Promise<void> {
  const { elevations } = store.identity;
  const newest = await elevations.list({ user }, { after: null, limit: 1 });
  const open = newest.records.find((record) => isOpen(record, clock.now()));
  if (open === undefined) return;
  throw new Fault('state.conflict', {
    detail: `${open.id} to the role ${open.role} is ${open.state}. End it first: sealwright access elevations end ${open.id}`,
  });
}

/** Waiting for a decision that may still come, or in force. */
function isOpen({ state, requestedAt, expiresAt }: ElevationRecord, now: number): boolean {
  if (state === 'requested') return now - requestedAt < controlLimits.elevationWaitMs;
  return state === 'active' && expiresAt !== null && expiresAt > now;
}

async function known({ store }: ElevationParts, id: ElevationId): Promise<ElevationRecord> {
  const record = await store.identity.elevations.get(id);
  if (record === null) throw absent('elevation');
  return record;
}

async function approve(parts: ElevationParts, caller: Caller, id: ElevationId): Promise<ElevationView> {
  const { store, gate, clock, changes } = parts;
  const record = await known(parts, id);
  const act = elevationAct('elevation.decide', record);
  await gate.read(caller, act);
  await refuseOneself(gate, caller, act, record);
  await refuseAbove(gate, caller, act, await knownRoles(store, [record.role]));
  if (!(await isEligible(store, record.user, record.role)))
    throw conflict('The user may not be elevated to this role any more. Deny it.');
  return await gate.act(caller, { ...act, data: { ...act.data, approved: true } }, async () => {
    const now = clock.now();
    if (!isOpen(record, now)) throw conflict('Nobody waits for this decision any more.');
    const moved = await store.identity.elevations.move(id, 'requested', {
      state: 'active',
      decidedBy: caller.actor.id,
      decidedAt: now,
      expiresAt: now + record.seconds * 1000,
    });
    if (moved === null) throw conflict('It was decided or ended already.');
    await changes.look();
    return elevationView(moved, now);
  });
}

/** A second person, not the same one and not one of its machines. */
async function refuseOneself(gate: Gate, caller: Caller, act: Act, { user }: ElevationRecord): Promise<void> {
  const { id, signIn, narrowed, onBehalfOf } = caller.actor;
  const isPerson = signIn !== undefined && narrowed !== true && onBehalfOf === undefined;
  if (isPerson && id !== user) return;
  throw await gate.refuse(caller, act, {
    rule: isPerson ? 'elevation:own' : 'elevation:not-a-person',
    detail: isPerson
      ? 'Somebody else has to approve it.'
      : 'A person who signed in has to approve it, not a token or the machine’s own socket.',
  });
}

async function deny(parts: ElevationParts, caller: Caller, id: ElevationId): Promise<ElevationView> {
  const { store, gate, clock, changes } = parts;
  const record = await known(parts, id);
  const act = elevationAct('elevation.decide', record);
  return await gate.contain(caller, { ...act, data: { ...act.data, approved: false } }, async () => {
    const now = clock.now();
    const decision = { state: 'denied', decidedBy: caller.actor.id, decidedAt: now } as const;
    const moved = await store.identity.elevations.move(id, 'requested', decision);
    if (moved === null) throw conflict('It was decided or ended already.');
    await changes.look();
    return elevationView(moved, now);
  });
}

async function end(parts: ElevationParts, caller: Caller, id: ElevationId): Promise<ElevationView> {
  const { store, gate, clock, changes } = parts;
  const record = await known(parts, id);
  const isOwn = record.user === caller.actor.id && caller.actor.signIn !== undefined;
  const act = isOwn
    ? { ...accountAct('account.elevation.end', caller.actor), data: { elevation: id, role: record.role } }
    : elevationAct('elevation.end', record);
  return await gate.contain(caller, act, async () => {
    const { elevations } = store.identity;
    const moved =
      (await elevations.move(id, 'active', { state: 'ended' })) ??
      (await elevations.move(id, 'requested', { state: 'ended' }));
    await changes.look();
    return elevationView(moved ?? (await known(parts, id)), clock.now());
  });
}

function conflict(detail: string): Fault {
  return new Fault('state.conflict', { detail });
}

/** What is over by its time has ended, whatever the store says. */
function elevationView(record: ElevationRecord, now: number): ElevationView {
  const { id, user, role, reason, seconds, state, decidedBy } = record;
  const timeText = (at: number | null) => (at === null ? null : new Date(at).toISOString());
  const isOver = (state === 'requested' || state === 'active') && !isOpen(record, now);
  return {
    id,
    user,
    role,
    reason,
    seconds,
    state: isOver ? 'ended' : state,
    requestedAt: new Date(record.requestedAt).toISOString(),
    decidedBy,
    decidedAt: timeText(record.decidedAt),
    expiresAt: timeText(record.expiresAt),
  };
}
