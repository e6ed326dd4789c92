import { randomUUID } from 'node:crypto';
import { type Duplex, PassThrough, Readable } from 'node:stream';
import type { RemoteExec } from '../client/attach/pipes.ts';
import { type AttachOptions, AttachSession } from '../client/attach/session.ts';
import type { AttachSocket, OpenSocket, SocketEvents } from '../client/attach/socket.ts';
import {
  type AttachCloseReason,
  attachCloseCodes,
  attachProtocol,
  attachStreams,
  type ClientFrame,
  type ServerFrame,
} from '../contract/attach.ts';
import type {
  AttachTicketView,
  CreateExec,
  TerminalMatch,
  TerminalView,
} from '../contract/attach-schemas.ts';
import { newId, type RunId, type TerminalId } from '../model/ids.ts';
import { attachOff } from '../model/terminal.ts';
import type { Api } from './api.ts';

/** For tests: the server's end of one connection of a terminal. */
export class FakePeer implements AttachSocket {
  readonly events: SocketEvents;
  readonly path: string;
  readonly frames: ClientFrame[] = [];
  typed = '';
  left = false;
  #wake: () => void = () => {};

  constructor(path: string, events: SocketEvents) {
    this.path = path;
    this.events = events;
  }

  async send(message: string | Uint8Array): Promise<void> {
    if (typeof message === 'string') this.frames.push(JSON.parse(message) as ClientFrame);
    else this.typed += Buffer.from(message.subarray(1)).toString('utf8');
    this.#wake();
  }

  pause(): void {}
  resume(): void {}

  close(): void {
    this.left = true;
    this.#wake();
    this.events.closed({ code: 1000, reason: '', refusal: null });
  }

  async until(isSo: () => boolean): Promise<void> {
    while (!isSo()) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }

  say(frame: ServerFrame): void {
    this.events.text(JSON.stringify(frame));
  }

  show(text: string | Uint8Array): void {
    this.events.binary(Buffer.concat([Buffer.from([attachStreams.output]), Buffer.from(text as string)]));
  }

  welcome(more: Partial<Extract<ServerFrame, { type: 'welcome' }>> = {}): void {
    this.say({
      ...{ type: 'welcome', connection: newId('connection', 1), run: newId('run', 1), terminal: null },
      ...{ role: 'driver', mode: 'exclusive', moderated: false, size: { columns: 80, rows: 24 } },
      ...{ offset: 0, snapshotBytes: 0, resumed: true, leaseMs: 30_000, pingMs: 10_000 },
      ...more,
    });
  }

  drive(): void {
    this.say({ type: 'input', allowed: true, until: 1 });
  }

  end(code: number | null): void {
    this.say({ type: 'ended', code, signal: null });
    this.events.closed({ code: 1000, reason: '', refusal: null });
  }

  cut(reason: AttachCloseReason): void {
    this.events.closed({ code: attachCloseCodes[reason], reason: '', refusal: null });
  }

  breakOff(): void {
    this.events.closed({ code: 1006, reason: '', refusal: null });
  }
}

/** For tests: terminals, commands and ports of a server in memory. */
export class FakeAttach {
  readonly #calls: string[];
  /** Thrown by the next ticket. */
  readonly refusals: Error[] = [];
  readonly terminals: TerminalView[] = [];
  /** Of commands that have one. */
  readonly execTerminal: TerminalId = newId('terminal', 77);
  recording = '';
  matches: TerminalMatch[] = [];
  /** What commands with pipes do. */
  onExec: (request: CreateExec, stdin: Readable) => Promise<FakeEnd> = async () => ({ status: 0 });
  /** Opens commands in another way. */
  openExec: ((request: CreateExec) => RemoteExec) | null = null;
  onPort: (port: number) => Duplex | Promise<Duplex> = () => new PassThrough();
  readonly #waiting: ((peer: FakePeer) => void)[] = [];
  readonly #came: FakePeer[] = [];

  constructor(calls: string[]) {
    this.#calls = calls;
  }

