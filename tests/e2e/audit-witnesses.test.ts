import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { parseCheckpoint } from '../../src/audit/checkpoint.ts';
import { cosignatureBy } from '../../src/audit/cosignature.ts';
import type { WitnessStatusView } from '../../src/contract/witnesses.ts';
import { cli, type Instance, startInstance } from '../support/instance.ts';
import { until } from '../support/sink-world.ts';
import { openS3Stand, openTlogStand, secretOfTests, type WitnessStand } from '../support/witness-stands.ts';

/** A started server whose checkpoints are kept by a bucket and by a witness that signs. */
async function openWorld(t: TestContext) {
  const folder = mkdtempSync(join(tmpdir(), 'sealwright-witnesses-'));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  const [bucket, tlog] = [await openS3Stand(), await openTlogStand()];
  for (const stand of [bucket, tlog]) t.after(() => stand.close());
  const home = join(folder, 'home');
  mkdirSync(home, { mode: 0o755 });
  const put = (name: string, text: string) => writeFileSync(join(home, name), text, { mode: 0o600 });
  put('bucket.secret', secretOfTests);
  put('bucket.pem', bucket.settings.authorities![0]!);
  put('tlog.pem', tlog.settings.authorities![0]!);
  const { url, endpoint, region, accessKeyId } = bucket.settings;
  put(
    'witnesses.yaml',
    `witnesses:
  - name: bucket
    url: ${url}
    endpoint: ${endpoint}
    region: ${region}
    accessKeyId: ${accessKeyId}
    secretFile: bucket.secret
    caFile: bucket.pem
    everySeconds: 5
  - name: tlog
    url: ${tlog.settings.url}
    key: ${tlog.key.text}
    caFile: tlog.pem
    everySeconds: 5
`,
  );
  return { folder, home, bucket, tlog };
}

async function started(t: TestContext, home: string): Promise<Instance> {
  const instance = await startInstance({ home });
  t.after(() => instance.stop());
  return instance;
}

async function witnessesOf(home: string): Promise<{ status: number | null; items: WitnessStatusView[] }> {
  const { status, stdout, stderr } = await cli(home, ['audit', 'witnesses', '--local', '--json']);
  assert(stdout.length > 0, stderr);
  return { status, items: JSON.parse(stdout.toString('utf8')) as WitnessStatusView[] };
}

const newest = (stand: WitnessStand) => parseCheckpoint(stand.kept('control').at(-1) ?? '')?.size ?? 0;

const stateOf = async (home: string, state: string) =>
  (await witnessesOf(home)).items.every(
    ({ streams }) => streams.find(({ stream }) => stream === 'control')?.state === state,
  );

test('a data folder that is rolled back while the server is down is found when it starts again', async (t) => {
  const { folder, home, bucket, tlog } = await openWorld(t);
  const copy = join(folder, 'audit-of-then');
  const first = await started(t, home);
  await until(() => stateOf(home, 'kept'), 'both have a checkpoint', 20_000);
  await until(
    async () => (await witnessesOf(home)).items.every(({ streams }) => streams.length === 2),
    'the stream of the runner is witnessed too',
    20_000,
  );
  const cosigned = parseCheckpoint(readFileSync(join(home, 'audit', 'control', 'cosigned'), 'utf8'));
  assert(cosignatureBy(cosigned!.note, tlog.key) !== null, 'whoever has the key can verify it');
  await first.stop();
  execFileSync('cp', ['-a', join(home, 'audit'), copy]);

  const then = newest(bucket);
  const second = await started(t, home);
  await until(() => newest(bucket) > then && newest(tlog) > then, 'more is witnessed', 20_000);
  assert.equal((await witnessesOf(home)).status, 0);
  assert.equal((await fetch(`${second.url}/readyz`)).status, 200, 'the control');
  const kept = join(folder, 'kept');
  for (let count = 0; count < 5; count += 1) await second.client.sessions.create({});
  const before = newest(bucket);
  await second.client.auditProofs.checkpoints();
  await until(() => newest(bucket) > before, 'what was done is witnessed', 20_000);
  writeFileSync(kept, bucket.kept('control').join(''));
  const verified = await cli(home, ['audit', 'verify', join(home, 'audit'), '--since-checkpoint', kept]);
  assert.equal(verified.status, 0, verified.stdout.toString('utf8'));
  await second.stop();

  rmSync(join(home, 'audit'), { recursive: true });
  execFileSync('cp', ['-a', copy, join(home, 'audit')]);
  const offline = await cli(home, ['audit', 'verify', join(home, 'audit'), '--since-checkpoint', kept]);
  assert.equal(offline.status, 1, 'it is found offline by what the bucket kept');
  await assert.rejects(
    started(t, home),
    /cut or rolled back.*audit verify/,
    'the copy beside the key shows it',
  );
  rmSync(join(home, 'control', 'audit.checkpoint'));
  const third = await started(t, home);
  await until(() => stateOf(home, 'conflict'), 'both contradict it', 20_000);
  assert.equal((await witnessesOf(home)).status, 1);
  const ready = await fetch(`${third.url}/readyz`);
  assert.equal(ready.status, 503);
  assert.match(await ready.text(), /"witnesses":\{"ok":false,"detail":"a witness holds another history/);
  const { items } = await third.client.audit.list({ action: 'audit.witness-conflict' });
  // The runner's stream was rolled back too, and is told of where a witness had more of it by then.
  assert.equal(items.filter((item) => (item.resource as { id?: string }).id === 'control').length, 2);
  assert(!JSON.stringify(items).includes(secretOfTests));
  const { id } = await third.client.sessions.create({});
  assert.match(id, /^ses_/, 'it works on');
});
