import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import type { Socket } from 'node:net';
import { attachProtocol } from '../../src/contract/attach.ts';
import { parseAnswer, type RawAnswer } from './raw-http.ts';

/** WebSocket by hand, so that a test can send what no library would (RFC 6455). */

export const opcodes = { continuation: 0, text: 1, binary: 2, close: 8, ping: 9, pong: 10 } as const;

export type RawFrame = {
  readonly opcode: number;
  readonly fin: boolean;
  readonly rsv: number;
  readonly payload: Buffer;
};

export type FrameToSend = Partial<RawFrame> & {
  readonly opcode: number;
  /** Four random bytes where absent; null sends it unmasked. */
  readonly mask?: Buffer | null;
  /** What the header says, where that is not how long the payload is. */
  readonly length?: number;
};

/** One frame as a client sends it. */
export function frameBytes({ opcode, fin = true, rsv = 0, payload, mask, length }: FrameToSend): Buffer {
  const body = Buffer.from(payload ?? Buffer.alloc(0));
  const size = length ?? body.length;
  const key = mask === undefined ? randomBytes(4) : mask;
  const header = [(fin ? 0x80 : 0) | (rsv << 4) | opcode];
  const masked = key === null ? 0 : 0x80;
  const extended = Buffer.alloc(size < 126 ? 0 : size < 65_536 ? 2 : 8);
  if (extended.length === 0) header.push(masked | size);
  else header.push(masked | (extended.length === 2 ? 126 : 127));
  if (extended.length === 2) extended.writeUInt16BE(size);
  if (extended.length === 8) extended.writeBigUInt64BE(BigInt(size));
  if (key !== null) for (let at = 0; at < body.length; at += 1) body[at]! ^= key[at % 4]!;
  return Buffer.concat([Buffer.from(header), extended, key ?? Buffer.alloc(0), body]);
}

/** The payload of a close frame. */
export function closePayload(code: number, reason: Buffer | string = ''): Buffer {
  const bytes = Buffer.alloc(2);
  bytes.writeUInt16BE(code);
  return Buffer.concat([bytes, Buffer.from(reason)]);
}

/** The headers of an upgrade that is let in with the ticket; those given take the place of its own, null takes one away. */
export function upgradeText(
  path: string,
  {
    ticket = null,
    headers = {},
    first = `GET ${path} HTTP/1.1`,
    more = [],
  }: {
    ticket?: string | null;
    headers?: Readonly<Record<string, string | null>>;
    /** The request line. */
    first?: string;
    /** Further lines, as they are. */
    more?: readonly string[];
  } = {},
): string {
  const all: Record<string, string | null> = {
    Host: 'sealwright.test',
    Connection: 'Upgrade',
    Upgrade: 'websocket',
    'Sec-WebSocket-Version': '13',
    'Sec-WebSocket-Key': 'dGhlIHNhbXBsZSBub25jZQ==',
    'Sec-WebSocket-Protocol': attachProtocol,
    Authorization: ticket === null ? null : `Bearer ${ticket}`,
    ...headers,
  };
  const lines = Object.entries(all).flatMap(([name, value]) => (value === null ? [] : [`${name}: ${value}`]));
  return [first, ...lines, ...more, '', ''].join('\r\n');
}

/** A connection over which an upgrade was asked for; frames are read as they come. */
export class RawWebSocket {
  readonly socket: Socket;
  /** The answer to the upgrade, once it is there. */
  readonly answer: Promise<RawAnswer>;
  /** When the connection closed; monotonic milliseconds, null while it is open. */
  closedAt: number | null = null;
  readonly closed: Promise<void>;
  #waiting = Buffer.alloc(0);
  #hasAnswer = false;
  readonly #frames: RawFrame[] = [];
  #wake: (() => void) | null = null;

  constructor(socket: Socket, request: string | Buffer) {
    this.socket = socket;
    const answer = Promise.withResolvers<RawAnswer>();
    this.answer = answer.promise;
    this.closed = once(socket, 'close').then(() => {
      this.closedAt = performance.now();
      if (!this.#hasAnswer) answer.resolve(parseAnswer(this.#waiting.toString('latin1')));
      this.#wake?.();
    });
    socket.on('error', () => undefined);
    socket.on('end', () => socket.end());
    socket.on('data', (chunk: Buffer) => {
      this.#waiting = Buffer.concat([this.#waiting, chunk]);
      if (!this.#hasAnswer) this.#readAnswer(answer.resolve);
      if (this.#hasAnswer) this.#readFrames();
    });
    socket.write(request);
  }

  send(...frames: readonly FrameToSend[]): void {
    this.socket.write(Buffer.concat(frames.map((frame) => frameBytes(frame))));
  }

  /** The next frame, or null once the connection has closed. */
  async next(): Promise<RawFrame | null> {
    for (;;) {
      const frame = this.#frames.shift();
      if (frame !== undefined) return frame;
      if (this.closedAt !== null) return null;
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }

  /** The code of the close frame that comes, whatever comes before it; null where the connection ends without. */
  async closeCode(): Promise<number | null> {
    for (;;) {
      const frame = await this.next();
      if (frame === null) return null;
      if (frame.opcode === opcodes.close)
        return frame.payload.length < 2 ? 1005 : frame.payload.readUInt16BE();
    }
  }

  #readAnswer(resolve: (answer: RawAnswer) => void): void {
    const end = this.#waiting.indexOf('\r\n\r\n');
    if (end < 0 || !this.#waiting.subarray(9, 12).equals(Buffer.from('101'))) return;
    this.#hasAnswer = true;
    resolve(parseAnswer(this.#waiting.toString('latin1', 0, end + 4)));
    this.#waiting = this.#waiting.subarray(end + 4);
  }

  #readFrames(): void {
    for (;;) {
      const bytes = this.#waiting;
      if (bytes.length < 2) return;
      const short = bytes[1]! & 0x7f;
      const headerBytes = 2 + (short < 126 ? 0 : short === 126 ? 2 : 8);
      if (bytes.length < headerBytes) return;
      const size =
        short < 126 ? short : short === 126 ? bytes.readUInt16BE(2) : Number(bytes.readBigUInt64BE(2));
      if (bytes.length < headerBytes + size) return;
      this.#frames.push({
        opcode: bytes[0]! & 0x0f,
        fin: (bytes[0]! & 0x80) !== 0,
        rsv: (bytes[0]! >> 4) & 7,
        payload: bytes.subarray(headerBytes, headerBytes + size),
      });
      this.#waiting = bytes.subarray(headerBytes + size);
      this.#wake?.();
    }
  }
}

/** What the server must answer to a key (RFC 6455, 4.2.2). */
export function acceptOf(key: string): string {
  return createHash('sha1').update(`${key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest('base64');
}
