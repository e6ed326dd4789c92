import type { ServerResponse } from 'node:http';
import type { Caller, FlowReader } from '../../control/control.ts';
import type { RunId } from '../../model/ids.ts';
import type { ServerContext } from '../context.ts';
import { openEventStream } from '../event-stream.ts';
import { writeSome } from '../streams.ts';
import { endEvent } from './log-events.ts';

export type FlowStream = {
  readonly response: ServerResponse;
  readonly headers: Readonly<Record<string, string>>;
  readonly reader: FlowReader;
  readonly caller: Caller;
  readonly run: RunId;
};

/** Sends a run's flows as server-sent events, read one by one as the socket drains, then its end. */
export async function streamFlows(flows: FlowStream, context: ServerContext): Promise<void> {
  const { response, reader, caller, run } = flows;
  const still = (now: Caller) => context.control.runs.mayStill(now, run, 'run.egress');
  const { gone, close } = openEventStream({ response, caller, still }, flows.headers, context);
  gone.addEventListener('abort', () => reader.cancel());
  try {
    for await (const flow of reader) {
      const room = writeSome(response, `id: ${flow.id}\nevent: flow\ndata: ${JSON.stringify(flow)}\n\n`);
      if (room === false || (room !== true && !(await room))) return;
    }
    if (gone.aborted) return;
    const ended = await context.control.runs.finished(caller, run, gone);
    if (!response.writableEnded) response.write(endEvent(ended));
  } catch (error) {
    if (!gone.aborted)
      context.logger.warn({ err: error, requestId: caller.request.id }, 'a stream of flows broke off');
  } finally {
    close();
  }
}
