import type { IncomingMessage } from 'node:http';
import { Fault } from '../../contract/faults.ts';

/**
 * The bytes of a body as they come, pulled, so that whoever stores them sets the pace. Throws
 * `request.too-large` past `bytesMax`, `request.timeout` when nothing comes for `stallMs` while more is wanted,
 * and `request.malformed` when the connection ends first. The connection itself is left alone, so that the
 * failure can still be answered.
 */
export async function* receive(
  payload: IncomingMessage,
  { bytesMax, stallMs }: { bytesMax: number; stallMs: number },
): AsyncGenerator<Buffer, void, undefined> {
  const tooLarge = new Fault('request.too-large', { detail: `An upload has at most ${bytesMax} bytes.` });
  if (Number(payload.headers['content-length'] ?? 0) > bytesMax) throw tooLarge;
  let size = 0;
  for (;;) {
    const chunk = await nextChunk(payload, stallMs);
    if (chunk === null) return;
    size += chunk.length;
    if (size > bytesMax) throw tooLarge;
    yield chunk;
  }
}

function nextChunk(payload: IncomingMessage, stallMs: number): Promise<Buffer | null> {
  return new Promise((resolve, reject) => {
    const settle = (act: () => void) => {
      clearTimeout(timer);
      payload.off('readable', look).off('end', look).off('error', fail).off('close', look);
      act();
    };
    const fail = (cause?: unknown) =>
      settle(() =>
        reject(new Fault('request.malformed', { detail: 'The upload ended before it was whole.', cause })),
      );
    const look = () => {
      const chunk = payload.read() as Buffer | null;
      if (chunk !== null) settle(() => resolve(chunk));
      else if (payload.readableEnded) settle(() => resolve(null));
      else if (payload.destroyed) fail(payload.errored);
    };
    const timer = setTimeout(
      () =>
        settle(() =>
          reject(new Fault('request.timeout', { detail: `No byte came for ${stallMs / 1000} s.` })),
        ),
      stallMs,
    );
    payload.on('readable', look).on('end', look).on('error', fail).on('close', look);
    look();
  });
}
