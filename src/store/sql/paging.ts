import assert from 'node:assert/strict';
import { type RawBuilder, sql } from 'kysely';
import { storeLimits } from '../limits.ts';
import type { After, Listed, Page } from '../store.ts';

/** Records older than the last of the page before; those of one millisecond are ordered by id. */
export function olderThan(after: After): RawBuilder<boolean> {
  return sql<boolean>`(created_at, id) < (${after.createdAt}, ${after.id})`;
}

/** The page from rows of which one more than the page holds was asked for. */
export function pageOf<R, T>(rows: readonly R[], page: Page, record: (row: R) => T): Listed<T> {
  assertPage(page);
  return { records: rows.slice(0, page.limit).map(record), more: rows.length > page.limit };
}

export function assertPage(page: Page): void {
  assert(page.limit >= 1 && page.limit <= storeLimits.pageRecordsMax, 'a page has a bounded size');
}
