import { droppedBytesOf, type LogRecord } from '../../contract/log-record.ts';
import type { ServerContext } from '../context.ts';
import { exemptFromTimeouts, writeSome } from '../streams.ts';
import type { LogStream } from './log-events.ts';

/**
 * Sends a run's output as bytes, both streams in the order in which they were read, and ends the answer. One
 * that breaks off in the middle loses its connection, so that it cannot be taken for the whole.
 */
export async function streamPlain(log: LogStream, context: ServerContext): Promise<void> {
  const { response, caller, run } = log;
  exemptFromTimeouts(response);
  response.writeHead(200, log.headers);
  response.flushHeaders();
  response.on('error', () => undefined);
  context.streams.add({
    answer: response,
    caller,
    still: (now) => context.control.runs.mayStill(now, run, 'run.logs'),
    end: () => response.destroy(),
  });
  try {
    const reader = await log.opening;
    if (response.destroyed) return reader.cancel();
    response.once('close', () => reader.cancel());
    for await (const record of reader) {
      const chunk = plainChunk(record, log.only);
      const room = chunk === null || writeSome(response, chunk);
      if (room === false || (room !== true && !(await room))) return reader.cancel();
    }
    response.end();
  } catch (error) {
    if (!response.destroyed)
      context.logger.warn({ err: error, requestId: caller.request.id }, 'a log download broke off');
    response.destroy();
  }
}

function plainChunk(record: LogRecord, only: 'stdout' | 'stderr' | null): Buffer | string | null {
  if (record.kind === 'dropped')
    return `\n[sealwright: ${droppedBytesOf(record.payload)} bytes of output dropped]\n`;
  return only === null || record.kind === only ? record.payload : null;
}
