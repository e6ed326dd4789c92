import { Fault } from '../../contract/faults.ts';
import { searchLimits } from './limits.ts';
import type { AuditSearch, EventFilter, EventPage, FoundEvent } from './search-types.ts';

/** Events as they are recorded, until it is cancelled. `start` is where it begins, as the cursor of an event; null at the first. */
export type EventReader = AsyncIterable<FoundEvent> & { readonly start: string | null; cancel(): void };

/** Follows the log behind `after`, or from now on. What nobody reads waits in the log. */
export async function openTail(
  search: AuditSearch,
  filter: EventFilter,
  after: string | null,
): Promise<EventReader> {
  const from = after === null ? null : await search.find({ filter, order: 'oldest', after, limit: 1 });
  const start = from === null ? await endOf(search) : after;
  const cancelled = new AbortController();
  return {
    start,
    cancel: () => cancelled.abort(),
    [Symbol.asyncIterator]: () => follow(search, filter, start, cancelled.signal),
  };
}

async function endOf(search: AuditSearch): Promise<string | null> {
  const last = await search.find({ filter: {}, order: 'newest', after: null, limit: 1 });
  return last.events[0]?.cursor ?? null;
}

async function* follow(
  search: AuditSearch,
  filter: EventFilter,
  start: string | null,
  cancelled: AbortSignal,
): AsyncGenerator<FoundEvent, void, undefined> {
  let after = start;
  while (!cancelled.aborted) {
    // Listened for before it is looked: what comes in between is not missed.
    const news = nextNews(search, cancelled);
    const page = await pageOrNothing(search, filter, after);
    for (const event of page?.events ?? []) {
      if (cancelled.aborted) break;
      yield event;
    }
    after = page?.next ?? after;
    if (page?.more === true) news.forget();
    else await news.came;
  }
}

/** One page, or nothing while the index is made anew: what was missed comes once it is. */
async function pageOrNothing(
  search: AuditSearch,
  filter: EventFilter,
  after: string | null,
): Promise<EventPage | null> {
  try {
    return await search.find({ filter, order: 'oldest', after, limit: searchLimits.pageEvents });
  } catch (error) {
    if (error instanceof Fault && error.code === 'audit.index-behind') return null;
    throw error;
  }
}

/** `came` resolves when events were indexed, nobody reads any more, or for a look after a while. */
function nextNews(search: AuditSearch, cancelled: AbortSignal) {
  const { promise, resolve } = Promise.withResolvers<void>();
  const stopListening = search.onIndexed(resolve);
  const timer = setTimeout(resolve, searchLimits.pollMs);
  const stop = () => resolve();
  cancelled.addEventListener('abort', stop);
  const forget = () => {
    cancelled.removeEventListener('abort', stop);
    clearTimeout(timer);
    stopListening();
    resolve();
  };
  return { came: promise.finally(forget), forget };
}
