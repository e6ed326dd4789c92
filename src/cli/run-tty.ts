import { setTimeout as pause } from 'node:timers/promises';
import { ApiError } from '../client/api-error.ts';
import type { AttachTicketView } from '../contract/attach-schemas.ts';
import type { RunView } from '../contract/schemas.ts';
import { isTerminal } from '../model/run.ts';
import { defaultTerminalSize } from '../model/terminal.ts';
import type { Api } from './api.ts';
import { type Context, note } from './context.ts';
import { exitStatus, UsageFailure } from './failure.ts';
import { followLog } from './follow.ts';
import { cliLimits } from './limits.ts';
import { type Progress, stepText } from './progress.ts';
import type { RunFlags, RunRequest } from './run-options.ts';
import { parseDetachKeys, showKeys, showWheelKeys } from './terminal/detach-keys.ts';
import { drives } from './terminal/escape-policy.ts';
import { type Interaction, interact, sizeOf, statusOfSignal, terminalOf } from './terminal/interact.ts';
import { TerminalFilter } from './terminal/terminal-filter.ts';
import { terminalVariables } from './terminal/terminal-variables.ts';
import { explainEnd, statusOf } from './watch-run.ts';

type Watch = { readonly progress: Progress; readonly interrupted: AbortSignal };

export type Tty = {
  /** The request with what a terminal needs. */
  request(request: RunRequest): RunRequest;
  /** Attaches to the run, and gives the status to exit with. */
  watch(api: Api, run: RunView, watch: Watch): Promise<number>;
};

/** For `run --tty`. Throws UsageFailure or CliFailure where it cannot be. */
export function prepareTty(context: Context, flags: RunFlags): Tty {
  const { environment } = context;
  if (flags.json === true && flags.detach !== true)
    throw new UsageFailure('--tty shows a terminal, and --json writes JSON: choose one');
  const detachKeys = parseDetachKeys(flags.detachKeys ?? 'none');
  const terminal = flags.detach === true ? environment.terminal : terminalOf(environment, 'run --tty');
  return {
    request(request) {
      if (terminal === null) return { ...request, terminal: defaultTerminalSize };
      const env = { ...terminalVariables(environment.variables), ...request.env };
      return { ...request, terminal: sizeOf(terminal), env };
    },
    async watch(api, run, watch) {
      const attached = new TtyRun(context, api, run, watch);
      const keys = { bytes: detachKeys, shown: flags.detachKeys ?? 'none' };
      return await attached.watch(terminalOf(environment, 'run --tty'), keys);
    },
  };
}

/** One run in a terminal, from its start to its end, or until the user leaves. */
class TtyRun {
  readonly #context: Context;
  readonly #api: Api;
  readonly #run: RunView;
  readonly #progress: Progress;
  readonly #stopping: AbortController = new AbortController();
  readonly #interrupted: AbortSignal;

  constructor(context: Context, api: Api, run: RunView, { progress, interrupted }: Watch) {
    this.#context = context;
    this.#api = api;
    this.#run = run;
    this.#progress = progress;
    this.#interrupted = interrupted;
  }

  async watch(
    terminal: ReturnType<typeof terminalOf>,
    keys: { readonly bytes: readonly number[]; readonly shown: string },
  ): Promise<number> {
    if (!(await this.#begun())) return await this.#missed();
    const { environment } = this.#context;
    const wheel = showWheelKeys(keys.shown);
    if (wheel !== null) await note(environment, `${wheel} changes who drives`);
    if (keys.bytes.length > 0) await note(environment, `${showKeys(keys.shown)} leaves, and the run goes on`);
    const end = await interact(this.#context, this.#api, terminal, {
      ticket: (first) => this.#ticket(first),
      // From the first byte: nothing that it says at its start is missed.
      from: 0,
      role: 'driver',
      detachKeys: keys.bytes,
      hello: () => null,
    });
    return await this.#after(end);
  }

  async #after(end: Interaction): Promise<number> {
    const { id } = this.#run;
    const { environment } = this.#context;
    if (end.by === 'command') return await this.#finished();
    if (end.by === 'failure') {
      // It may have ended before anybody could attach, or while the connection was broken.
      if (end.error instanceof ApiError && end.error.code === 'state.conflict' && (await this.#isOver()))
        return await this.#missed();
      await note(environment, `the run goes on: sealwright attach --driver ${id}, sealwright stop ${id}`);
      throw end.error;
    }
    await note(environment, `left the run, which goes on: sealwright attach --driver ${id}`);
    return end.by === 'signal' ? statusOfSignal(end.signal) : exitStatus.ok;
  }

  /** Waits for the command's start; Ctrl-C stops the run. False where it ended before that. */
  async #begun(): Promise<boolean> {
    const { id } = this.#run;
    const stop = () => {
      void this.#api.runs.stop(id).catch((error: unknown) => this.#stopping.abort(error));
    };
    const off = this.#interrupted.aborted ? () => {} : this.#context.environment.onInterrupt(stop);
    if (this.#interrupted.aborted) stop();
    try {
      for await (const event of this.#api.runs.logs(id, { signal: this.#stopping.signal })) {
        if (event.event === 'end') return false;
        if (event.event !== 'step') return true;
        await this.#progress.show(stepText(event.step));
        if (event.step === 'command') return true;
      }
      return true;
    } finally {
      off();
      await this.#progress.clear();
    }
  }

  /** Between the step that starts the command and the command there is a moment without a terminal. */
  async #ticket(first: boolean): Promise<AttachTicketView> {
    for (;;) {
      try {
        return await this.#api.attach.ticket(this.#run.id, { role: 'driver' });
      } catch (error) {
        const early = first && error instanceof ApiError && error.code === 'state.conflict';
        if (!early || !['queued', 'starting'].includes(await this.#phase())) throw error;
      }
      await pause(cliLimits.startPollMs);
    }
  }

  async #phase(): Promise<RunView['phase']> {
    return (await this.#api.runs.get(this.#run.id)).phase;
  }

  async #isOver(): Promise<boolean> {
    const { phase } = await this.#api.runs.wait(this.#run.id, { timeoutSeconds: 10 });
    return isTerminal(phase);
  }

  /** The status of a run whose terminal has ended. */
  async #finished(): Promise<number> {
    await this.#progress.show(stepText('collect'));
    let run: RunView;
    do run = await this.#api.runs.wait(this.#run.id);
    while (!isTerminal(run.phase));
    await this.#progress.clear();
    await explainEnd(this.#context, this.#api, run, run);
    return statusOf(run);
  }

  /** The same, and what it wrote, for whoever saw nothing of it. */
  async #missed(): Promise<number> {
    const { stdout } = this.#context.environment;
    const filter = new TerminalFilter(drives);
    await followLog(this.#api, this.#run.id, {}, async (event) => {
      if (event.event === 'stdout') await stdout.write(filter.bytes(event.bytes));
    });
    const back = filter.restore();
    if (back !== '') await stdout.write(back);
    return await this.#finished();
  }
}
