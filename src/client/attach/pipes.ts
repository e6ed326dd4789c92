import { Duplex, Readable, Writable } from 'node:stream';
import { attachStreams } from '../../contract/attach.ts';
import type { AttachTicketView } from '../../contract/attach-schemas.ts';
import type { TerminalSize } from '../../model/terminal.ts';
import { ApiError } from '../api-error.ts';
import { AttachConnection, type ConnectionEnd, type ConnectionEvents } from './connection.ts';
import type { OpenSocket } from './socket.ts';

export type ExecExit = { readonly code: number | null; readonly signal: string | null };

/** A command in a sandbox while it runs. With a terminal, `stdout` is all that it shows and `stderr` is empty. */
export type RemoteExec = {
  /** Whoever writes waits for the command to read; ending it is the end of the command's input. */
  readonly stdin: Writable;
  /** While nobody reads, the command waits. Both end before `exit` settles where they are read. */
  readonly stdout: Readable;
  readonly stderr: Readable;
  /** Nothing without a terminal. */
  resize(size: TerminalSize): void;
  /** Rejects with ApiError where the connection ends before the command. */
  readonly exit: Promise<ExecExit>;
  /** Hangs up, which ends the command. */
  close(): void;
};

/** Redeems the ticket of an exec: the command has started when it resolves. Rejects with ApiError. */
export async function openExec(socket: OpenSocket, ticket: AttachTicketView): Promise<RemoteExec> {
  const rooms = [new Room(), new Room()] as const;
  const [stdout, stderr] = [readableOf(rooms[0]), readableOf(rooms[1])];
  const exit = Promise.withResolvers<ExecExit>();
  exit.promise.catch(() => {});
  // There before the connection: what comes with the welcome, and the end, find them.
  const stdin = new Writable({
    write: (bytes: Buffer, _, done) => void connection.input(bytes).then(() => done()),
    final: (done) => void connection.control({ type: 'end-input' }).then(() => done()),
  });
  // Whoever writes to a command that has ended is told by its exit.
  stdin.on('error', () => {});
  const connection = await connected(socket, ticket, {
    data: (stream, bytes) =>
      stream === attachStreams.error ? rooms[1].pour(stderr, bytes) : rooms[0].pour(stdout, bytes),
    ended(how) {
      finish(stdout, how);
      finish(stderr, how);
      if (how.by === 'command') exit.resolve({ code: how.code, signal: how.signal });
      else exit.reject(errorOfEnd(how));
      stdin.destroy();
    },
  });
  return {
    stdin,
    stdout,
    stderr,
    exit: exit.promise,
    resize(size) {
      if (ticket.terminal !== null) void connection.control({ type: 'resize', size });
    },
    close: () => connection.leave(),
  };
}

/**
 * Redeems the ticket of a port forward: there is a connection when it resolves. Either side may end first; destroying it
 * ends it for both. Rejects with ApiError.
 */
export async function openPort(socket: OpenSocket, ticket: AttachTicketView): Promise<Duplex> {
  const room = new Room();
  let ended = false;
  const port = new Duplex({
    read: () => room.made(),
    write: (bytes: Buffer, _, done) => void connection.input(bytes).then(() => done()),
    final: (done) => void connection.control({ type: 'end-input' }).then(() => done()),
    destroy(error, done) {
      room.made();
      if (!ended) connection.leave();
      done(error);
    },
  });
  // A cut that comes with the welcome is met by whoever reads; nobody can listen for it yet.
  port.on('error', () => {});
  const connection = await connected(socket, ticket, {
    data: (_, bytes) => room.pour(port, bytes),
    ended(how) {
      ended = true;
      finish(port, how);
    },
  });
  return port;
}

type Rest = Pick<ConnectionEvents, 'data' | 'ended'>;

function connected(socket: OpenSocket, ticket: AttachTicketView, rest: Rest): Promise<AttachConnection> {
  return new Promise((resolve, reject) => {
    let welcomed = false;
    const connection = new AttachConnection(
      socket,
      { ticket },
      {
        welcome() {
          welcomed = true;
          resolve(connection);
        },
        data: rest.data,
        told() {},
        ended(end) {
          if (welcomed) rest.ended(end);
          else reject(errorOfEnd(end));
        },
      },
    );
  });
}

/** Tells whoever fills a readable when there is room again. */
class Room {
  #full: PromiseWithResolvers<void> | null = null;

  /** Promises that there is room for more; undefined where there is. */
  pour(into: Readable, bytes: Uint8Array): Promise<void> | undefined {
    if (into.destroyed || into.push(bytes)) return undefined;
    this.#full ??= Promise.withResolvers<void>();
    return this.#full.promise;
  }

  made(): void {
    this.#full?.resolve();
    this.#full = null;
  }
}

function readableOf(room: Room): Readable {
  const readable = new Readable({
    read: () => room.made(),
    destroy(error, done) {
      room.made();
      done(error);
    },
  });
  // Whoever reads meets the error; whoever does not is told by the exit.
  return readable.on('error', () => {});
}

function finish(readable: Readable, end: ConnectionEnd): void {
  if (end.by !== 'command') readable.destroy(end.by === 'client' ? undefined : errorOfEnd(end));
  else if (!readable.destroyed) readable.push(null);
}

/** What is told where a connection ended otherwise than by its command. */
export function errorOfEnd(end: ConnectionEnd): ApiError {
  if (end.by === 'refusal' && end.error instanceof ApiError) return end.error;
  const of = (detail: string, code: ApiError['code'] = 'server.unreachable') =>
    new ApiError({
      status: 0,
      code,
      detail,
      ...(end.by === 'refusal' ? { cause: end.error } : {}),
    });
  if (end.by === 'refusal') return of(end.error.message, 'server.unintelligible');
  if (end.by === 'client') return of('It was hung up on here.');
  if (end.by !== 'server') return of('The connection broke off.');
  const detail = end.detail === '' ? '' : ` (${end.detail})`;
  const [code, text] = cuts[end.reason];
  return of(`${text}${detail}`, code);
}

const cuts = {
  ended: ['state.conflict', 'It has ended.'],
  goingAway: ['server.unreachable', 'The server is stopping.'],
  protocol: ['server.unintelligible', 'The server did not understand what it was sent.'],
  tooLarge: ['request.too-large', 'A message was too large for the server.'],
  internal: ['internal', 'Something went wrong inside the server.'],
  revoked: ['access.denied', 'You may no longer be attached to this run: your rights or your sign-in ended.'],
  switchedOff: ['access.denied', 'Attaching was switched off for this session.'],
  timeout: ['server.unreachable', 'The server did not hear from this program in time.'],
  unrecorded: ['audit.unavailable', 'What is shown cannot be recorded, so nobody may be attached.'],
  slow: ['server.unreachable', 'The output was not read fast enough.'],
} as const satisfies Record<string, readonly [ApiError['code'], string]>;
