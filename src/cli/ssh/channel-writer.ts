import type { Writable } from 'node:stream';
import type { ServerChannel } from 'ssh2';

/**
 * Writes to a channel's two outputs, each promise pending until the client's window took the bytes or `gone`.
 *
 * ssh2 keeps the rest of a write that waits for the window, and forgets neither that rest nor whose it was: where standard
 * output and error wait in turn it sends old bytes again, and where both wait at once it wakes one of them. So here one
 * writes at a time, and what was kept is dropped when it has been sent.
 */
export function channelWriter(
  channel: ServerChannel,
  gone: AbortSignal,
): (output: Writable, bytes: Uint8Array) => Promise<void> {
  let last: Promise<void> = Promise.resolve();
  const write = async (output: Writable, bytes: Uint8Array): Promise<void> => {
    if (gone.aborted) return;
    await new Promise<void>((resolve) => {
      const done = () => {
        gone.removeEventListener('abort', done);
        resolve();
      };
      gone.addEventListener('abort', done);
      output.write(bytes, done);
    });
    Object.assign(channel, nothingKept);
  };
  return (output, bytes) => {
    last = last.then(() => write(output, bytes));
    return last;
  };
}

const nothingKept = { _chunk: undefined, _chunkcb: undefined, _chunkErr: undefined, _chunkcbErr: undefined };
