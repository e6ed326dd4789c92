import assert from 'node:assert/strict';
import { type RawBuilder, sql } from 'kysely';
import { storeLimits } from '../limits.ts';
import type { After, Listed, Page } from '../store.ts';

/** Records older than the last of the page before; those of one millisecond are ordered by id, which `column` holds. */
export function olderThan(after: After, column: 'id' | 'name' = 'id'): RawBuilder<boolean> {
  return sql<boolean>`(created_at, ${sql.ref(column)}) < (${after.createdAt}, ${after.id})`;
}

/** The page from rows of which one more than the page holds was asked for. */
export function pageOf<R, T>(rows: readonly R[], page: Page, record: (row: R) => T): Listed<T> {
  assertPage(page);
  return { records: rows.slice(0, page.limit).map(record), more: rows.length > page.limit };
}

export function assertPage(page: Page): void {
  assertLimit(page.limit);
}

function assertLimit(limit: number): void {
  assert(limit >= 1 && limit <= storeLimits.pageRecordsMax, 'a page has a bounded size');
}

/** The page from rows in the order of a name or a number, of which one more was asked for. */
export function plainPageOf<R, T>(rows: readonly R[], limit: number, record: (row: R) => T): Listed<T> {
  assertLimit(limit);
  return { records: rows.slice(0, limit).map(record), more: rows.length > limit };
}
