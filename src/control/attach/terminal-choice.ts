import { absent, Fault } from '../../contract/faults.ts';
import type { ActorId } from '../../model/actor.ts';
import type { TerminalId } from '../../model/ids.ts';
import type { RunRecord } from '../../store/store.ts';
import type { RunnerLink } from '../runner-link.ts';
import { terminalsOf } from './recordings.ts';

/** A terminal of a run that lives, and who started its command. */
export type ChosenTerminal = { readonly id: TerminalId; readonly startedBy: ActorId };

/**
 * The terminal of a run that was asked for; null for the run's own. Throws `resource.absent` where it is none of this
 * run's, and `state.conflict` where it has ended or the run has none.
 */
export async function liveTerminalOf(
  link: RunnerLink,
  run: RunRecord,
  asked: TerminalId | null,
): Promise<ChosenTerminal> {
  const id = asked ?? run.terminal?.id ?? null;
  if (id === null)
    throw new Fault('state.conflict', {
      detail: 'The run has no terminal. Start a command in one with exec, or make runs with --tty.',
    });
  if (id === run.terminal?.id) return { id, startedBy: run.owner };
  const found = (await terminalsOf(link, run.id)).find((terminal) => terminal.id === id);
  if (found === undefined) throw absent('terminal');
  if (found.endedAt !== null)
    throw new Fault('state.conflict', { detail: 'The terminal has ended. Look at its recording instead.' });
  return { id, startedBy: found.by };
}
