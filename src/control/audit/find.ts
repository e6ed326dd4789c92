import type { AuditIndex, AuditIndexQuery } from '../../store/audit-index.ts';
import { cursorOf, numberOfCursor } from './cursor.ts';
import { readLines } from './lines.ts';
import type { EventPage, EventSearch, FoundEvent } from './search-types.ts';
import { wordsOf } from './words.ts';

/** One page. */
export async function findEvents(folder: string, index: AuditIndex, search: EventSearch): Promise<EventPage> {
  const after = search.after === null ? null : await numberOfCursor(index, search.after);
  const query = queryOf(search, after);
  if (query === null) return { events: [], next: search.after, more: false };
  const { places, reached, more } = await index.find(query);
  const lines = await readLines(folder, places);
  const events = places.flatMap((place, at): FoundEvent[] => {
    const line = lines[at];
    return line === null || line === undefined ? [] : [{ line, cursor: cursorOf(index.generation, place) }];
  });
  const end = await index.place(reached);
  return { events, next: end === null ? null : cursorOf(index.generation, end), more };
}

/** Null for text that has no word: nothing is found by it. */
function queryOf({ filter, order, limit }: EventSearch, after: number | null): AuditIndexQuery | null {
  const { action = '', since, until, text, ...facets } = filter;
  const words = [...new Set(wordsOf(text ?? ''))];
  if (text !== undefined && words.length === 0) return null;
  return {
    facets,
    actionPrefix: action,
    words,
    ...(since === undefined ? {} : { since }),
    ...(until === undefined ? {} : { until }),
    order,
    after,
    limit,
  };
}
