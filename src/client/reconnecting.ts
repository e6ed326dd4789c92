import { setTimeout as pause } from 'node:timers/promises';
import { ApiError } from './api-error.ts';
import { clientLimits } from './limits.ts';
import { EventParser, type ServerSentEvent } from './sse.ts';
import type { HttpResponse } from './transport.ts';

/**
 * The events of a stream up to and including its last. `read` opens it where it stopped; what is cut off is read
 * again where `again` says so, for at most `reconnectForMs` without an event.
 */
export async function* reconnecting<E>(
  read: () => AsyncGenerator<E, void, undefined>,
  isLast: (event: E) => boolean,
  { again, signal }: { readonly again: boolean; readonly signal?: AbortSignal | undefined },
): AsyncGenerator<E, void, undefined> {
  const firstWaitMs: number = clientLimits.reconnectFirstMs;
  const state = { waitMs: firstWaitMs, waitedMs: 0 };
  for (;;) {
    let failure: unknown = null;
    try {
      for await (const event of read()) {
        Object.assign(state, { waitMs: firstWaitMs, waitedMs: 0 });
        yield event;
        if (isLast(event)) return;
      }
    } catch (error) {
      failure = error;
    }
    signal?.throwIfAborted();
    if (!again || isFinal(failure) || state.waitedMs >= clientLimits.reconnectForMs) {
      if (failure !== null) throw failure;
      if (!again) return;
      throw cutOff();
    }
    const waitMs = Math.max(state.waitMs, 1000 * ((failure as ApiError | null)?.retryAfterSeconds ?? 0));
    await pause(waitMs, undefined, signal === undefined ? {} : { signal });
    state.waitedMs += waitMs;
    state.waitMs = Math.min(2 * waitMs, clientLimits.reconnectLastMs);
  }
}

/** The events of one answer as they come; `parse` gives null for one of a kind that a newer server sends. */
export async function* eventsOf<E>(
  response: HttpResponse,
  parse: (sent: ServerSentEvent) => E | null,
): AsyncGenerator<E, void, undefined> {
  const parser = new EventParser();
  for await (const chunk of response.body)
    for (const sent of parser.push(chunk)) {
      const event = parse(sent);
      if (event !== null) yield event;
    }
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
    detail: 'The stream keeps breaking off.',
  });
}
