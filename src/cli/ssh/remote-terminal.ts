import { Readable, Writable } from 'node:stream';
import { ApiError } from '../../client/api-error.ts';
import { errorOfEnd } from '../../client/attach/pipes.ts';
import type { AttachEnd, AttachState } from '../../client/attach/session.ts';
import type { CreateExec } from '../../contract/attach-schemas.ts';
import type { TerminalId } from '../../model/ids.ts';
import type { Api } from '../api.ts';
import type { SandboxCommand } from './sandbox-access.ts';

/**
 * A command with a terminal. Terminals wait for nobody: a client that reads too slowly, such as one on a slow line that shows
 * a large file, is cut. Here it comes again, as after a restart of the server, and goes on with the screen as it is then.
 */
export async function openTerminalCommand(
  attach: Api['attach'],
  run: string,
  request: CreateExec & Required<Pick<CreateExec, 'terminal'>>,
): Promise<SandboxCommand> {
  let terminal: TerminalId | null = null;
  const began = Promise.withResolvers<void>();
  const changes = new Set<() => void>();
  const stdout = new Screen();
  const session = await attach.openTerminal({
    async ticket(first) {
      if (!first && terminal !== null) return await attach.ticket(run, { role: 'driver', terminal });
      const ticket = await attach.execTicket(run, request);
      terminal = ticket.terminal;
      return ticket;
    },
    ...{ from: 0, drive: 'ask', size: request.terminal },
    redraw: () => stdout.redraw(),
    output: (bytes) => stdout.show(bytes),
    changed({ phase }: AttachState) {
      if (phase === 'attached') began.resolve();
      for (const change of [...changes]) change();
    },
  });
  const stdin = new Writable({
    write(bytes: Buffer, _encoding, done) {
      void typed(bytes).then(() => done());
    },
  });
  stdin.on('error', () => {});
  const exit = session.ended.then(async (end) => await statusOf(attach, run, terminal, end));
  exit.then(
    () => stdout.push(null),
    (error: Error) => {
      began.reject(error);
      stdout.destroy(error);
    },
  );
  void session.ended.then(() => stdin.destroy());
  await began.promise;
  const stderr = Readable.from([]);
  const resize: SandboxCommand['resize'] = (size) => session.resize(size);
  return { stdin, stdout, stderr, exit, resize, close: () => session.leave() };

  /** Resolves when they were handed on, or never will be; while the connection is broken they wait. */
  async function typed(bytes: Uint8Array): Promise<void> {
    while (!(await session.input(bytes)) && session.state.phase !== 'ended') {
      await new Promise<void>((resolve) => {
        const change = () => {
          changes.delete(change);
          resolve();
        };
        changes.add(change);
      });
    }
  }
}

/** How the command ended, where that is known; it may have ended while the connection was broken. */
async function statusOf(
  attach: Api['attach'],
  run: string,
  terminal: TerminalId | null,
  end: AttachEnd,
): Promise<Awaited<SandboxCommand['exit']>> {
  if (end.by === 'command') return { code: end.code, signal: end.signal };
  const error = errorOfEnd(end);
  if (terminal === null || !(error instanceof ApiError) || error.code !== 'state.conflict') throw error;
  const found = (await attach.terminals(run)).find(({ id }) => id === terminal);
  if (found === undefined || found.endedAt === null) throw error;
  return { code: found.exitCode, signal: null };
}

/** What the terminal shows. Whoever shows more waits while nobody reads. */
class Screen extends Readable {
  #hasShown = false;
  #full: PromiseWithResolvers<void> | null = null;

  show(bytes: Uint8Array): Promise<void> | undefined {
    this.#hasShown = true;
    if (this.destroyed || this.push(bytes)) return undefined;
    this.#full ??= Promise.withResolvers<void>();
    return this.#full.promise;
  }

  /** What follows draws the screen anew, from the normal one with nothing set. */
  redraw(): void {
    if (this.#hasShown && !this.destroyed) this.push('\x1b[?1049l\x1b[!p\x1b[0m\x1b[H\x1b[2J');
  }

  override _read(): void {
    this.#full?.resolve();
    this.#full = null;
  }

  override _destroy(error: Error | null, done: (error: Error | null) => void): void {
    this._read();
    done(error);
  }
}
