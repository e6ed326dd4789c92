import { setTimeout as pause } from 'node:timers/promises';
import type { LogEnd } from '../contract/schemas.ts';
import { ApiError } from './api-error.ts';
import { clientLimits } from './limits.ts';
import { EventParser, type ServerSentEvent } from './sse.ts';
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
export async function* followEvents(
  open: Open,
  options: LogOptions,
): AsyncGenerator<LogEvent, void, undefined> {
  const again = (options.follow ?? true) && (options.reconnect ?? true);
  const firstWaitMs: number = clientLimits.reconnectFirstMs;
  const state = { offset: options.offset ?? 0, waitMs: firstWaitMs, waitedMs: 0 };
  let stepped = 0;
  for (;;) {
    let failure: unknown = null;
    let steps = 0;
    try {
      for await (const event of eventsOf(await open(state.offset))) {
        // A reconnected stream tells the steps again.
        if (event.event === 'step' && ++steps <= stepped) continue;
        stepped = Math.max(stepped, steps);
        Object.assign(state, { waitMs: firstWaitMs, waitedMs: 0 });
        yield event;
        if (event.event === 'end') return;
        if ('next' in event) state.offset = event.next;
      }
    } catch (error) {
      failure = error;
    }
    options.signal?.throwIfAborted();
    if (!again || isFinal(failure) || state.waitedMs >= clientLimits.reconnectForMs) {
      if (failure !== null) throw failure;
      if (!again) return;
      throw cutOff();
    }
    const waitMs = Math.max(state.waitMs, 1000 * ((failure as ApiError | null)?.retryAfterSeconds ?? 0));
    await pause(waitMs, undefined, options.signal === undefined ? {} : { signal: options.signal });
    state.waitedMs += waitMs;
    state.waitMs = Math.min(2 * waitMs, clientLimits.reconnectLastMs);
  }
}

async function* eventsOf(response: HttpResponse): AsyncGenerator<LogEvent, void, undefined> {
  const parser = new EventParser();
  for await (const chunk of response.body)
    for (const sent of parser.push(chunk)) {
      const event = parse(sent);
      if (event !== null) yield event;
    }
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

/** Whether the server said no; a break, an overload and a server that restarts may pass. */
function isFinal(failure: unknown): boolean {
  if (!(failure instanceof ApiError)) return false;
  return failure.status >= 400 && failure.status < 500 && failure.status !== 429 && failure.status !== 408;
}

function cutOff(): ApiError {
  return new ApiError({
    status: 0,
    code: 'server.unreachable',
    detail: 'The log stream keeps breaking off.',
  });
}
