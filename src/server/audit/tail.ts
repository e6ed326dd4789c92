import type { ServerResponse } from 'node:http';
import type { Caller, EventReader } from '../../control/control.ts';
import type { ServerContext } from '../context.ts';
import { openEventStream } from '../event-stream.ts';
import { writeSome } from '../streams.ts';

export type EventTail = {
  readonly response: ServerResponse;
  readonly headers: Readonly<Record<string, string>>;
  readonly reader: EventReader;
  readonly caller: Caller;
};

/** Sends events as server-sent events, read one by one as the socket drains, until the reader or the right is gone. */
export async function streamEvents(tail: EventTail, context: ServerContext): Promise<void> {
  const { response, reader, caller } = tail;
  const still = (now: Caller) => context.control.audit.mayStill(now, 'audit.read');
  const { gone, close } = openEventStream({ response, caller, still }, tail.headers, context);
  gone.addEventListener('abort', () => reader.cancel());
  try {
    response.write(`${idLine(reader.start)}event: start\ndata: {}\n\n`);
    for await (const { line, cursor } of reader) {
      // A line of the log is one line: JSON escapes what would end it.
      const room = writeSome(response, `id: ${cursor}\nevent: event\ndata: ${line.toString()}\n\n`);
      if (room === false || (room !== true && !(await room))) return;
    }
  } catch (error) {
    if (!gone.aborted)
      context.logger.warn({ err: error, requestId: caller.request.id }, 'a tail of the audit log broke off');
  } finally {
    reader.cancel();
    close();
  }
}

function idLine(cursor: string | null): string {
  return cursor === null ? '' : `id: ${cursor}\n`;
}
