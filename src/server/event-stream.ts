import type { ServerResponse } from 'node:http';
import type { ServerContext } from './context.ts';
import { serverLimits } from './limits.ts';
import { exemptFromTimeouts, type Stream } from './streams.ts';

/**
 * Begins an answer of server-sent events: headers, the time to reconnect after, and from then on heartbeats. `gone`
 * aborts once nobody reads any more; `close` ends the answer. A stream that ends without its last event is to be
 * resumed: that is what a close of the server looks like.
 */
export function openEventStream(
  { response, caller, still }: Pick<Stream, 'caller' | 'still'> & { readonly response: ServerResponse },
  headers: Readonly<Record<string, string>>,
  { streams, limits }: Pick<ServerContext, 'streams' | 'limits'>,
): { readonly gone: AbortSignal; close(): void } {
  const gone = new AbortController();
  response.once('close', () => gone.abort());
  response.on('error', () => gone.abort());
  exemptFromTimeouts(response);
  response.writeHead(200, { ...headers, 'x-accel-buffering': 'no' });
  response.write(`retry: ${serverLimits.reconnectMs}\n\n`);
  streams.add({ answer: response, caller, still, end: () => response.end() });
  const beat = setInterval(() => {
    if (!response.writableNeedDrain && !response.writableEnded) response.write(': still here\n\n');
  }, limits.heartbeatMs);
  return {
    gone: gone.signal,
    close: () => {
      clearInterval(beat);
      response.end();
    },
  };
}
