import assert from 'node:assert/strict';
import { mkdtemp, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import SqliteFile from 'better-sqlite3';
import { auditIndexConformance } from '../audit-index.conformance.ts';
import { DamagedIndex } from '../audit-index.ts';
import { openSqliteAuditIndex } from './audit-index.ts';

async function inFolder<T>(act: (file: string) => Promise<T>): Promise<T> {
  const folder = await mkdtemp(join(tmpdir(), 'sealwright-index-'));
  try {
    return await act(join(folder, 'index.sqlite'));
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

auditIndexConformance('SQLite', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'sealwright-index-'));
  const index = openSqliteAuditIndex({ file: join(folder, 'index.sqlite') });
  return { index, remove: () => rm(folder, { recursive: true, force: true }) };
});

describe('the file of the index', () => {
  it('belongs to its user alone, and keeps what it holds and what it is called', () =>
    inFolder(async (file) => {
      const first = openSqliteAuditIndex({ file });
      const mark = { stream: 'control', seq: 1, digest: 'ab', unreadable: 0 };
      await first.add([{ stream: 'control', seq: 1, offset: 0, at: 1, facets: {}, words: [] }], [mark]);
      for (const name of [file, `${file}-wal`, `${file}-shm`])
        assert.equal((await stat(name)).mode & 0o777, 0o600, name);
      await first.close();
      const second = openSqliteAuditIndex({ file });
      assert.equal(second.generation, first.generation);
      assert.deepEqual(await second.marks(), [mark]);
      await second.close();
    }));

  it('is damaged where it is no database, or of another version', () =>
    inFolder(async (file) => {
      await writeFile(file, 'no database, and longer than a header would be '.repeat(100));
      assert.throws(() => openSqliteAuditIndex({ file }), DamagedIndex);
      await rm(file);
      const other = new SqliteFile(file);
      other.pragma('user_version = 999');
      other.close();
      assert.throws(() => openSqliteAuditIndex({ file }), DamagedIndex);
    }));

  it('is damaged where somebody took a table away, and merely unavailable where there is no folder', () =>
    inFolder(async (file) => {
      await openSqliteAuditIndex({ file }).close();
      const other = new SqliteFile(file);
      other.exec('drop table spans');
      other.close();
      assert.throws(() => openSqliteAuditIndex({ file }), DamagedIndex);
      assert.throws(() => openSqliteAuditIndex({ file: `${file}/x/y` }), /ENOTDIR/);
    }));
});
