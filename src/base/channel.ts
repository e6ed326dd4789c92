import { createHmac, randomBytes, timingSafeEqual } from 'node:crypto';
import { once } from 'node:events';
import { chmodSync } from 'node:fs';
import { createConnection, createServer, type Server, type Socket } from 'node:net';

/**
 * An authenticated, framed connection over a Unix socket. Both ends prove that they hold the same 32-byte key
 * before either reads a frame of the other: server and client each send a nonce and answer the other's with
 * HMAC-SHA-256(key, role ‖ own nonce ‖ other nonce), so neither a replay nor a reflection is accepted.
 *
 * A frame is a type byte (1 JSON, 2 data), a length (4 bytes, big endian) and the payload. Reading is pulled:
 * while nobody asks for the next frame the socket is paused, so a slow reader holds back the writer and no
 * more than a frame and the socket's buffers is kept in memory.
 */

const nonceBytes = 32;
const macBytes = 32;
const headerBytes = 5;
export const frameBytesMax = 16 * 1024 * 1024;
const handshakeTimeoutMs = 5_000;
/** How soon a reader that waits for something else learns that the other end is gone. */
const probeMs = 250;

export type Frame =
  | { readonly kind: 'json'; readonly value: unknown }
  | { readonly kind: 'data'; readonly bytes: Buffer };

export class ChannelError extends Error {
  constructor(message: string) {
    super(message);
    this.name = 'ChannelError';
  }
}

export class Channel {
  readonly #socket: Socket;
  #chunks: Buffer[] = [];
  #size = 0;
  #ended = false;
  #failure: Error | null = null;
  #wake: (() => void) | null = null;

