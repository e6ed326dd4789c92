import type { EgressFlowView, LogEnd } from '../contract/schemas.ts';
import { eventsOf, reconnecting } from './reconnecting.ts';
import type { ServerSentEvent } from './sse.ts';
import type { HttpResponse } from './transport.ts';

/** One flow of a run, or its end. */
export type FlowEvent =
  | { readonly event: 'flow'; readonly flow: EgressFlowView }
  | { readonly event: 'end'; readonly end: LogEnd };

export type FlowOptions = {
  readonly verdict?: 'allowed' | 'denied' | undefined;
  readonly signal?: AbortSignal | undefined;
};

/** A run's flows from the first on, each once, up to and including its end. What is cut off is resumed. */
export function followFlows(
  open: (after: number | undefined) => Promise<HttpResponse>,
  { signal }: FlowOptions,
): AsyncGenerator<FlowEvent, void, undefined> {
  let after: number | undefined;
  async function* read() {
    for await (const event of eventsOf(await open(after), parse)) {
      yield event;
      if (event.event === 'flow') after = event.flow.id;
    }
  }
  return reconnecting(read, ({ event }) => event === 'end', { again: true, signal });
}

/** Throws on an event that is broken. */
function parse({ event, data }: ServerSentEvent): FlowEvent | null {
  if (event === 'flow') return { event, flow: JSON.parse(data) as EgressFlowView };
  return event === 'end' ? { event, end: JSON.parse(data) as LogEnd } : null;
}
