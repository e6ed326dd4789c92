import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import SqliteFile from 'better-sqlite3';
import { Kysely, SqliteDialect } from 'kysely';
import { Migrator } from 'kysely/migration';
import { Fault } from '../../contract/faults.ts';
import { newId } from '../../model/ids.ts';
import { attachOff } from '../../model/terminal.ts';
import { identityConformance } from '../identity.conformance.ts';
import { migrationProvider } from '../sql/migrations.ts';
import type { Tables } from '../sql/tables.ts';
import { storeConformance } from '../store.conformance.ts';
import { openSqliteStore } from './open.ts';

async function inFolder<T>(act: (file: string) => Promise<T>): Promise<T> {
  const folder = await mkdtemp(join(tmpdir(), 'sealwright-store-'));
  try {
    return await act(join(folder, 'store.db'));
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

storeConformance('SQLite', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'sealwright-store-'));
  const store = await openSqliteStore({ file: join(folder, 'store.db') });
  return { store, remove: () => rm(folder, { recursive: true, force: true }) };
});

identityConformance('SQLite', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'sealwright-store-'));
  const file = join(folder, 'store.db');
  const store = await openSqliteStore({ file });
  const other = await openSqliteStore({ file });
  return { store, other, remove: () => rm(folder, { recursive: true, force: true }) };
});

async function migratedTo(file: string, last: string) {
  const raw = new SqliteFile(file);
  const db = new Kysely<Tables>({ dialect: new SqliteDialect({ database: raw }) });
  const all = Object.entries(await migrationProvider.getMigrations());
  const some = Object.fromEntries(all.filter(([name]) => name <= last));
  const migrator = new Migrator({ db, provider: { getMigrations: async () => some } });
  assert.equal((await migrator.migrateToLatest()).error, undefined);
  return { raw, db };
}

const unavailable = (detail: RegExp) => (error: unknown) => {
  assert(error instanceof Fault);
  assert.equal(error.code, 'store.unavailable');
  assert.match(error.detail, detail);
  return true;
};

describe('SQLite file', () => {
  it('belongs to its user alone, with its log', () =>
    inFolder(async (file) => {
      const store = await openSqliteStore({ file });
      for (const name of [file, `${file}-wal`, `${file}-shm`])
        assert.equal((await stat(name)).mode & 0o777, 0o600, name);
      await store.close();
    }));

  it('keeps what was acknowledged when it is opened again', () =>
    inFolder(async (file) => {
      const first = await openSqliteStore({ file });
      const id = newId('upload', 1);
      await first.uploads.begin({ id, owner: 'user:ann', createdAt: 1 });
      await first.close();
      const second = await openSqliteStore({ file });
      assert.equal((await second.uploads.get(id))?.owner, 'user:ann');
      await second.close();
    }));

  it('that is no database is refused with what to do', () =>
    inFolder(async (file) => {
      await writeFile(file, 'no database, and longer than a header would be '.repeat(100));
      await assert.rejects(openSqliteStore({ file }), unavailable(/Restore it from a backup/));
    }));

  it('of a newer version is refused with what to do', () =>
    inFolder(async (file) => {
      await (await openSqliteStore({ file })).close();
      const raw = new SqliteFile(file);
      raw.prepare('insert into kysely_migration values (?, ?)').run('9999-future', new Date().toISOString());
      raw.close();
      await assert.rejects(openSqliteStore({ file }), unavailable(/newer version/));
    }));

  it('in a folder that is not there is refused with what to do', () =>
    inFolder(async (file) => {
      await assert.rejects(
        openSqliteStore({ file: `${file}/x/y` }),
        unavailable(/Check that its folder exists/),
      );
    }));

  it('of the first version keeps its rows, whose runs then reach nothing', () =>
    inFolder(async (file) => {
      const { raw, db } = await migratedTo(file, '0001-foundation');
      const session = newId('session', 1);
      const run = newId('run', 1);
      raw
        .prepare('insert into sessions (id, phase, owner, created_at, version) values (?, ?, ?, 1, 1)')
        .run(session, 'pending', 'user:ann');
      raw
        .prepare(
          "insert into runs (id, session, owner, priority, phase, created_at, artifacts, files_expired, version, spec) values (?, ?, ?, 0, 'queued', 1, '[]', 0, 1, '{}')",
        )
        .run(run, session, 'user:ann');
      await db.destroy();
      const store = await openSqliteStore({ file });
      assert.deepEqual((await store.runs.get(run))?.egress, { names: [], reason: null, generation: 1 });
      assert.equal((await store.sessions.get(session))?.liveRuns, 1);
      assert.equal((await store.runs.get(run))?.team, null);
      await store.close();
    }));

  it('from before teams keeps its policies, which belong to who made them first and which everybody sees', () =>
    inFolder(async (file) => {
      const { raw, db } = await migratedTo(file, '0003-egress-by-session');
      const insert = raw.prepare(
        'insert into policies (name, generation, current, document, author, created_at) values (?, ?, ?, ?, ?, 1)',
      );
      insert.run('web', 1, 0, '{"rules":[]}', 'user:ann');
      insert.run('web', 2, 1, '{"rules":[]}', 'user:bob');
      await db.destroy();
      const store = await openSqliteStore({ file });
      const { owner, team, author } = (await store.policies.get('web'))!;
      assert.deepEqual([owner, team, author], ['user:ann', null, 'user:bob']);
      assert.equal((await store.policies.getGeneration('web', 1))?.owner, 'user:ann');
      await store.close();
    }));

  it('answers its check while it works and not afterwards', () =>
    inFolder(async (file) => {
      const store = await openSqliteStore({ file });
      await store.check();
      await store.close();
      await assert.rejects(store.check());
    }));

  it('keeps no value of an environment once the command has run', () =>
    inFolder(async (file) => {
      const store = await openSqliteStore({ file });
      const session = newId('session', 1);
      await store.sessions.create(
        {
          id: session,
          name: null,
          phase: 'pending',
          owner: 'user:ann',
          team: null,
          repo: null,
          egress: { names: [], reason: null },
          attach: attachOff,
          createdAt: 1,
          closedAt: null,
        },
        { claim: null, openPerOwnerMax: 9 },
      );
      const id = newId('run', 1);
      const limits = { cpus: 1, memoryBytes: 1, pids: 1, diskBytes: 1, outputBytes: 1, timeoutSeconds: 1 };
      const spec = { command: ['x'], envNames: ['A'], cwd: null, limits, strict: false, diff: true };
      const egress = { names: [], reason: null, generation: 1 };
      const state = { phase: 'starting', queuedAt: 1, startingAt: 1 } as const;
      const unsaid = { parent: null, name: null, terminal: null, priority: 0 };
      await store.runs.create(
        { id, session, owner: 'user:ann', spec, egress, state, ...unsaid },
        { env: { A: 'the-secret-value' }, claim: null, livePerOwnerMax: 9 },
      );
      await store.runs.write([{ run: id, changes: () => [{ to: 'running', at: 2 }] }]);
      await store.close();
      assert(!(await readFile(file, 'latin1')).includes('the-secret-value'));
    }));
});
