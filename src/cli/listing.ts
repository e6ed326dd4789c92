import type { Page, Query } from '../client/client.ts';
import { UsageFailure } from './failure.ts';
import { cliLimits } from './limits.ts';
import { parseWhole } from './quantities.ts';

const pageSize = 200;

/** Items of a list in its order, page by page, up to `limit`. */
export async function collect<T>(
  list: (query: Query) => Promise<Page<T>>,
  query: Query,
  limit: number,
): Promise<T[]> {
  const items: T[] = [];
  let cursor: string | undefined;
  do {
    const page = await list({ ...query, cursor, limit: Math.min(pageSize, limit - items.length) });
    items.push(...page.items);
    cursor = page.nextCursor ?? undefined;
  } while (cursor !== undefined && items.length < limit);
  return items.slice(0, limit);
}

/** How many items `--limit` and `--all` ask for; 50 where neither is given. */
export function askedLimit(options: { limit?: string | undefined; all?: boolean | undefined }): number {
  if (options.all === true) return Number.MAX_SAFE_INTEGER;
  if (options.limit === undefined) return 50;
  const limit = parseWhole(options.limit, '--limit');
  if (limit < 1) throw new UsageFailure('--limit takes a number above 0');
  return limit;
}

export const lookupItemsMax = cliLimits.lookupPagesMax * pageSize;
