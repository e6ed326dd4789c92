import { SqliteError } from 'better-sqlite3';
import { Fault } from '../../contract/faults.ts';

const damaged = 'The store is damaged or is not a store. Restore it from a backup; nothing was changed.';

/** What to do, by SQLite's primary result code. */
const unavailable: Record<string, string> = {
  SQLITE_NOTADB: damaged,
  SQLITE_CORRUPT: damaged,
  SQLITE_BUSY: 'Another process holds the store. Stop it, or wait until it is done.',
  SQLITE_LOCKED: 'Another process holds the store. Stop it, or wait until it is done.',
  SQLITE_CANTOPEN:
    "The store's file cannot be opened. Check that its folder exists and belongs to this user.",
  SQLITE_READONLY: "The store's file cannot be written. Check its owner and its mode.",
  SQLITE_PERM: "The store's file cannot be written. Check its owner and its mode.",
  SQLITE_IOERR: 'The disk under the store reported an error.',
  SQLITE_NOMEM: 'There is not enough memory to use the store.',
};

/** The Fault for a failure of the file or its disk; null for everything else. */
export function sqliteFault(error: unknown): Fault | null {
  if (!(error instanceof SqliteError)) return null;
  const primary = error.code.split('_').slice(0, 2).join('_');
  if (primary === 'SQLITE_FULL')
    return new Fault('storage.full', {
      detail: 'The disk that holds the store is full. Nothing was changed; free some space and try again.',
      cause: error,
    });
  const detail = unavailable[primary];
  if (detail === undefined) return null;
  return new Fault('store.unavailable', { detail, message: `${error.code}: ${error.message}`, cause: error });
}
