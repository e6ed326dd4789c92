import type { Kysely } from 'kysely';
import { advanceRun, type RunState } from '../../model/run.ts';
import { mayAdvanceSession, type SessionPhase } from '../../model/session.ts';
import type { RunWrite, RunWritten } from '../store.ts';
import { keepsEnvironment, runOf, stateColumns } from './rows.ts';
import type { Tables } from './tables.ts';

export const runColumns = [
  'id',
  'session',
  'parent',
  'name',
  'owner',
  'team',
  'spec',
  'egress_names',
  'egress_reason',
  'egress_generation',
  'terminal',
  'priority',
  'phase',
  'created_at',
  'starting_at',
  'running_at',
  'finished_at',
  'cause',
  'reason',
  'exit_code',
  'exit_signal',
  'stop_requested_at',
  'held_by',
  'usage',
  'artifacts',
  'files_expired',
  'version',
] as const;

/** One write inside a transaction. The only place that changes a run's state. */
export async function writeRun(db: Kysely<Tables>, write: RunWrite): Promise<RunWritten> {
  const row = await db.selectFrom('runs').select(runColumns).where('id', '=', write.run).executeTakeFirst();
  if (row === undefined) return { outcome: 'absent' };
  const before = runOf(row);
  let state: RunState = before.state;
  let commandRan = false;
  for (const change of write.changes(before.state)) {
    const next = advanceRun(state, change);
    if (next === null) return { outcome: 'refused' };
    commandRan ||= next.phase === 'running';
    state = next;
  }
  if (state === before.state) return { outcome: 'written', record: before };
  const written = await db
    .updateTable('runs')
    .set({
      ...stateColumns(state),
      ...(keepsEnvironment(state) ? {} : { env: null }),
      ...(write.heldBy === undefined ? {} : { held_by: textOf(write.heldBy) }),
      ...(write.usage === undefined ? {} : { usage: textOf(write.usage) }),
      ...(write.artifacts === undefined ? {} : { artifacts: JSON.stringify(write.artifacts) }),
      version: before.version + 1,
    })
    .where('id', '=', write.run)
    .returning(runColumns)
    .executeTakeFirstOrThrow();
  if (commandRan) await activate(db, before.session);
  return { outcome: 'written', record: runOf(written) };
}

function textOf(value: unknown): string | null {
  return value === null ? null : JSON.stringify(value);
}

/** The workspace exists from its first command on. */
async function activate(db: Kysely<Tables>, session: string): Promise<void> {
  const row = await db.selectFrom('sessions').select('phase').where('id', '=', session).executeTakeFirst();
  if (row === undefined || !mayAdvanceSession(row.phase as SessionPhase, 'active')) return;
  await db
    .updateTable('sessions')
    .set((build) => ({ phase: 'active', version: build('version', '+', 1) }))
    .where('id', '=', session)
    .execute();
}
