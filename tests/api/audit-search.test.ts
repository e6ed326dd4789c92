import assert from 'node:assert/strict';
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { createClient } from '../../src/client/client.ts';
import { segmentOf } from '../support/audit.ts';
import { startCli } from '../support/cli-process.ts';
import { cli, type Instance, startInstance } from '../support/instance.ts';

/** The audit log of a real server: searched, exported, followed and indexed anew. */

let instance: Instance;

before(async () => {
  instance = await startInstance();
});
after(() => instance.remove());

const logLines = () =>
  readFileSync(segmentOf(join(instance.home, 'audit')), 'utf8')
    .split('\n')
    .slice(0, -1);

async function sealwright(...words: string[]): Promise<string> {
  const { status, stdout, stderr } = await cli(instance.home, words);
  assert.equal(status, 0, stderr);
  return stdout.toString();
}

/** Resolves once so many streams are open. */
async function streamsOpen(count: number): Promise<void> {
  const headers = { authorization: `Bearer ${instance.bootstrapToken}` };
  for (;;) {
    const text = await (await fetch(`${instance.url}/metrics`, { headers })).text();
    if (Number(/^sealwright_http_streams (\d+)$/m.exec(text)?.[1]) === count) return;
  }
}

test('what was done is found at once, by whom, on what and by words', async () => {
  const { id } = await instance.client.sessions.create({ name: 'zebra crossing' });
  for (const query of [
    { session: id },
    { resource: id, outcome: 'succeeded' },
    { text: id },
    { action: 'session.', order: 'oldest' },
    { resourceKind: 'session', phase: 'outcome', actor: 'user:bootstrap' },
  ]) {
    const { items, unreadable } = await instance.client.audit.list(query);
    assert.equal(unreadable, 0);
    assert(
      items.some(({ resource }) => (resource as { id?: string }).id === id),
      JSON.stringify([query, items[0]]),
    );
  }
  assert.deepEqual((await instance.client.audit.list({ session: 'ses_none' })).items, []);
});

test('an export as lines is what the log holds, and one as CSV has as many rows', async () => {
  const exported = (await sealwright('audit', 'events')).split('\n').slice(0, -1);
  const control = exported.filter((line) => line.endsWith('"stream":"control","v":2}'));
  assert.deepEqual(control, logLines().slice(0, control.length));
  assert(control.length > 5);
  const csv = (await sealwright('audit', 'events', '--format', 'csv', '--action', 'session.create')).trim();
  assert.match(csv.split('\r\n')[1]!, /"session.create"/);
});

test('a tail gives what is recorded while it is open, and ends when its token is revoked', async () => {
  const made = await instance.client.tokens.create({ name: 'tail', scopes: ['audit:read'] });
  const reader = createClient({ url: instance.url, token: made.token });
  const events = reader.audit.tail({ action: 'session.create' });
  const first = events.next();
  await streamsOpen(1);
  await instance.client.sessions.create({ name: 'seen' });
  const { value: seen } = await first;
  assert(seen !== undefined);
  assert.match(seen, /"action":"session.create"/);
  assert(logLines().includes(seen));
  const ended = assert.rejects(async () => {
    for await (const _ of events);
  });
  const revokedAt = performance.now();
  await instance.client.tokens.revoke(made.id);
  await ended;
  assert(performance.now() - revokedAt < 3_000, 'the cut, and one try to go on');
  reader.close();
});

test('sealwright audit tail prints events until it is interrupted', async () => {
  const words = ['audit', 'tail', '--json', '--action', 'session.create'];
  const tail = startCli(instance.home, words, { cwd: instance.home });
  await streamsOpen(1);
  await instance.client.sessions.create({ name: 'printed' });
  await tail.said(/\n/);
  tail.child.kill('SIGINT');
  const { stdout } = await tail.ended;
  assert.match(stdout.toString(), /^\{"action":"session.create".*\}\n/);
});

test('an index made anew answers as before, also one whose file was damaged while the server was down', async () => {
  const before = await instance.client.audit.list({ action: 'session.create', order: 'oldest' });
  assert.match(await sealwright('audit', 'reindex'), /^\d+ events are indexed\n$/);
  assert.deepEqual(await instance.client.audit.list({ action: 'session.create', order: 'oldest' }), before);
  await instance.stop();
  const file = join(instance.home, 'control', 'audit-index.sqlite');
  for (const part of ['-wal', '-shm']) rmSync(file + part, { force: true });
  writeFileSync(file, 'damaged '.repeat(10_000));
  instance = await startInstance({ home: instance.home });
  const again = await instance.client.audit.list({ action: 'session.create', order: 'oldest' });
  assert.deepEqual(again, before);
});