  constructor(socket: Socket) {
    this.#socket = socket;
    socket.pause();
    socket.on('data', (chunk: Buffer) => {
      this.#chunks.push(chunk);
      this.#size += chunk.length;
      socket.pause();
      this.#notify();
    });
    socket.on('end', () => this.#finish(null));
    socket.on('error', (error) => this.#finish(error));
    socket.on('close', () => this.#finish(null));
  }

  /** Resolves when the bytes are with the kernel or the buffer has room again; rejects once the peer is gone. */
  async sendJson(value: unknown): Promise<void> {
    await this.#send(1, Buffer.from(JSON.stringify(value)));
  }

  async sendData(bytes: Buffer): Promise<void> {
    await this.#send(2, bytes);
  }

  /** The next frame, or null when the peer ended the connection between two frames. The value is unverified. */
  async read(): Promise<Frame | null> {
    const header = await this.take(headerBytes);
    if (header === null) return null;
    const type = header[0];
    const length = header.readUInt32BE(1);
    if (length > frameBytesMax) throw new ChannelError('frame too large');
    const payload = length === 0 ? Buffer.alloc(0) : await this.take(length);
    if (payload === null) throw new ChannelError('connection ended inside a frame');
    if (type === 1) return { kind: 'json', value: JSON.parse(payload.toString('utf8')) };
    if (type === 2) return { kind: 'data', bytes: payload };
    throw new ChannelError('unknown frame type');
  }

  /**
   * Waits for something else than the next frame. While nobody reads, the kernel tells nobody that the other end is gone;
   * whoever writes hears of it. So an empty data frame goes there now and then, which it has to pass over.
   */
  async whileUnread<T>(work: Promise<T>): Promise<T> {
    const probe = setInterval(() => {
      if (this.#socket.writableLength === 0 && !this.#socket.writableEnded)
        this.sendData(Buffer.alloc(0)).catch(() => undefined);
    }, probeMs);
    try {
      return await work;
    } finally {
      clearInterval(probe);
    }
  }

  /** Exactly `count` bytes, or null when the connection ended before the first of them. */
  async take(count: number): Promise<Buffer | null> {
    while (this.#size < count) {
      if (this.#failure !== null) throw this.#failure;
      if (this.#ended) {
        if (this.#size === 0) return null;
        throw new ChannelError('connection ended inside a frame');
      }
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
        this.#socket.resume();
      });
    }
    const all = this.#chunks.length === 1 ? this.#chunks[0]! : Buffer.concat(this.#chunks);
    this.#size -= count;
    this.#chunks = this.#size === 0 ? [] : [all.subarray(count)];
    return all.subarray(0, count);
  }

  /** Sends raw bytes outside any frame; only the handshake does. */
  async sendRaw(bytes: Buffer): Promise<void> {
    if (this.#ended || this.#socket.destroyed) throw new ChannelError('the other end is gone');
    if (this.#socket.write(bytes)) return;
    await new Promise<void>((resolve, reject) => {
      const done = () => {
        this.#socket.off('drain', done).off('close', closed);
        resolve();
      };
      const closed = () => {
        this.#socket.off('drain', done);
        reject(new ChannelError('the other end is gone'));
      };
      this.#socket.once('drain', done).once('close', closed);
    });
  }

  /** No more frames will be sent; what was sent still arrives. */
  end(): void {
    this.#socket.end();
  }

  close(): void {
    this.#socket.destroy();
  }

  /** Settles once the connection is gone, for whatever reason; never rejects. */
  get closed(): Promise<void> {
    if (this.#socket.destroyed) return Promise.resolve();
    return new Promise((resolve) => this.#socket.once('close', () => resolve()));
  }

  async #send(type: number, payload: Buffer): Promise<void> {
    if (payload.length > frameBytesMax) throw new ChannelError('frame too large');
    const header = Buffer.allocUnsafe(headerBytes);
    header.writeUInt8(type, 0);
    header.writeUInt32BE(payload.length, 1);
    if (payload.length < 4096) return await this.sendRaw(Buffer.concat([header, payload]));
    this.#socket.cork();
    this.#socket.write(header);
    const sent = this.sendRaw(payload);
    this.#socket.uncork();
    await sent;
  }

  #finish(error: Error | null): void {
    this.#failure ??= error;
    this.#ended = true;
    this.#notify();
  }

  #notify(): void {
    const wake = this.#wake;
    this.#wake = null;
    wake?.();
  }
}

function proof(key: Buffer, role: 'server' | 'client', own: Buffer, other: Buffer): Buffer {
  return createHmac('sha256', key).update(role).update(own).update(other).digest();
}

async function handshake(channel: Channel, key: Buffer, role: 'server' | 'client'): Promise<void> {
  const timer = setTimeout(() => channel.close(), handshakeTimeoutMs);
  try {
    const own = randomBytes(nonceBytes);
    await channel.sendRaw(own);
    const other = await channel.take(nonceBytes);
    if (other === null) throw new ChannelError('the other end left during the handshake');
    await channel.sendRaw(proof(key, role, own, other));
    const answer = await channel.take(macBytes);
    const expected = proof(key, role === 'server' ? 'client' : 'server', other, own);
    if (answer === null || !timingSafeEqual(answer, expected))
      throw new ChannelError('the other end does not hold the key');
  } catch (error) {
    channel.close();
    throw error;
  } finally {
    clearTimeout(timer);
  }
}

/** Connects and authenticates. Rejects with the socket's error, or ChannelError when the server lacks the key. */
export async function connectChannel(path: string, key: Buffer): Promise<Channel> {
  const socket = createConnection({ path });
  await once(socket, 'connect');
  const channel = new Channel(socket);
  await handshake(channel, key, 'client');
  return channel;
}

/**
 * Listens on `path` (mode 0600) and hands over each connection that holds the key; others are closed without a
 * word. `serve` owns the channel until its promise settles; a rejection closes that connection alone.
 */
export async function listenChannel(options: {
  path: string;
  key: Buffer;
  serve: (channel: Channel) => Promise<void>;
  onError: (error: unknown) => void;
}): Promise<Server> {
  const server = createServer((socket) => {
    const channel = new Channel(socket);
    handshake(channel, options.key, 'server')
      .then(() => options.serve(channel))
      .catch(options.onError)
      .finally(() => channel.close());
  });
  const before = process.umask(0o177);
  try {
    server.listen(options.path);
    await once(server, 'listening');
  } finally {
    process.umask(before);
  }
  chmodSync(options.path, 0o600);
  return server;
}
