import { Fault } from '../contract/faults.ts';
import type { Actor, ActorId } from '../model/actor.ts';
import type { Within } from '../store/store.ts';
import type { Caller } from './control.ts';

/** What lists hold for an actor; undefined for everything. */
export function withinOf({ id, reach, teams }: Actor): Within | undefined {
  if (reach === 'all') return undefined;
  return { owner: id, teams: reach === 'team' ? [...(teams ?? [])].sort() : [] };
}

/** Whether lists within hold what this actor and team own. */
export function isWithin(
  within: Within | undefined,
  owned: { owner: ActorId; team: string | null },
): boolean {
  if (within === undefined || within.owner === owned.owner) return true;
  return owned.team !== null && within.teams.includes(owned.team);
}

/** Nobody shares with a team that it is not in, unless it reaches everything. Whether there is one says the store. */
export function requireMember({ actor }: Caller, team: string | null | undefined): void {
  if (team === undefined || team === null || actor.reach === 'all') return;
  if (!(actor.teams?.has(team) ?? false)) throw noTeam(team);
}

/** The same answer for a team that is not there and for one that the caller is not in. */
export function noTeam(team: string | null | undefined): Fault {
  const message = `There is no team with the name ${team}, or you are not in it.`;
  return new Fault('request.invalid', {
    detail: message,
    extra: { in: 'body', errors: [{ path: '/team', message }] },
  });
}
