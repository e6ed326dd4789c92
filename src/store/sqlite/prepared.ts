import type { Database, Statement } from 'better-sqlite3';
import type { SqliteDatabase, SqliteStatement } from 'kysely';
import { storeLimits } from '../limits.ts';
import { sqliteFault } from './sqlite-fault.ts';

/**
 * A database whose statements are prepared once and kept, at most `preparedStatementsMax`, and whose failures
 * are Faults. What is a bug of ours, such as a broken constraint, is thrown as SQLite says it.
 */
export function preparing(database: Database): SqliteDatabase {
  const kept = new Map<string, SqliteStatement>();
  return {
    close: () => {
      kept.clear();
      database.close();
    },
    prepare: (text) => {
      const known = kept.get(text);
      if (known !== undefined) return known;
      if (kept.size >= storeLimits.preparedStatementsMax) kept.clear();
      const statement = faulting(
        database,
        translated(() => database.prepare(text)),
      );
      kept.set(text, statement);
      return statement;
    },
  };
}

function faulting(database: Database, statement: Statement): SqliteStatement {
  const rollsBack = /^\s*rollback\s*$/i.test(statement.source);
  return {
    reader: statement.reader,
    all: (parameters) => translated(() => statement.all(...parameters)),
    run: (parameters) => {
      // On a full disk SQLite has rolled back already; the failure that made it do so is the one to tell.
      if (rollsBack && !database.inTransaction) return { changes: 0, lastInsertRowid: 0 };
      return translated(() => statement.run(...parameters));
    },
    iterate: (parameters) => statement.iterate(...parameters),
  };
}

function translated<T>(act: () => T): T {
  try {
    return act();
  } catch (error) {
    throw sqliteFault(error) ?? error;
  }
}
