import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { quickTimes, until } from '../../tests/support/sink-world.ts';
import { actorOf, callerOf, TestControl, withCode } from '../../tests/support/test-control.ts';
import { canonicalJson, type JsonValue } from '../base/canonical-json.ts';
import { roles } from '../model/scopes.ts';

const operator = callerOf(actorOf('oli', 'all', roles.operator));
const auditor = callerOf(actorOf('eve', 'all', roles.auditor));
const developer = callerOf(actorOf('ada'));

test('who looks at sinks and who sends dead letters again is on record, and each needs its scope', async (t) => {
  const outside = mkdtempSync(join(tmpdir(), 'sealwright-sinks-'));
  t.after(() => rmSync(outside, { recursive: true, force: true }));
  const copy = { name: 'copy', url: `file://${outside}/audit.jsonl`, format: 'event' } as const;
  const settings = [{ ...copy, secret: null, authorities: [], identity: null }];
  await using at = await TestControl.open({ sinks: { settings, times: quickTimes } });
  const { auditSinks } = at.control;
  const { items } = await auditSinks.list(auditor);
  assert.deepEqual(
    items.map(({ name, deadLetters }) => [name, deadLetters]),
    [['copy', 0]],
  );
  assert.deepEqual(await auditSinks.redeliver(operator, 'copy'), {
    delivered: 0,
    remaining: 0,
    stoppedBy: null,
  });
  await assert.rejects(auditSinks.redeliver(operator, 'absent'), withCode('resource.absent'));
  await assert.rejects(auditSinks.redeliver(auditor, 'copy'), withCode('access.denied'));
  await assert.rejects(auditSinks.list(developer), withCode('access.denied'));
  const written = () => readFileSync(join(outside, 'audit.jsonl'), 'utf8').split('\n').slice(0, -1);
  await until(
    () => written().some((line) => line.includes('"audit.redeliver"')),
    'the record is carried outside',
  );
  assert.deepEqual(
    written(),
    (await at.events())
      .slice(0, written().length)
      .map((event) => canonicalJson(event as unknown as JsonValue)),
  );
  const text = await at.control.metrics(operator);
  assert.match(text, /^sealwright_audit_sink_up\{sink="copy"\} 1$/m);
  assert.match(text, /^sealwright_audit_sink_dead_letters\{sink="copy"\} 0$/m);
  assert.match(text, /^sealwright_audit_sink_failed_sends_total\{sink="copy"\} 0$/m);
  const seen = (await at.events())
    .filter(({ action }) => action.startsWith('audit.s') || action === 'audit.redeliver')
    .map(({ action, actor, phase, outcome }) => `${action} ${actor.id} ${phase} ${outcome}`);
  for (const line of [
    'audit.sinks user:eve note succeeded',
    'audit.sinks user:ada attempt denied',
    'audit.redeliver user:oli attempt allowed',
    'audit.redeliver user:oli outcome succeeded',
    'audit.redeliver user:oli outcome failed',
    'audit.redeliver user:eve attempt denied',
  ])
    assert(seen.includes(line), `${line} is among ${seen.join('; ')}`);
});
