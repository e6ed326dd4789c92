import { once } from 'node:events';
import { createServer, type Server, type Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { setTimeout as pause } from 'node:timers/promises';
import type { Command } from 'commander';
import { ApiError } from '../client/api-error.ts';
import { isTerminal } from '../model/run.ts';
import type { Api } from './api.ts';
import { type Context, note } from './context.ts';
import { CliFailure, exitStatus, UsageFailure } from './failure.ts';
import { cliLimits } from './limits.ts';
import { resolveRun } from './resolve.ts';

type Forward = { readonly local: number; readonly port: number };

export function definePortForward(program: Command, context: Context): void {
  program
    .command('port-forward')
    .summary('reach ports of a live run from this machine')
    .description(
      'Opens ports of this machine’s loopback, to nobody else’s, and carries each connection to a port in the\n' +
        'sandbox, decided and recorded one by one. Until Ctrl-C, or the end of the run. Attaching has to be on for\n' +
        'the session, and it needs control:write. Other programs of this machine can reach the port, too.\n\n' +
        'Examples:\n' +
        '  sealwright port-forward build 3000\n' +
        '  sealwright port-forward build 8080:80 0:5432    # 0: any free port',
    )
    .argument('<run>', 'id, beginning of an id, name, or "latest"')
    .argument('<port...>', 'a port in the sandbox, or LOCAL:PORT')
    .action(async (word: string, ports: string[]) => {
      context.status = await portForward(context, word, ports.map(parseForward));
    });
}

function parseForward(text: string): Forward {
  const match = /^(?:(\d{1,5}):)?(\d{1,5})$/.exec(text);
  const port = Number(match?.[2]);
  const local = Number(match?.[1] ?? port);
  if (match !== null && port >= 1 && port <= 65_535 && local <= 65_535) return { local, port };
  throw new UsageFailure(`A port is one such as 3000, or 8080:80, not "${text}"`);
}

async function portForward(context: Context, word: string, forwards: readonly Forward[]): Promise<number> {
  const api = await context.connect();
  const run = await resolveRun(api, word);
  const forwarding = new Forwarding(context, api, run);
  const off = context.environment.onInterrupt(() => forwarding.stop(null));
  try {
    for (const forward of forwards) await forwarding.listen(forward);
    return await forwarding.ended;
  } finally {
    off();
    forwarding.close();
  }
}

/** Ports of this machine that lead into one run. */
class Forwarding {
  readonly #context: Context;
  readonly #api: Api;
  readonly #run: string;
  readonly #servers: Server[] = [];
  readonly #open = new Set<Socket>();
  readonly #stopping = new AbortController();
  readonly #ended = Promise.withResolvers<number>();
  /** What was said already: a page that reloads would say it again and again. */
  readonly #said = new Set<string>();

  constructor(context: Context, api: Api, run: string) {
    this.#context = context;
    this.#api = api;
    this.#run = run;
    this.#ended.promise.catch(() => {});
  }

  get ended(): Promise<number> {
    return this.#ended.promise;
  }

  async listen({ local, port }: Forward): Promise<void> {
    const server = createServer({ allowHalfOpen: true, noDelay: true }, (socket) => {
      void this.#carry(socket, port);
    });
    server.maxConnections = cliLimits.forwardedConnectionsMax;
    server.listen(local, '127.0.0.1');
    await once(server, 'listening').catch((error: NodeJS.ErrnoException) => {
      throw new CliFailure(`Port ${local} of this machine cannot be opened (${error.code}).`, {
        hint: `Choose another one, as in 0:${port} for any that is free.`,
      });
    });
    this.#servers.push(server);
    const address = server.address();
    const opened = typeof address === 'object' ? address?.port : local;
    await note(
      this.#context.environment,
      `http://127.0.0.1:${opened} leads to port ${port} of ${this.#run}; Ctrl-C ends it`,
    );
  }

  /** Ends it: with Ctrl-C, or where nothing can come of it any more. */
  stop(error: Error | null): void {
    this.#stopping.abort();
    if (error === null) this.#ended.resolve(exitStatus.ok);
    else this.#ended.reject(error);
  }

  close(): void {
    this.#stopping.abort();
    for (const server of this.#servers) server.close();
    for (const socket of this.#open) socket.destroy();
  }

  async #carry(socket: Socket, port: number): Promise<void> {
    this.#open.add(socket);
    socket.once('close', () => this.#open.delete(socket));
    socket.on('error', () => {});
    try {
      const remote = await this.#connect(port);
      if (this.#stopping.signal.aborted || socket.destroyed) remote.destroy();
      // Either side may end first, and the other goes on.
      else await Promise.all([pipeline(socket, remote), pipeline(remote, socket)]);
    } catch (error) {
      socket.destroy();
      await this.#failed(error, port);
    }
  }

  /** Waits where the server asks for that, as long as whoever connected may be expected to. */
  async #connect(port: number): Promise<Duplex> {
    let waitedMs = 0;
    for (;;) {
      try {
        return await this.#api.attach.openPort(this.#run, port);
      } catch (error) {
        const seconds = error instanceof ApiError && error.status === 429 ? error.retryAfterSeconds : null;
        const waitMs = Math.max(cliLimits.forwardRetryMs, (seconds ?? 0) * 1000);
        if (seconds === null || waitedMs + waitMs > cliLimits.forwardWaitMs) throw error;
        waitedMs += waitMs;
        await pause(waitMs, undefined, { signal: this.#stopping.signal });
      }
    }
  }

  async #failed(error: unknown, port: number): Promise<void> {
    // Pages and programs hang up on what they no longer need.
    if (!(error instanceof ApiError) || this.#stopping.signal.aborted) return;
    if (error.code === 'access.denied' || error.status === 401) {
      this.stop(error);
      return;
    }
    if (error.code === 'state.conflict' && (await this.#isOver())) {
      this.stop(new CliFailure(`The run ${this.#run} has ended.`));
      return;
    }
    const text = `port ${port}: ${error.detail}`;
    if (this.#said.has(text)) return;
    if (this.#said.size < cliLimits.forwardNotesMax) this.#said.add(text);
    await note(this.#context.environment, text).catch(() => {});
  }

  async #isOver(): Promise<boolean> {
    return await this.#api.runs.get(this.#run).then(
      ({ phase }) => isTerminal(phase),
      () => false,
    );
  }
}
