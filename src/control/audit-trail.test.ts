import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { actorOf, callerOf, TestControl, withCode } from '../../tests/support/test-control.ts';

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
