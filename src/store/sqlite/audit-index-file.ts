import { randomUUID } from 'node:crypto';
import { closeSync, fchmodSync, openSync } from 'node:fs';
import SqliteFile from 'better-sqlite3';
import { Fault } from '../../contract/faults.ts';
import { DamagedIndex } from '../audit-index.ts';
import { auditIndexLimits, storeLimits } from '../limits.ts';
import { sqliteFault } from './sqlite-fault.ts';

/** Another number is another shape: such a file is made anew, never changed. */
const schemaVersion = 1;

/**
 * `words` is an inverted index without the words' places: a term is the letter of what it stands for and its value, so
 * one query joins any filters and text by merging sorted lists. Its tokenizer splits at nothing that a term holds.
 * `spans` has the times of `spanEvents` events each, by which a range of time becomes a range of numbers, although
 * clocks jump. `places` has the number of an event of a stream now and then.
 */
const schema = `
  create table about (generation text not null) strict;
  create table streams (
    id integer primary key, name text not null unique, seq integer not null, digest text not null,
    unreadable integer not null
  ) strict;
  create table events (
    number integer primary key, at integer not null, stream integer not null, seq integer not null,
    offset integer not null
  ) strict;
  create table spans (span integer primary key, low integer not null, high integer not null) strict;
  create table places (
    stream integer not null, seq integer not null, number integer not null, primary key (stream, seq)
  ) strict, without rowid;
  create table actions (name text primary key) strict, without rowid;
  create virtual table words using fts5(
    terms, content='', detail=none, columnsize=0, tokenize="ascii tokenchars '_'"
  );
  pragma user_version = ${schemaVersion};
`;

export type IndexFile = {
  readonly writer: SqliteFile.Database;
  /** Sees what is committed, also while the writer writes. */
  readonly reader: SqliteFile.Database;
  readonly generation: string;
};

/** Opens or makes the file, mode 0600. Throws DamagedIndex for one that is not of this version, whatever it is. */
export function openIndexFile(path: string): IndexFile {
  return guarded(() => {
    closeAfter(openSync(path, 'a', 0o600));
    const writer = new SqliteFile(path, { timeout: storeLimits.busyTimeoutMs });
    try {
      // It can be made again, so no commit waits for the disk; WAL keeps it whole all the same.
      writer.pragma('journal_mode = WAL');
      writer.pragma('synchronous = NORMAL');
      writer.pragma(`cache_size = -${auditIndexLimits.cacheKibibytes}`);
      makeSchema(writer);
      const { generation } = writer.prepare('select generation from about').get() as { generation: string };
      const reader = new SqliteFile(path, { timeout: storeLimits.busyTimeoutMs });
      reader.pragma('query_only = ON');
      reader.pragma(`cache_size = -${auditIndexLimits.cacheKibibytes}`);
      return { writer, reader, generation };
    } catch (error) {
      writer.close();
      throw error;
    }
  });
}

function closeAfter(fd: number): void {
  fchmodSync(fd, 0o600);
  closeSync(fd);
}

function makeSchema(file: SqliteFile.Database): void {
  const version = file.pragma('user_version', { simple: true });
  if (version === schemaVersion) return;
  const { tables } = file.prepare('select count(*) as tables from sqlite_schema').get() as { tables: number };
  if (version !== 0 || tables > 0) throw new DamagedIndex('the index is of another version');
  file.transaction(() => {
    file.exec(schema);
    file.prepare('insert into about values (?)').run(randomUUID());
  })();
}

const damage = new Set(['SQLITE_CORRUPT', 'SQLITE_NOTADB']);

/** What SQLite throws, as what an index throws. */
export function guarded<T>(act: () => T): T {
  try {
    return act();
  } catch (error) {
    if (error instanceof DamagedIndex || error instanceof Fault) throw error;
    if (!(error instanceof SqliteFile.SqliteError)) throw error;
    const primary = error.code.split('_').slice(0, 2).join('_');
    // A table that is not there, or not as it was made: somebody else changed the file.
    if (damage.has(primary) || primary === 'SQLITE_ERROR')
      throw new DamagedIndex(`the index cannot be read (${error.code})`, error);
    throw sqliteFault(error) ?? error;
  }
}
