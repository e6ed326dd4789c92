import assert from 'node:assert/strict';
import { mkdirSync } from 'node:fs';
import { test } from 'node:test';
import { until } from '../../tests/support/sink-world.ts';
import { actorOf, callerOf, TestControl, withCode } from '../../tests/support/test-control.ts';
import { openFileStand } from '../../tests/support/witness-stands.ts';
import { WitnessWorld, wholeWitness } from '../../tests/support/witness-world.ts';
import { parseCheckpoint } from '../audit/checkpoint.ts';
import { openWitness } from '../audit/witnesses/open-witness.ts';
import { roles } from '../model/scopes.ts';

const auditor = callerOf(actorOf('eve', 'all', roles.auditor));
const operator = callerOf(actorOf('oli', 'all', roles.operator));
const developer = callerOf(actorOf('ada'));

async function openWorld(t: { after(run: () => Promise<void>): void }) {
  const world = new WitnessWorld();
  t.after(() => world.close());
  const stand = await openFileStand(world.folder('vault'));
  return { world, stand, settings: [{ ...wholeWitness, ...stand.settings, name: 'vault' }] };
}

test('every stream that control knows is witnessed, and who may read of the record sees it', async (t) => {
  const { stand, settings } = await openWorld(t);
  await using at = await TestControl.open({ witnesses: { settings } });
  const state = async () => (await at.control.auditWitnesses.list(auditor)).items[0]?.streams[0]?.state;
  await until(async () => (await state()) === 'kept', 'it is pushed at the start');
  assert.equal(parseCheckpoint(stand.kept('control')[0]!)?.origin, at.audit.checkpoint().origin);
  const { items } = await at.control.auditWitnesses.list(auditor);
  assert.deepEqual(
    items.map(({ name, streams }) => [name, streams[0]?.stream, streams[0]?.state]),
    [['vault', 'control', 'kept']],
  );
  await assert.rejects(at.control.auditWitnesses.list(developer), withCode('access.denied'));
  assert.equal((await at.control.readiness()).checks.witnesses.ok, true);
  const text = await at.control.metrics(operator);
  assert.match(text, /^sealwright_audit_witness_age_seconds\{witness="vault",stream="control"\} \d/m);
  assert.match(text, /^sealwright_audit_witness_conflict\{witness="vault",stream="control"\} 0$/m);
});

test('a witness of another history is on record, is shown, and the server is not ready; acts go on', async (t) => {
  const { world, settings } = await openWorld(t);
  const other = await world.log('other');
  const witness = await openWitness({ settings: settings[0]!, version: '1', now: Date.now, sendMs: 1_000 });
  await world.grow(other, 200);
  const pushed = { stream: 'control', tree: other.tree, checkpoint: other.checkpoint() };
  assert.equal((await witness.push(pushed, AbortSignal.timeout(5_000))).kind, 'kept');
  await using at = await TestControl.open({ witnesses: { settings } });
  const isNoted = async () => (await at.events()).some(({ action }) => action === 'audit.witness-conflict');
  await until(isNoted, 'it is on record');
  const noted = (await at.events()).find(({ action }) => action === 'audit.witness-conflict');
  assert.deepEqual(
    [noted?.actor.id, noted?.resource, noted?.outcome, noted?.data?.witness],
    ['system:audit', { kind: 'audit', id: 'control' }, 'failed', 'vault'],
  );
  assert.match(String(noted?.data?.reason), /^it has 20\d events of control, and this log only \d+: /);
  const { ready, checks } = await at.control.readiness();
  assert.deepEqual(
    [ready, checks.audit.ok, checks.witnesses.detail],
    [false, true, 'a witness holds another history of the log: see sealwright audit witnesses'],
  );
  assert.match(await at.control.metrics(operator), /^sealwright_audit_witness_conflict\{.*\} 1$/m);
  await at.session(developer);
});

test('a server whose witness is away starts and works', async (t) => {
  const { world, settings } = await openWorld(t);
  const [vault] = settings;
  const away = `${world.folder('x')}/absent`;
  await using at = await TestControl.open({
    witnesses: { settings: [{ ...vault!, url: `file://${away}/`, required: true }] },
  });
  const state = async () => (await at.control.auditWitnesses.list(auditor)).items[0]?.streams[0];
  await until(async () => (await state())?.state === 'retrying', 'it is tried');
  assert.equal((await state())?.lastError?.reason, 'ENOENT');
  assert.equal((await at.control.readiness()).ready, true, 'for five minutes');
  await at.session(developer);
  mkdirSync(away);
  await until(async () => (await state())?.state === 'kept', 'it is found once it is there');
});
