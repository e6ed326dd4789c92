import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import SqliteFile from 'better-sqlite3';
import { Kysely, SqliteDialect, sql } from 'kysely';
import { GroupCommit } from './group-commit.ts';
import type { Tables } from './tables.ts';

function using() {
  const statements: string[] = [];
  const file = new SqliteFile(':memory:', { verbose: (text) => statements.push(String(text)) });
  file.exec('create table t (n integer primary key)');
  const db = new Kysely<Tables>({ dialect: new SqliteDialect({ database: file }) });
  const commits = new GroupCommit(db);
  const insert = (n: number) =>
    commits.do(async (db) => {
      await sql`insert into t values (${n})`.execute(db);
      return n;
    });
  const rows = () =>
    file
      .prepare<[], { n: number }>('select n from t order by n')
      .all()
      .map(({ n }) => n);
  return { insert, rows, statements, close: () => db.destroy() };
}

describe('a group commit', () => {
  it('carries what was asked together, and answers each', async () => {
    const { insert, rows, statements, close } = using();
    assert.deepEqual(await Promise.all([3, 1, 2].map(insert)), [3, 1, 2]);
    assert.deepEqual(rows(), [1, 2, 3]);
    assert.equal(statements.filter((text) => text === 'commit').length, 1);
    await close();
  });

  it('leaves a failure with its cause: the others are written, once each', async () => {
    const { insert, rows, close } = using();
    await insert(2);
    const settled = await Promise.allSettled([1, 2, 3, 2, 4].map(insert));
    assert.deepEqual(
      settled.map(({ status }) => status),
      ['fulfilled', 'rejected', 'fulfilled', 'rejected', 'fulfilled'],
    );
    assert.deepEqual(rows(), [1, 2, 3, 4]);
    assert.equal(await insert(5), 5);
    await close();
  });
});
