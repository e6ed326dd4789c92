import type { LogEnd } from '../contract/schemas.ts';
import { eventsOf, reconnecting } from './reconnecting.ts';
import type { ServerSentEvent } from './sse.ts';
import type { HttpResponse } from './transport.ts';

/** One event of a run's log. `next` is the offset to go on from after it. */
export type LogEvent =
  | { readonly event: 'stdout' | 'stderr'; readonly bytes: Buffer; readonly next: number }
  | { readonly event: 'dropped'; readonly droppedBytes: number; readonly next: number }
  | { readonly event: 'step'; readonly step: string; readonly at: number | null }
  | { readonly event: 'end'; readonly end: LogEnd };

export type LogOptions = {
  /** Where to go on; from the first byte kept where absent. */
  readonly offset?: number | undefined;
  /** To the run's end; true where absent. Without it the events end with what is there now. */
  readonly follow?: boolean | undefined;
  readonly stream?: 'stdout' | 'stderr' | undefined;
  readonly signal?: AbortSignal | undefined;
  /** Whether a follower that is cut off goes on from the last event; true where absent. */
  readonly reconnect?: boolean | undefined;
};

type Open = (offset: number) => Promise<HttpResponse>;

/**
 * Events up to and including `end`. What is cut off is resumed after the last event that was given, so nothing
 * is missed and nothing comes twice. Gives up after `reconnectForMs` without getting further.
 */
export function followEvents(open: Open, options: LogOptions): AsyncGenerator<LogEvent, void, undefined> {
  let offset = options.offset ?? 0;
  let stepped = 0;
  async function* read() {
    let steps = 0;
    for await (const event of eventsOf(await open(offset), parse)) {
      // A reconnected stream tells the steps again.
      if (event.event === 'step' && ++steps <= stepped) continue;
      stepped = Math.max(stepped, steps);
      yield event;
      if ('next' in event) offset = event.next;
    }
  }
  const again = (options.follow ?? true) && (options.reconnect ?? true);
  return reconnecting(read, ({ event }) => event === 'end', { again, signal: options.signal });
}

/** The event, or null for one of a kind that a newer server sends. Throws on one that is broken. */
function parse({ event, data, id }: ServerSentEvent): LogEvent | null {
  const value = JSON.parse(data) as Record<string, unknown>;
  if (event === 'end') return { event, end: value as LogEnd };
  if (event === 'step')
    return { event, step: String(value.step), at: typeof value.at === 'number' ? value.at : null };
  const next = Number(id);
  if (event === 'dropped') return { event, droppedBytes: Number(value.droppedBytes), next };
  if (event !== 'stdout' && event !== 'stderr') return null;
  if (typeof value.text === 'string') return { event, bytes: Buffer.from(value.text, 'utf8'), next };
  return { event, bytes: Buffer.from(String(value.base64), 'base64'), next };
}
