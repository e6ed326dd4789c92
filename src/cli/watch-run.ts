import { ApiError } from '../client/api-error.ts';
import type { LogEnd, RunView } from '../contract/schemas.ts';
import { exitStatusOf, isTerminal } from '../model/run.ts';
import type { Api } from './api.ts';
import { type Context, note } from './context.ts';
import { denialLine } from './egress.ts';
import { OutputClosed } from './environment.ts';
import { CliFailure, exitStatus } from './failure.ts';
import { byteSink, followLog, jsonSink, writeJson } from './follow.ts';
import type { Progress } from './progress.ts';
import { showBytes } from './quantities.ts';

export type WatchOptions = {
  readonly json: boolean;
  readonly progress: Progress;
  /** Aborted by Ctrl-C before the run existed; the run is then stopped at once. */
  readonly interrupted: AbortSignal;
};

/**
 * Streams a run until it has ended and gives the status to exit with. Ctrl-C stops the run and goes on
 * streaming; a second one leaves at once. When the reader of the output goes away the run is stopped too.
 */
export async function watchRun(
  context: Context,
  api: Api,
  run: RunView,
  options: WatchOptions,
): Promise<number> {
  const { environment } = context;
  const { progress } = options;
  // Nobody is told that leaving is fine before the server has the order.
  const stop = async () => {
    await progress.clear();
    await api.runs.stop(run.id);
    await note(environment, 'stopping the run; Ctrl-C again leaves at once').catch(() => {});
  };
  let stopping: Promise<void> | null = null;
  const failed = new AbortController();
  const interrupt = () => {
    stopping ??= stop().catch((error: unknown) => failed.abort(error));
  };
  const off = options.interrupted.aborted ? () => {} : environment.onInterrupt(interrupt);
  if (options.interrupted.aborted) interrupt();
  try {
    if (options.json) await writeJson(environment, { event: 'run', run });
    const sink = options.json ? jsonSink(environment) : byteSink(environment, progress);
    const end = await followLog(api, run.id, { signal: failed.signal }, sink);
    await progress.clear();
    if (end === null) throw new CliFailure('The log ended without saying how the run ended.');
    if (!options.json) await explainEnd(context, api, run, end);
    return statusOf(end);
  } catch (error) {
    if (failed.signal.aborted) throw failed.signal.reason;
    if (!(error instanceof OutputClosed)) throw error;
    await api.runs.stop(run.id);
    return exitStatus.brokenPipe;
  } finally {
    off();
    await stopping;
  }
}

/** The command's own status; 125 where it has none. */
export function statusOf({ phase, exitCode, signal }: LogEnd): number {
  if (!isTerminal(phase)) return exitStatus.ownFailure;
  return exitStatusOf({ phase, exit: { code: exitCode, signal } });
}

/** Says what the exit status alone does not, and on a terminal where the changes are. */
export async function explainEnd(context: Context, api: Api, run: RunView, end: LogEnd): Promise<void> {
  const { environment } = context;
  const ordinary = end.phase === 'succeeded' || (end.phase === 'failed' && end.cause === 'exit');
  if (!ordinary) {
    const cause = end.cause === null ? '' : ` (${end.cause})`;
    const reason = end.reason === null || end.reason === '' ? '' : `: ${end.reason}`;
    await note(environment, `the run ${run.id} ended as ${end.phase}${cause}${reason}`);
  }
  const denials = await denialLine(api, run.id).catch((error: unknown) => {
    // The run is over and its status is known; whoever cannot read this can still use that.
    if (error instanceof ApiError) return null;
    throw error;
  });
  if (denials !== null) await note(environment, denials);
  if (!environment.stderr.isTerminal) return;
  const { artifacts } = await api.runs.get(run.id);
  const bytes = artifacts.find(({ name }) => name === 'diff')?.bytes ?? 0;
  if (bytes === 0) return;
  await note(
    environment,
    `it changed files (${showBytes(bytes)}): sealwright diff ${run.id}, sealwright apply ${run.id}`,
  );
}
