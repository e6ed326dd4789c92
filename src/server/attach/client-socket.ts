import type { Socket } from 'node:net';
import type { RawData, WebSocket } from 'ws';
import type { Clock } from '../../base/clock.ts';
import {
  type AttachCloseReason,
  type AttachStream,
  attachCloseCodes,
  attachLimits,
  attachStreams,
  type ServerFrame,
} from '../../contract/attach.ts';
import { parseClientFrame } from '../../contract/attach-frames.ts';
import type { AttachClient, AttachConnection } from '../../control/attach/attach.ts';
import { FrameTimes } from './frame-times.ts';
import { Incoming } from './incoming.ts';
import { attachServerLimits } from './limits.ts';
import { Outgoing } from './outgoing.ts';

/** After these, not even what waits for the network may reach the client (G9). */
const withoutAnotherByte: ReadonlySet<AttachCloseReason> = new Set(['revoked', 'switchedOff', 'unrecorded']);

export type ClientSocketOptions = {
  readonly webSocket: WebSocket;
  /** What `webSocket` runs over. */
  readonly socket: Socket;
  readonly clock: Pick<Clock, 'monotonic'>;
  /** Whatever control throws: it is to throw nothing here. */
  readonly onFailure: (error: unknown) => void;
  /** The server, or control, ended the connection. */
  readonly onCut: (reason: AttachCloseReason) => void;
};

/**
 * One attached client: the frames of the protocol over one WebSocket, which the library parses. It holds the limits of
 * both directions; whether a client may do what it asks for is control's to say.
 */
export class ClientSocket implements AttachClient {
  readonly #options: ClientSocketOptions;
  readonly #outgoing: Outgoing;
  readonly #times = new FrameTimes();
  #connection: AttachConnection | null = null;
  #incoming: Incoming | null = null;
  /** Why it ends, once that is settled. */
  #ending: AttachCloseReason | null = null;
  #goneAs: Parameters<AttachConnection['gone']>[0] | null = null;
  #isPaused = false;
  #lastPingAt: number;
  #unansweredSince: number | null = null;
  #timer: NodeJS.Timeout | null = null;

