import type { Clock } from '../../base/clock.ts';
import type { PutTeam, TeamView } from '../../contract/access-schemas.ts';
import { accessRequestLimits } from '../../contract/access-schemas.ts';
import { absent, Fault } from '../../contract/faults.ts';
import type { ChangeFeed } from '../../identity/change-feed.ts';
import type { ActionName } from '../../model/actions.ts';
import type { ActorId } from '../../model/actor.ts';
import type { TeamRecord, TeamStore } from '../../store/identity-store.ts';
import type { Caller, Page, PageRequest, Versioned } from '../control.ts';
import type { Act, Gate } from '../gate.ts';
import { positionCursor, storePosition } from '../paging.ts';
import { staleOf } from './stale.ts';

/** Teams share what they own: a member whose role reaches its teams reaches it. */
export type TeamUseCases = {
  list(caller: Caller, query: PageRequest): Promise<Page<TeamView>>;
  get(caller: Caller, name: string): Promise<Versioned<TeamView>>;
  /** `ifMatch` is null where the caller read of none. */
  put(caller: Caller, name: string, request: PutTeam, ifMatch: number | null): Promise<Versioned<TeamView>>;
  /** Changes nothing for who is a member. */
  addMember(caller: Caller, name: string, member: ActorId): Promise<TeamView>;
  removeMember(caller: Caller, name: string, member: ActorId): Promise<TeamView>;
  /** What it shared stays its owners'. */
  remove(caller: Caller, name: string): Promise<void>;
};

export type TeamParts = {
  readonly teamStore: TeamStore;
  readonly gate: Gate;
  readonly clock: Clock;
  readonly changes: Pick<ChangeFeed, 'look'>;
};

export function teamUseCases(parts: TeamParts): TeamUseCases {
  const { teamStore, gate, changes } = parts;
  return {
    list: async (caller, query) => {
      await gate.read(caller, teamAct('team.list'));
      const { after, limit } = storePosition(query);
      const { records, more } = await teamStore.list({ after: after?.[1] ?? null, limit });
      const last = records.at(-1);
      const position = last === undefined ? undefined : ([last.createdAt, last.name] as const);
      return { items: records.map(teamView), nextCursor: positionCursor(more, position) };
    },
    get: async (caller, name) => {
      await gate.read(caller, teamAct('team.read', name));
      return versioned(await known(teamStore, name));
    },
    put: (caller, name, request, ifMatch) => put(parts, caller, name, request, ifMatch),
    addMember: (caller, name, member) => addMember(parts, caller, name, member),
    // Takes rights away, so it happens even where nothing can be recorded.
    removeMember: async (caller, name, member) => {
      const act = { ...teamAct('team.put', name), data: { removed: member } };
      await refuseBeyondReach(parts, caller, act, name);
      return await gate.contain(caller, act, () =>
        change(parts, name, (members) => members.filter((other) => other !== member)),
      );
    },
    remove: async (caller, name) => {
      const act = teamAct('team.remove', name);
      await refuseBeyondReach(parts, caller, act, name);
      await gate.contain(caller, act, async () => {
        if (!(await teamStore.remove(name))) throw absent('team');
        await changes.look();
      });
    },
  };
}

function teamAct(action: ActionName, name?: string): Act {
  return { action, resource: { kind: 'team', ...(name === undefined ? {} : { id: name }) } };
}

async function known(store: TeamStore, name: string): Promise<TeamRecord> {
  const team = await store.get(name);
  if (team === null) throw absent('team');
  return team;
}

/** Whoever does not reach everything could reach more by joining a team: it changes none but those it is in. */
async function refuseBeyondReach({ gate }: TeamParts, caller: Caller, act: Act, name: string): Promise<void> {
  await gate.read(caller, act);
  await refuseForeignTeams(gate, caller, act, [name]);
}

/** The same of teams that somebody is put into, in whatever way. Records the denial and throws. */
export async function refuseForeignTeams(
  gate: Gate,
  caller: Caller,
  act: Act,
  names: readonly string[],
): Promise<void> {
  const { reach, teams } = caller.actor;
  if (reach === 'all' || names.every((name) => teams?.has(name) === true)) return;
  throw await gate.refuse(caller, act, {
    rule: 'reach:all:missing',
    detail: 'Changing a team that you are not in needs a reach of all.',
  });
}

async function put(
  parts: TeamParts,
  ...[caller, name, request, ifMatch]: Parameters<TeamUseCases['put']>
): Promise<Versioned<TeamView>> {
  const { teamStore, gate, clock, changes } = parts;
  const { description = null, members } = request;
  const act: Act = { ...teamAct('team.put', name), data: { members: [...members], current: ifMatch } };
  await refuseBeyondReach(parts, caller, act, name);
  return await gate.act(caller, act, async () => {
    const team = { name, description, members, createdAt: clock.now() };
    const written = await teamStore.put(team, ifMatch);
    if (written.outcome !== 'written') throw staleOf('team', written.outcome, ifMatch);
    await changes.look();
    return versioned(written.record);
  });
}

async function addMember(parts: TeamParts, caller: Caller, name: string, member: ActorId): Promise<TeamView> {
  const act: Act = { ...teamAct('team.put', name), data: { added: member } };
  await refuseBeyondReach(parts, caller, act, name);
  return await parts.gate.act(caller, act, () =>
    change(parts, name, (members) => {
      if (members.includes(member)) return members;
      if (members.length >= accessRequestLimits.membersMax)
        throw new Fault('quota.exceeded', {
          detail: `A team has at most ${accessRequestLimits.membersMax} members.`,
        });
      return [...members, member];
    }),
  );
}

/** Whatever the team was before: what others change meanwhile is read again. */
async function change(
  { teamStore, changes }: TeamParts,
  name: string,
  next: (members: readonly ActorId[]) => readonly ActorId[],
): Promise<TeamView> {
  for (;;) {
    const { version, ...team } = await known(teamStore, name);
    const members = next(team.members);
    if (members.length === team.members.length) return teamView({ ...team, version });
    const written = await teamStore.put({ ...team, members }, version);
    if (written.outcome === 'absent') throw absent('team');
    if (written.outcome !== 'written') continue;
    await changes.look();
    return teamView(written.record);
  }
}

function teamView({ name, description, members, createdAt }: TeamRecord): TeamView {
  return { name, description, members: [...members], createdAt: new Date(createdAt).toISOString() };
}

function versioned(record: TeamRecord): Versioned<TeamView> {
  return { view: teamView(record), version: record.version };
}
