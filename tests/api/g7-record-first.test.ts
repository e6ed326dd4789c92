import assert from 'node:assert/strict';
import { renameSync } from 'node:fs';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { after, before, describe, test } from 'node:test';
import { ApiError } from '../../src/client/api-error.ts';
import type { RunView } from '../../src/contract/schemas.ts';
import { segmentOf } from '../support/audit.ts';
import { cli, type Instance, startInstance } from '../support/instance.ts';

/**
 * G7: what is acknowledged is recorded, and what cannot be recorded does not happen. The log's file is taken
 * away under a real server, which its every commit notices; src/audit tests every other way a disk can fail.
 */
let instance: Instance;
before(async () => {
  instance = await startInstance();
});
after(() => instance?.remove());

type Event = {
  action: string;
  phase: string;
  id: string;
  of?: string;
  outcome: string;
  resource: { id?: string };
};

async function events(): Promise<Event[]> {
  const all: Event[] = [];
  for await (const event of instance.client.audit.all({})) all.unshift(event as unknown as Event);
  return all;
}

const refusedUnrecorded = (error: unknown) =>
  error instanceof ApiError && error.status === 503 && error.code === 'audit.unavailable';

async function until(what: string, holds: () => Promise<boolean>): Promise<void> {
  const deadline = performance.now() + 15_000;
  while (!(await holds())) {
    assert.ok(performance.now() < deadline, what);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

const file = () => segmentOf(join(instance.home, 'audit'));

async function withoutLog(act: () => Promise<void>): Promise<void> {
  renameSync(file(), `${file()}.away`);
  try {
    await act();
  } finally {
    renameSync(`${file()}.away`, file());
  }
}

describe('what is acknowledged is recorded', () => {
  test('every kind of change leaves an attempt and then an outcome, about what it made', async () => {
    const { client } = instance;
    const session = await client.sessions.create({ name: 'recorded' });
    await client.sessions.rename(session.id, 'renamed');
    const run = await client.runs.create({ session: session.id, command: ['true'] });
    await client.runs.wait(run.id, { timeoutSeconds: 30 });
    await client.runs.rename(run.id, 'named');
    const again = await client.runs.resume(run.id, {});
    await client.runs.stop(again.id);
    await client.runs.wait(again.id, { timeoutSeconds: 30 });
    const upload = await client.uploads.store(Readable.from([Buffer.from('no bundle')]));
    await client.uploads.remove(upload.id);
    const token = await client.tokens.create({ name: 'short', scopes: ['run:read'] });
    await client.tokens.revoke(token.id);
    await client.runs.remove(run.id);
    await client.sessions.close(session.id);
    const recorded = await events();
    const about = {
      [session.id]: 'session',
      [run.id]: 'run',
      [again.id]: 'run',
      [upload.id]: 'upload',
      [token.id]: 'token',
    };
    for (const [id, kind] of Object.entries(about)) {
      const attempt = recorded.findIndex((event) => event.phase === 'attempt' && event.resource.id === id);
      assert.ok(attempt >= 0, `an attempt names the ${kind} ${id}`);
      const outcome = recorded.findIndex(
        (event) => event.phase === 'outcome' && event.of === recorded[attempt]!.id,
      );
      assert.ok(outcome > attempt, `its outcome comes after it: ${kind}`);
    }
    const attempts = recorded.filter((event) => event.phase === 'attempt' && event.outcome === 'allowed');
    const outcomes = new Set(recorded.flatMap((event) => event.of ?? []));
    assert.deepEqual(
      attempts.filter((event) => !outcomes.has(event.id)).map((event) => event.action),
      [],
    );
    for (const action of [
      'session.create',
      'run.create',
      'run.resume',
      'run.stop',
      'upload.create',
      'token.create',
      'token.revoke',
      'session.close',
    ])
      assert.ok(
        recorded.some((event) => event.action === action),
        action,
      );
  });

  test('a denial is on record', async () => {
    const { createClient } = await import('../../src/client/client.ts');
    const { token } = await instance.client.tokens.create({ name: 'reader', scopes: ['session:read'] });
    const reader = createClient({ url: instance.url, token });
    await assert.rejects(
      reader.sessions.create({}),
      (error: unknown) => error instanceof ApiError && error.status === 403,
    );
    await until('the denial is recorded', async () =>
      (await events()).some((event) => event.action === 'session.create' && event.outcome === 'denied'),
    );
  });
});

describe('what cannot be recorded does not happen', () => {
  test('changes are refused and nothing of them is there; reads and containment go on; writing comes back by itself', async () => {
    const { client } = instance;
    const session = await client.sessions.create({ name: 'before' });
    const run = await client.runs.create({ session: session.id, command: ['sleep', '600'] });
    const token = await client.tokens.create({ name: 'to revoke', scopes: ['run:read'] });
    await until('it runs', async () => (await client.runs.get(run.id)).phase === 'running');
    const before = [await client.sessions.list({ limit: 200 }), await client.tokens.list({ limit: 200 })];
    let stopped: RunView | null = null;
    await withoutLog(async () => {
      await assert.rejects(client.sessions.create({ name: 'unrecorded' }), refusedUnrecorded);
      await assert.rejects(client.sessions.rename(session.id, 'unrecorded'), refusedUnrecorded);
      await assert.rejects(
        client.runs.create({ session: session.id, command: ['touch', 'unrecorded'] }),
        refusedUnrecorded,
      );
      await assert.rejects(
        client.tokens.create({ name: 'unrecorded', scopes: ['run:read'] }),
        refusedUnrecorded,
      );
      await assert.rejects(
        client.uploads.store(Readable.from([Buffer.from('unrecorded')])),
        refusedUnrecorded,
      );
      assert.equal((await client.sessions.get(session.id)).name, 'before');
      assert.equal((await fetch(`${instance.url}/readyz`)).status, 503);
      assert.equal((await fetch(`${instance.url}/healthz`)).status, 200);
      stopped = await client.runs.stop(run.id);
      await client.runs.wait(run.id, { timeoutSeconds: 30 });
      await client.tokens.revoke(token.id);
    });
    assert.ok(stopped !== null);
    await until('changes are taken again', async () =>
      client.sessions.create({ name: 'after' }).then(
        () => true,
        () => false,
      ),
    );
    assert.equal((await client.runs.get(run.id)).phase, 'cancelled');
    const names = (await client.sessions.list({ limit: 200 })).items.map((item) => item.name);
    assert.deepEqual(
      names.filter((name) => name === 'unrecorded'),
      [],
    );
    assert.equal((await client.sessions.list({ limit: 200 })).items.length, before[0]!.items.length + 1);
    assert.equal(
      (await client.tokens.list({ limit: 200 })).items.some(({ id }) => id === token.id),
      false,
    );
    await until('the gap and what was owed are on record', async () => {
      const recorded = await events();
      const owed = ['run.stop', 'token.revoke'].every((action) =>
        recorded.some(
          (event) => event.action === action && [run.id, token.id].includes(event.resource.id as never),
        ),
      );
      return owed && recorded.some((event) => event.action === 'audit.gap');
    });
    assert.equal((await cli(instance.home, ['audit', 'verify'])).status, 0);
  });
});