  constructor(options: ClientSocketOptions) {
    this.#options = options;
    const { webSocket, socket, clock } = options;
    this.#lastPingAt = clock.monotonic();
    this.#outgoing = new Outgoing((message, written) => {
      webSocket.send(message, (error) => {
        if (error === undefined || error === null) written();
      });
    });
    webSocket.on('message', (data, isBinary) => this.#received(data, isBinary));
    webSocket.on('ping', (payload) => this.#controlled(payload.length));
    webSocket.on('pong', (payload) => {
      this.#unansweredSince = null;
      this.#controlled(payload.length);
    });
    webSocket.on('error', (error) => this.#failed(error));
    webSocket.on('close', (code) => this.#closed(code));
    // Behind the library’s own listener: what these bytes complete is known by then.
    socket.on('data', (bytes: Buffer) => this.#times.received(bytes.length, clock.monotonic()));
  }

  /** From now on what the client says goes there. */
  begin(connection: AttachConnection): void {
    this.#connection = connection;
    this.#incoming = new Incoming({
      connection,
      onRoom: () => this.#resume(),
      onFailure: (error) => {
        this.#options.onFailure(error);
        this.cut('internal', 'Something failed inside Sealwright.');
      },
    });
    if (this.#goneAs !== null) connection.gone(this.#goneAs);
  }

  send(frame: ServerFrame): void {
    if (this.#ending === null && !this.#outgoing.control(frame)) this.#tooSlow();
  }

  data(stream: AttachStream, bytes: Buffer): void {
    if (this.#ending === null && !this.#outgoing.data(stream, bytes)) this.#tooSlow();
  }

  drained(): Promise<void> {
    return this.#ending === null ? this.#outgoing.drained() : Promise.resolve();
  }

  close(reason: AttachCloseReason, detail: string): void {
    if (this.#ending !== null) return;
    this.#ending = reason;
    this.#options.onCut(reason);
    this.#incoming?.drop();
    if (reason === 'ended') {
      this.#endWithin(attachServerLimits.drainMs);
      void this.#outgoing.drained().then(() => this.#sayClose(reason, detail));
      return;
    }
    this.#outgoing.drop();
    if (!withoutAnotherByte.has(reason) || this.#outgoing.isEmpty) this.#sayClose(reason, detail);
    // What left a moment ago is only now said to have left; more than that is held up, and goes no further.
    else setImmediate(() => this.#sayCloseAlone(reason, detail));
  }

  /** To be called from time to time: asks whether the client is there, and cuts those that are not. */
  look(nowMs: number): void {
    if (this.#ending !== null || this.#isPaused) return;
    const { webSocket } = this.#options;
    if (webSocket.readyState !== webSocket.OPEN) {
      // It said that it leaves, and keeps the connection.
      this.#endWithin(attachServerLimits.closeMs);
      this.#gone('left');
    } else if (this.#times.isOverdue(nowMs)) this.cut('timeout', 'A message was begun and not ended.');
    else if (this.#unansweredSince !== null) {
      // Who leaves a pipe unread may not have seen the ping.
      if (this.#outgoing.isAwaited) this.#unansweredSince = nowMs;
      if (nowMs - this.#unansweredSince > attachLimits.pongMs) this.cut('timeout', 'No pong came in time.');
    } else if (nowMs - this.#lastPingAt >= attachLimits.pingMs) {
      this.#lastPingAt = nowMs;
      this.#unansweredSince = nowMs;
      webSocket.ping();
    }
  }

  #received(data: RawData, isBinary: boolean): void {
    this.#times.message();
    if (this.#ending !== null || this.#incoming === null) return;
    // The library gives one Buffer, as it is not asked for another form.
    const bytes = data as Buffer;
    if (isBinary && bytes[0] !== attachStreams.input)
      this.cut('protocol', 'The first byte of a binary frame is 0, for input.');
    else if (isBinary) this.#incoming.add(bytes.subarray(1));
    else if (this.#mayControl()) {
      const frame = parseClientFrame(bytes.toString('utf8'));
      if (frame === null) this.cut('protocol', 'A text frame holds one frame of this protocol.');
      else this.#incoming.add(frame);
    }
    if (this.#ending === null && this.#incoming.isFull) this.#pause();
  }

  #controlled(payloadBytes: number): void {
    this.#times.control(payloadBytes);
    this.#mayControl();
  }

  #mayControl(): boolean {
    const isFine = this.#times.mayControl(this.#options.clock.monotonic());
    if (!isFine)
      this.cut('protocol', `At most ${attachLimits.controlFramesPerSecondMax} frames of control a second.`);
    return isFine;
  }

  #pause(): void {
    if (this.#isPaused) return;
    this.#isPaused = true;
    this.#options.webSocket.pause();
  }

  #resume(): void {
    if (!this.#isPaused) return;
    this.#isPaused = false;
    const nowMs = this.#options.clock.monotonic();
    // A pong may be among what was not read.
    if (this.#unansweredSince !== null) this.#unansweredSince = nowMs;
    this.#times.resumed(nowMs);
    this.#options.webSocket.resume();
  }

  #tooSlow(): void {
    this.cut('slow', 'Output was not read fast enough.');
  }

  /** The server’s own cuts, which control hears of at once. */
  cut(reason: AttachCloseReason, detail: string): void {
    if (this.#ending !== null) return;
    this.close(reason, detail);
    this.#gone(reason);
  }

  #sayCloseAlone(reason: AttachCloseReason, detail: string): void {
    if (this.#outgoing.isEmpty) this.#sayClose(reason, detail);
    else this.#options.webSocket.terminate();
  }

  #sayClose(reason: AttachCloseReason, detail: string): void {
    const { webSocket } = this.#options;
    if (webSocket.readyState !== webSocket.OPEN) return;
    this.#endWithin(attachServerLimits.closeMs);
    webSocket.close(attachCloseCodes[reason], shortened(detail));
    // Its answer may stand behind what was not read; that is read and thrown away.
    this.#isPaused = false;
    webSocket.resume();
  }

  #endWithin(ms: number): void {
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#options.webSocket.terminate(), ms);
  }

  /** The library has sent what RFC 6455 says, where it was the client’s fault. */
  #failed(error: Error & { code?: string }): void {
    const { code = '' } = error;
    if (this.#ending !== null || !code.startsWith('WS_ERR_')) return;
    this.#ending = code.startsWith('WS_ERR_UNSUPPORTED_') ? 'tooLarge' : 'protocol';
    this.#options.onCut(this.#ending);
    this.#outgoing.drop();
    this.#incoming?.drop();
    this.#endWithin(attachServerLimits.closeMs);
    this.#gone(this.#ending);
  }

  #closed(code: number): void {
    if (this.#timer !== null) clearTimeout(this.#timer);
    // 1006 is the library’s word for an end without a close frame.
    this.#gone(this.#ending ?? (code === 1006 ? 'lost' : 'left'));
    this.#ending ??= 'ended';
    this.#outgoing.drop();
    this.#incoming?.drop();
  }

  #gone(reason: Parameters<AttachConnection['gone']>[0]): void {
    if (this.#goneAs !== null) return;
    this.#goneAs = reason;
    this.#connection?.gone(reason);
  }
}

/** A close frame carries 123 bytes of UTF-8 (RFC 6455, 5.5.1). */
function shortened(detail: string): string {
  const bytes = Buffer.from(detail);
  if (bytes.length <= attachServerLimits.closeDetailBytesMax) return detail;
  let end = attachServerLimits.closeDetailBytesMax;
  while (end > 0 && (bytes[end]! & 0xc0) === 0x80) end -= 1;
  return bytes.toString('utf8', 0, end);
}
