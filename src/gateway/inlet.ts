import type { Socket } from 'node:net';

/** Reads a paused socket chunk by chunk, and takes back what was read too far. */
export class Inlet {
  readonly #socket: Socket;
  #held: Buffer | null = null;

  constructor(socket: Socket) {
    this.#socket = socket;
  }

  /** The next bytes; null once the other end sends no more, however it ended. */
  async next(): Promise<Buffer | null> {
    if (this.#held !== null) {
      const held = this.#held;
      this.#held = null;
      return held;
    }
    for (;;) {
      const chunk = this.#socket.read() as Buffer | null;
      if (chunk !== null) return chunk;
      if (this.#socket.readableEnded || this.#socket.destroyed) return null;
      await this.#readable();
    }
  }

  unread(bytes: Buffer): void {
    if (bytes.length > 0) this.#held = this.#held === null ? bytes : Buffer.concat([bytes, this.#held]);
  }

  /** What was given back and not read again, for whoever goes on with the socket itself. */
  takeHeld(): Buffer | null {
    const held = this.#held;
    this.#held = null;
    return held;
  }

  /** Whether bytes are here already. */
  get hasMore(): boolean {
    return this.#held !== null || this.#socket.readableLength > 0;
  }

  /** After `next` gave null: whether the other end said that this is all, and was not cut off. */
  get endedWell(): boolean {
    return this.#socket.readableEnded;
  }

  #readable(): Promise<void> {
    const socket = this.#socket;
    return new Promise((resolve) => {
      const settle = () => {
        for (const event of events) socket.off(event, settle);
        resolve();
      };
      for (const event of events) socket.on(event, settle);
    });
  }
}

const events = ['readable', 'end', 'close', 'error'] as const;

/** Resolves when there is room for more; false once nobody takes it. */
export async function send(socket: Socket, bytes: Buffer): Promise<boolean> {
  if (socket.destroyed || socket.writableEnded) return false;
  if (bytes.length === 0 || socket.write(bytes)) return true;
  await new Promise<void>((resolve) => {
    const settle = () => {
      socket.off('drain', settle).off('close', settle);
      resolve();
    };
    socket.on('drain', settle).on('close', settle);
  });
  return !socket.destroyed;
}
