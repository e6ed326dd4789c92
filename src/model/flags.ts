import { hash } from 'node:crypto';
import type { Actor } from './actor.ts';

/**
 * Every feature that is behind a flag. A flag opens something new to some before it opens to all: it is off until
 * somebody says otherwise, and off again whenever what was said cannot be understood. Nothing that protects is
 * behind one (tests/tidy/flags.test.ts holds who may ask).
 */
export const flagTable = {
  'sso-tickets': {
    opens:
      'A ticket of 120 seconds, made by an administrator, that signs its user in once in place of a password.',
    since: '0.1.0',
  },
} as const satisfies Record<string, { readonly opens: string; readonly since: string }>;

export type FlagName = keyof typeof flagTable;
export const flagNames = Object.keys(flagTable) as FlagName[];

/** The flag of this name, or null. */
export function parseFlagName(text: string): FlagName | null {
  return Object.hasOwn(flagTable, text) ? (text as FlagName) : null;
}

/** To whom a flag is open: administrators, members of teams, or a share of all actors in whole percent. */
export type FlagStage = 'admins' | { readonly teams: readonly string[] } | { readonly percentage: number };

/** Off, on for everybody, or on for whom any of the stages names. There is nothing else that a rule can say. */
export type FlagRule = 'off' | 'on' | readonly FlagStage[];

/** What of an actor a rule looks at. */
export type FlagSubject = Pick<Actor, 'id' | 'role' | 'teams'>;

/** The answer and what made it: `off`, `on`, `none` of the stages, or the first stage that named the actor. */
export type FlagDecision = { readonly on: boolean; readonly by: string };

/** Decides for one actor, in the same way on every process and after every restart. */
export function decideFlag(name: FlagName, rule: FlagRule, subject: FlagSubject): FlagDecision {
  if (typeof rule === 'string') return { on: rule === 'on', by: rule };
  for (const stage of rule) {
    const by = stageNaming(name, stage, subject);
    if (by !== null) return { on: true, by };
  }
  return { on: false, by: 'none' };
}

function stageNaming(name: FlagName, stage: FlagStage, { id, role, teams }: FlagSubject): string | null {
  if (stage === 'admins') return role === 'admin' ? 'admins' : null;
  if ('teams' in stage) {
    const team = stage.teams.find((each) => teams?.has(each) ?? false);
    return team === undefined ? null : `team:${team}`;
  }
  return flagShare(name, id) < stage.percentage ? `percentage:${stage.percentage}` : null;
}

/**
 * Where an actor stands between 0 and 100 for one flag. A larger percentage keeps everybody that a smaller one had,
 * and who is early for one flag is not therefore early for the next.
 */
export function flagShare(name: FlagName, id: string): number {
  const head = hash('sha256', `${name}\0${id}`, 'buffer').readUIntBE(0, 6);
  return (head / 2 ** 48) * 100;
}
