import { hasEnded } from '../../base/libc.ts';
import { Fault } from '../../contract/faults.ts';
import type { ExecRequest, SandboxExec } from '../terminal.ts';
import type { Beside } from './enforcement.ts';
import { type ExecHome, ExecStart } from './exec.ts';
import { localLimits } from './limits.ts';
import { unavailable } from './starting.ts';

/** The commands beside a sandbox's own: none outlives it, nor the descriptors that it is known by. */
export class Execs implements Beside {
  readonly #live = new Set<ExecStart>();
  #isClosed = false;

  roots(): readonly number[] {
    return Array.from(this.#live, ({ pid }) => pid);
  }

  async start(home: ExecHome, request: ExecRequest): Promise<SandboxExec> {
    if (this.#isClosed || hasEnded(home.initFd)) throw ended();
    if (this.#live.size >= localLimits.execs)
      throw new Fault('state.conflict', {
        detail: `${localLimits.execs} commands run beside the sandbox's own already; end one of them first.`,
      });
    let start: ExecStart;
    try {
      start = new ExecStart(home, request);
    } catch (error) {
      const why = (error as NodeJS.ErrnoException).code ?? (error as Error).message;
      throw unavailable(`No command can be started in the sandbox (${why})`, error);
    }
    this.#live.add(start);
    void start.exited.then(() => this.#live.delete(start));
    try {
      return await start.run();
    } catch (error) {
      throw this.#isClosed || hasEnded(home.initFd) ? ended() : error;
    }
  }

  kill(): void {
    for (const start of this.#live) start.kill();
  }

  /** Ends all of them; resolves when they are gone. Called once the sandbox's first process has ended. */
  async close(): Promise<void> {
    this.#isClosed = true;
    this.kill();
    await Promise.all(Array.from(this.#live, ({ exited }) => exited));
  }
}

function ended(): Fault {
  return new Fault('state.conflict', { detail: 'The sandbox has ended.' });
}