  /** The next connection to a terminal. */
  async peer(): Promise<FakePeer> {
    return this.#came.shift() ?? (await new Promise<FakePeer>((resolve) => this.#waiting.push(resolve)));
  }

  terminal(run: RunId, more: Partial<TerminalView> = {}): TerminalView {
    const made: TerminalView = {
      ...{ id: newId('terminal', this.terminals.length), run, session: newId('session', 1), kind: 'run' },
      ...{ actor: 'user:t', command: ['bash'], size: { columns: 80, rows: 24 }, exitCode: null },
      ...{ openedAt: '2026-01-01T00:00:00.000Z', endedAt: null },
      recording: { bytes: 2048, seconds: 65.4, complete: true },
      ...more,
    };
    this.terminals.push(made);
    return made;
  }

  get api(): Api['attach'] {
    return {
      configure: async (session, { enabled, mode, moderated, recordInput, reason }) => {
        this.#calls.push(
          `attach.configure ${session} ${JSON.stringify({ enabled, mode, moderated, recordInput, reason })}`,
        );
        return {
          enabled,
          mode: mode ?? attachOff.mode,
          moderated: moderated ?? false,
          recordInput: recordInput ?? false,
        };
      },
      ticket: async (run, request) =>
        this.#ticket(`attach.ticket ${run} ${JSON.stringify(request)}`, request.terminal ?? null),
      execTicket: async (run, request) => {
        const terminal = request.terminal === undefined ? null : this.execTerminal;
        return this.#ticket(`attach.exec ${run} ${JSON.stringify(request)}`, terminal);
      },
      portTicket: async (run, { port }) => this.#ticket(`attach.port ${run} ${port}`, null),
      terminals: async () => this.terminals,
      recording: async (run, terminal) => {
        this.#calls.push(`attach.recording ${run} ${terminal}`);
        const bytes = Buffer.from(this.recording);
        return { mediaType: 'application/x-asciicast', bytes: null, body: Readable.from([bytes]) };
      },
      search: async (run, terminal, query) => {
        this.#calls.push(`attach.search ${run} ${terminal} ${JSON.stringify(query)}`);
        return this.matches;
      },
      openTerminal: async (options: Omit<AttachOptions, 'socket'>) =>
        new AttachSession({ ...options, socket: this.#socket }),
      openExec: async (run, request) => {
        this.#ticket(`attach.exec ${run} ${JSON.stringify(request)}`, null);
        return this.openExec?.(request) ?? this.#exec(request);
      },
      openPort: async (run, port) => {
        this.#ticket(`attach.port ${run} ${port}`, null);
        return await this.onPort(port);
      },
    };
  }

  readonly #socket: OpenSocket = ({ path }, events) => {
    const peer = new FakePeer(path, events);
    const next = this.#waiting.shift();
    if (next === undefined) this.#came.push(peer);
    else next(peer);
    return peer;
  };

  #ticket(call: string, terminal: TerminalId | null): AttachTicketView {
    this.#calls.push(call);
    const refusal = this.refusals.shift();
    if (refusal !== undefined) throw refusal;
    return {
      ticket: `sw_attach_${randomUUID()}`,
      expiresAt: '2026-01-01T00:00:30.000Z',
      path: '/attach',
      protocol: attachProtocol,
      terminal,
    };
  }

  #exec(request: CreateExec): RemoteExec {
    const stdin = new PassThrough();
    const stdout = new PassThrough();
    const stderr = new PassThrough();
    const exit = this.onExec(request, stdin).then(
      (end) => {
        stdout.end(end.stdout ?? '');
        stderr.end(end.stderr ?? '');
        return { code: end.status, signal: null };
      },
      (error: Error) => {
        stdout.destroy(error);
        stderr.destroy(error);
        throw error;
      },
    );
    exit.catch(() => {});
    stderr.on('error', () => {});
    return { stdin, stdout, stderr, exit, resize() {}, close: () => stdin.destroy() };
  }
}

export type FakeEnd = {
  readonly status: number;
  readonly stdout?: string | Uint8Array;
  readonly stderr?: string;
};
