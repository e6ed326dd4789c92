import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { actorOf, callerOf, TestControl, withCode } from '../../../tests/support/test-control.ts';

const ann = callerOf(actorOf('ann'));
const auditor = callerOf(actorOf('eve', 'all', ['audit:read']));

describe('reading the record', () => {
  it('shows what everybody did, newest first, by pages that hold each event once', async () => {
    await using test = await TestControl.open();
    for (let count = 0; count < 5; count += 1) await test.session(ann);
    const seen: unknown[] = [];
    let cursor: string | undefined;
    do {
      const page = await test.control.audit.list(auditor, { action: 'session.create', limit: 3, cursor });
      seen.push(...page.items.map(({ seq }) => seq));
      cursor = page.nextCursor ?? undefined;
    } while (cursor !== undefined);
    assert.equal(new Set(seen).size, seen.length);
    assert.equal(seen.length, 10);
    assert.deepEqual(
      seen,
      [...seen].sort((a, b) => Number(b) - Number(a)),
    );
  });

  it('is itself on the record, and does not happen where it cannot be', async () => {
    await using test = await TestControl.open();
    await test.control.audit.list(auditor, {});
    const { items } = await test.control.audit.list(auditor, { action: 'audit.read' });
    assert.equal(items.length, 2);
    test.auditFails = true;
    await assert.rejects(test.control.audit.list(auditor, {}), withCode('audit.unavailable'));
  });

  it('needs its scope, and shows an actor of small reach only its own acts', async () => {
    await using test = await TestControl.open();
    await test.session(ann);
    await assert.rejects(test.control.audit.list(ann, {}), withCode('access.denied'));
    const narrow = callerOf(actorOf('bob', 'own', ['audit:read']));
    assert.deepEqual((await test.control.audit.list(narrow, { actor: 'user:ann' })).items, []);
    const { items } = await test.control.audit.list(narrow, {});
    assert.deepEqual(new Set(items.map(({ actor }) => (actor as { id: string }).id)), new Set(['user:bob']));
  });

  it('refuses a cursor that no page gave', async () => {
    await using test = await TestControl.open();
    await assert.rejects(test.control.audit.list(auditor, { cursor: 'x' }), withCode('request.invalid'));
  });
});

async function take(lines: AsyncIterable<Buffer>): Promise<Record<string, unknown>[]> {
  const taken: Record<string, unknown>[] = [];
  for await (const line of lines) taken.push(JSON.parse(line.toString()));
  return taken;
}

const narrow = callerOf(actorOf('bob', 'own', ['audit:read']));

describe('exporting the record', () => {
  it('gives all of it that matches, oldest first, and is on it with what was asked for', async () => {
    await using test = await TestControl.open();
    await test.session(ann);
    const lines = await test.control.audit.export(auditor, { format: 'csv', actor: 'user:ann' });
    const events = await take(lines);
    assert.deepEqual(
      events.map(({ action, phase }) => `${action} ${phase}`),
      ['session.create attempt', 'session.create outcome'],
    );
    const { items } = await test.control.audit.list(auditor, { action: 'audit.export' });
    assert.deepEqual(items[0]?.data, { actor: 'user:ann', format: 'csv' });
  });

  it('needs its scope, shows small reach only its own acts, and does not happen unrecorded', async () => {
    await using test = await TestControl.open();
    await test.session(ann);
    await assert.rejects(test.control.audit.export(ann, { format: 'jsonl' }), withCode('access.denied'));
    const others = await test.control.audit.export(narrow, { format: 'jsonl', actor: 'user:ann' });
    assert.deepEqual(await take(others), []);
    const own = await take(await test.control.audit.export(narrow, { format: 'jsonl' }));
    assert.deepEqual(new Set(own.map(({ action }) => action)), new Set(['audit.export']));
    test.auditFails = true;
    await assert.rejects(
      test.control.audit.export(auditor, { format: 'jsonl' }),
      withCode('audit.unavailable'),
    );
  });
});

describe('following the record', () => {
  const named = (event: { line: Buffer }) => (JSON.parse(event.line.toString()) as { action: string }).action;

  it('gives what is recorded from now on, and goes on behind any event', async () => {
    await using test = await TestControl.open();
    await test.session(ann);
    const tail = await test.control.audit.tail(auditor, { action: 'session.' });
    const events = tail[Symbol.asyncIterator]();
    const next = events.next();
    await test.session(ann);
    const first = (await next).value!;
    assert.equal(named(first), 'session.create');
    const second = (await events.next()).value!;
    tail.cancel();
    assert.equal((await events.next()).done, true);
    const again = await test.control.audit.tail(auditor, { action: 'session.', after: first.cursor });
    const resumed = (await again[Symbol.asyncIterator]().next()).value!;
    assert(resumed.line.equals(second.line));
    again.cancel();
    await assert.rejects(test.control.audit.tail(auditor, { after: 'x' }), withCode('request.invalid'));
  });

  it('needs its scope, and shows small reach only its own acts', async () => {
    await using test = await TestControl.open();
    await assert.rejects(test.control.audit.tail(ann, {}), withCode('access.denied'));
    const silent = await test.control.audit.tail(narrow, { actor: 'user:ann' });
    const own = await test.control.audit.tail(narrow, {});
    const first = own[Symbol.asyncIterator]().next();
    await test.session(ann);
    await test.control.audit.list(narrow, {});
    assert.equal(JSON.parse((await first).value!.line.toString()).actor.id, 'user:bob');
    const nothing = silent[Symbol.asyncIterator]().next();
    silent.cancel();
    assert.equal((await nothing).done, true);
    own.cancel();
  });
});

describe('making the index anew', () => {
  it('is on the record, and is for whoever reaches everything', async () => {
    await using test = await TestControl.open();
    await test.session(ann);
    await assert.rejects(test.control.audit.reindex(ann), withCode('access.denied'));
    await assert.rejects(test.control.audit.reindex(narrow), withCode('access.denied'));
    const { events, unreadable } = await test.control.audit.reindex(auditor);
    assert(events > 3);
    assert.equal(unreadable, 0);
    const { items } = await test.control.audit.list(auditor, { action: 'audit.reindex' });
    assert.deepEqual(
      items.map(({ outcome }) => outcome),
      ['succeeded', 'allowed', 'denied', 'denied'],
    );
  });
});

describe('metrics', () => {
  it('need their scope, and count runs and sessions', async () => {
    await using test = await TestControl.open({ endsAtOnce: true });
    const { id } = await test.run(ann, await test.session(ann));
    await test.finished(ann, id);
    await assert.rejects(test.control.metrics(ann), withCode('access.denied'));
    const text = await test.control.metrics(callerOf(actorOf('ops', 'all', ['cluster:read'])));
    assert.match(text, /^sealwright_runs\{phase="succeeded"\} 1$/m);
    assert.match(text, /^sealwright_runner_connected 1$/m);
  });
});
