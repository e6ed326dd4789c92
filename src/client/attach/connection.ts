import {
  type AttachCloseReason,
  type AttachStream,
  attachCloseCodes,
  attachLimits,
  attachStreams,
  type ClientFrame,
  type ServerFrame,
} from '../../contract/attach.ts';
import type { AttachTicketView } from '../../contract/attach-schemas.ts';
import type { AttachSocket, OpenSocket, SocketClose } from './socket.ts';

export type Welcome = Extract<ServerFrame, { readonly type: 'welcome' }>;
/** What a server says after its welcome. */
export type Told = Exclude<ServerFrame, Welcome>;

export type ConnectionEnd =
  | { readonly by: 'command'; readonly code: number | null; readonly signal: string | null }
  /** The server cut it; `detail` is its own words, untrusted. */
  | { readonly by: 'server'; readonly reason: AttachCloseReason; readonly detail: string }
  /** No connection came about: the server's answer, or why there was none. */
  | { readonly by: 'refusal'; readonly error: Error }
  | { readonly by: 'network' }
  | { readonly by: 'client' };

export type ConnectionEvents = {
  /** First. */
  welcome(welcome: Welcome): void;
  /** While some promises of it are pending, no more is read, where the platform can. `snapshot` does not count for offsets. */
  data(stream: AttachStream, bytes: Uint8Array, snapshot: boolean): void | Promise<void>;
  told(frame: Told): void;
  /** Last, and after every promise of `data`. */
  ended(end: ConnectionEnd): void;
};

/** What one input frame carries at most: the shell sees the first keys of a long paste before its last are sent. */
const inputBytesMax = 32 * 1024;

/** Frames that were read and not taken yet; with one more, reading waits. */
const pendingFramesMax = 8;

/** One connection of the attach protocol, from its ticket to its end. It resumes nothing. */
export class AttachConnection {
  readonly #events: ConnectionEvents;
  readonly #socket: AttachSocket;
  #welcomed = false;
  #snapshotLeft = 0;
  #ended: ConnectionEnd | null = null;
  #closed = false;
  #pending = 0;
  #whenIdle: (() => void) | null = null;

  constructor(
    open: OpenSocket,
    request: { readonly ticket: AttachTicketView; readonly from?: number | undefined },
    events: ConnectionEvents,
  ) {
    this.#events = events;
    const { ticket, path, protocol } = request.ticket;
    const query = request.from === undefined ? '' : `?from=${request.from}`;
    this.#socket = open(
      { path: path + query, ticket, protocol },
      {
        text: (message) => this.#text(message),
        binary: (message) => this.#binary(message),
        closed: (close) => this.#close(close),
      },
    );
  }

  /** Bytes to type or to send. Resolves when they have been handed on, or the connection has ended. */
  async input(bytes: Uint8Array): Promise<void> {
    for (let at = 0; at < bytes.length && !this.#closed; at += inputBytesMax) {
      const part = bytes.subarray(at, at + inputBytesMax);
      const message = new Uint8Array(part.length + 1);
      message[0] = attachStreams.input;
      message.set(part, 1);
      await this.#socket.send(message);
    }
  }

  async control(frame: ClientFrame): Promise<void> {
    if (!this.#closed) await this.#socket.send(JSON.stringify(frame));
  }

  /** Leaves; what is shared goes on without it. */
  leave(): void {
    if (this.#closed) return;
    this.#ended ??= { by: 'client' };
    this.#socket.close();
  }

  #text(message: string): void {
    if (this.#ended !== null) return;
    const frame = parseServerFrame(message);
    if (frame === null || (frame.type === 'welcome') === this.#welcomed) {
      this.#fail();
    } else if (frame.type === 'welcome') {
      this.#welcomed = true;
      this.#snapshotLeft = frame.snapshotBytes;
      this.#events.welcome(frame);
    } else if (frameTypes.has(frame.type)) {
      this.#events.told(frame);
      if (frame.type === 'ended') this.#ended = { by: 'command', code: frame.code, signal: frame.signal };
    }
  }

  #binary(message: Uint8Array): void {
    if (this.#ended !== null) return;
    const stream = message[0];
    if (!this.#welcomed || (stream !== attachStreams.output && stream !== attachStreams.error)) {
      this.#fail();
      return;
    }
    const bytes = message.subarray(1);
    const ofSnapshot = stream === attachStreams.output ? Math.min(this.#snapshotLeft, bytes.length) : 0;
    this.#snapshotLeft -= ofSnapshot;
    if (ofSnapshot > 0) this.#deliver(stream, bytes.subarray(0, ofSnapshot), true);
    if (ofSnapshot < bytes.length) this.#deliver(stream, bytes.subarray(ofSnapshot), false);
  }

  #deliver(stream: AttachStream, bytes: Uint8Array, snapshot: boolean): void {
    const taken = this.#events.data(stream, bytes, snapshot);
    if (taken === undefined) return;
    this.#pending += 1;
    if (this.#pending === pendingFramesMax) this.#socket.pause();
    const settled = () => {
      this.#pending -= 1;
      if (this.#pending === pendingFramesMax - 1) this.#socket.resume();
      if (this.#pending === 0) this.#whenIdle?.();
    };
    taken.then(settled, settled);
  }

  /** What was said is not the protocol. */
  #fail(): void {
    this.#ended = {
      by: 'refusal',
      error: new Error('The server does not speak the attach protocol. Is it of another version?'),
    };
    this.#socket.close();
  }

  #close(close: SocketClose): void {
    if (this.#closed) return;
    this.#closed = true;
    const end = this.#ended ?? endOf(close);
    const tell = () => this.#events.ended(end);
    if (this.#pending === 0) tell();
    else this.#whenIdle = tell;
  }
}

function endOf({ code, reason, refusal }: SocketClose): ConnectionEnd {
  if (refusal !== null) return { by: 'refusal', error: refusal };
  for (const [name, known] of Object.entries(attachCloseCodes)) {
    if (known === code) return { by: 'server', reason: name as AttachCloseReason, detail: reason };
  }
  return { by: 'network' };
}

/** Of a newer server there may be others, which say nothing to this one. */
const frameTypes: ReadonlySet<string> = new Set<Told['type']>([
  'clients',
  'input',
  'resized',
  'settings',
  'refused',
  'ended',
]);

/** The frame that a message holds, or null where it is none. The server is trusted to keep the contract. */
function parseServerFrame(message: string): ServerFrame | null {
  if (message.length > attachLimits.frameBytesMax) return null;
  try {
    const value = JSON.parse(message) as Partial<ServerFrame> | null;
    return typeof value?.type === 'string' ? (value as ServerFrame) : null;
  } catch {
    return null;
  }
}
