import type { ServerResponse } from 'node:http';

/** Every open stream, so that a close of the server can end each in a way its reader understands. */
export type Streams = {
  /** `end` is called when the server closes; the answer's own end removes the stream. */
  add(response: ServerResponse, end: () => void): void;
  endAll(): void;
  readonly count: number;
};

export function openStreams(): Streams {
  const ends = new Map<ServerResponse, () => void>();
  return {
    add(response, end) {
      ends.set(response, end);
      response.once('close', () => ends.delete(response));
    },
    endAll() {
      for (const end of ends.values()) end();
    },
    get count() {
      return ends.size;
    },
  };
}

/**
 * Writes and resolves when there is room for more: true to go on, false once the reader is gone. A reader that
 * stalls holds its writer here, so no more than one chunk and the socket's buffer waits in memory.
 */
export function writeSome(response: ServerResponse, chunk: string | Buffer): Promise<boolean> | boolean {
  if (response.destroyed || response.writableEnded) return false;
  if (response.write(chunk)) return true;
  return new Promise((resolve) => {
    const settle = () => {
      response.off('drain', settle).off('close', settle);
      resolve(!response.destroyed && !response.writableEnded);
    };
    response.on('drain', settle).on('close', settle);
  });
}

/** Streams outlive the idle timeout: an agent may think for an hour, and a reader may look away as long. */
export function exemptFromTimeouts(response: ServerResponse): void {
  response.socket?.setTimeout(0);
}
