import { isUtf8 } from 'node:buffer';
import type { ServerResponse } from 'node:http';
import type { LogRecord } from '../../contract/log-record.ts';
import type { LogEnd, RunView } from '../../contract/schemas.ts';
import type { Caller, LogReader } from '../../control/control.ts';
import type { RunId } from '../../model/ids.ts';
import { isTerminal } from '../../model/run.ts';
import type { ServerContext } from '../context.ts';
import { openEventStream } from '../event-stream.ts';
import { serverLimits } from '../limits.ts';
import { writeSome } from '../streams.ts';

export type LogStream = {
  readonly response: ServerResponse;
  readonly headers: Readonly<Record<string, string>>;
  readonly opening: Promise<LogReader>;
  readonly caller: Caller;
  readonly run: RunId;
  readonly offset: number;
  readonly follow: boolean;
  readonly only: 'stdout' | 'stderr' | null;
};

/**
 * Sends a run's log as server-sent events and ends the answer. Records are pulled one by one as the socket
 * drains. A stream that ends without `end` is to be resumed from the last id: that is what a browser does, and
 * what a failure in the middle and a close of the server look like.
 */
export async function streamEvents(log: LogStream, context: ServerContext): Promise<void> {
  const { response, caller, run } = log;
  const still = (now: Caller) => context.control.runs.mayStill(now, run, 'run.logs');
  const { gone, close } = openEventStream({ response, caller, still }, log.headers, context);
  const steps = log.follow && log.offset === 0 ? followSteps(log, context) : null;
  gone.addEventListener('abort', () => steps?.stop());
  try {
    await sendRecords(log, gone, () => steps?.stop());
    const ended = await finalView(log, context, gone);
    await steps?.last();
    if (ended !== null && !response.writableEnded) response.write(endEvent(ended));
  } catch (error) {
    if (!gone.aborted)
      context.logger.warn({ err: error, requestId: caller.request.id }, 'a log stream broke off');
  } finally {
    steps?.stop();
    close();
  }
}

async function sendRecords(log: LogStream, gone: AbortSignal, onFirst: () => void): Promise<void> {
  const reader = await log.opening;
  if (gone.aborted) return reader.cancel();
  gone.addEventListener('abort', () => reader.cancel(), { once: true });
  let first = true;
  for await (const record of reader) {
    if (first) onFirst();
    first = false;
    if (log.only !== null && record.kind !== 'dropped' && record.kind !== log.only) continue;
    const room = writeSome(log.response, recordEvent(record));
    if (room === false || (room !== true && !(await room))) return reader.cancel();
  }
}

/** The run that `end` tells of: finished for a follower; of a run that goes on, nothing is said. */
async function finalView(
  { caller, run, follow }: LogStream,
  { control }: ServerContext,
  gone: AbortSignal,
): Promise<RunView | null> {
  if (gone.aborted) return null;
  if (follow) return await control.runs.finished(caller, run, gone);
  const { view } = await control.runs.get(caller, run);
  return isTerminal(view.phase) ? view : null;
}

export function recordEvent({ kind, payload, nextOffset }: LogRecord): string {
  if (kind === 'dropped') return `id: ${nextOffset}\nevent: dropped\ndata: ${payload.toString('utf8')}\n\n`;
  const data = isUtf8(payload)
    ? JSON.stringify({ text: payload.toString('utf8') })
    : `{"base64":"${payload.toString('base64')}"}`;
  return `id: ${nextOffset}\nevent: ${kind}\ndata: ${data}\n\n`;
}

/** The last event of a stream about a run. */
export function endEvent({ phase, cause, reason, exitCode, signal }: RunView): string {
  const data: LogEnd = { phase, cause, reason, exitCode, signal };
  return `event: end\ndata: ${JSON.stringify(data)}\n\n`;
}

/** Sends the steps of a start as they are taken, until the command writes. They carry no id: they are no log. */
function followSteps({ response, caller, run }: LogStream, { control }: ServerContext) {
  let sent = 0;
  let stopped = false;
  const look = async () => {
    const steps = await control.runs.steps(caller, run);
    for (const step of steps.slice(sent))
      if (!response.writableEnded) response.write(`event: step\ndata: ${JSON.stringify(step)}\n\n`);
    sent = Math.max(sent, steps.length);
  };
  const poll = async () => {
    await look().catch(() => undefined);
    if (!stopped) timer = setTimeout(poll, serverLimits.stepPollMs);
  };
  let timer = setTimeout(poll, 0);
  return {
    stop() {
      stopped = true;
      clearTimeout(timer);
    },
    /** What was taken since; a failure here takes nothing from the log. */
    last: () => look().catch(() => undefined),
  };
}
