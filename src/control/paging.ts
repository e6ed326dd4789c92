import { setImmediate as nextTurn } from 'node:timers/promises';
import { z } from 'zod';
import { Fault } from '../contract/faults.ts';
import { apiLimits } from '../contract/limits.ts';
import type { After, Listed, Page as StorePage } from '../store/store.ts';
import type { Page, PageRequest } from './control.ts';
import { controlLimits } from './limits.ts';

const position = z.tuple([z.int().min(0), z.string().min(1).max(64)]);

/** Where a page of a list of another order starts: the two values that `positionCursor` held. */
export function storePosition({ cursor, limit }: PageRequest): {
  limit: number;
  after: readonly [number, string] | null;
} {
  const { after, limit: wanted } = storePage({ cursor, limit });
  return { limit: wanted, after: after === null ? null : [after.createdAt, after.id] };
}

/** The cursor of a page, or null where it is the last. */
export function positionCursor(
  more: boolean,
  position: readonly [number, string] | undefined,
): string | null {
  return more && position !== undefined ? cursorOf({ createdAt: position[0], id: position[1] }) : null;
}

/** Where a page starts. Throws Fault `request.invalid` for a cursor that no answer of ours held. */
export function storePage({ cursor, limit }: PageRequest): StorePage {
  const wanted = Math.min(Math.max(limit ?? apiLimits.pageDefault, 1), apiLimits.pageMax);
  return { limit: wanted, after: cursor === undefined ? null : parseCursor(cursor) };
}

/** A page of those that are `shown`: it may be short, even empty, and still not be the last. */
export function viewPage<R, T>(
  listed: Listed<R>,
  view: (record: R) => T,
  after: (record: R) => After,
  shown: readonly R[] = listed.records,
): Page<T> {
  const last = listed.records.at(-1);
  return {
    items: shown.map(view),
    nextCursor: listed.more && last !== undefined ? cursorOf(after(last)) : null,
  };
}

/** Those that somebody may see, decided few at a time: where policies look at each of them, others get in between. */
export async function shownOf<R>(records: readonly R[], may: (record: R) => boolean): Promise<readonly R[]> {
  const shown: R[] = [];
  for (const [index, record] of records.entries()) {
    if (index > 0 && index % controlLimits.listDecisionsPerTurn === 0) await nextTurn();
    if (may(record)) shown.push(record);
  }
  return shown;
}

function cursorOf({ createdAt, id }: After): string {
  return Buffer.from(JSON.stringify([createdAt, id])).toString('base64url');
}

function parseCursor(cursor: string): After {
  const text = cursor.length > controlLimits.cursorCharactersMax ? '' : fromBase64url(cursor);
  let parsed: unknown = null;
  try {
    parsed = JSON.parse(text);
  } catch {
    // Falls through to the refusal below.
  }
  const result = position.safeParse(parsed);
  if (!result.success)
    throw new Fault('request.invalid', {
      detail: 'The cursor is not one that a list answered. Start again without it.',
    });
  const [createdAt, id] = result.data;
  return { createdAt, id };
}

function fromBase64url(text: string): string {
  return /^[A-Za-z0-9_-]+$/.test(text) ? Buffer.from(text, 'base64url').toString('utf8') : '';
}
