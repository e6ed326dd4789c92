import { absent } from '../contract/faults.ts';
import type { ActionName } from '../model/actions.ts';
import type { Resource } from '../model/decide.ts';
import type { RunId } from '../model/ids.ts';
import type { RunRecord, Store } from '../store/store.ts';
import type { Caller } from './control.ts';
import type { Act, Gate } from './gate.ts';

export function runAct(
  action: ActionName,
  run: Pick<RunRecord, 'id' | 'session' | 'owner' | 'team'>,
): Act & { resource: Resource } {
  const { id, session, owner, team } = run;
  return { action, resource: { kind: 'run', id, session, owner, team } };
}

export async function findRun(store: Store, id: RunId): Promise<RunRecord> {
  const record = await store.runs.get(id);
  if (record === null) throw absent('run');
  return record;
}

/** The run, for a caller who may see it. What others' runs wrote is read on the record. */
export async function readableRun(
  { store, gate }: { store: Store; gate: Gate },
  caller: Caller,
  id: RunId,
  action: ActionName,
): Promise<RunRecord> {
  const record = await findRun(store, id);
  const act = runAct(action, record);
  const content = action !== 'run.read' && record.owner !== caller.actor.id;
  await (content ? gate.privileged(caller, act) : gate.read(caller, act));
  return record;
}
