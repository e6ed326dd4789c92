import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import type { RecordingsVerdict } from '../../src/audit/verify-recordings.ts';
import { cli, type Instance, startInstance } from '../support/instance.ts';

/** What a real terminal showed, from the sandbox to an auditor who has neither the server nor its disk. */

const folder = mkdtempSync(join(tmpdir(), 'sealwright-recordings-'));
let instance: Instance;

before(async () => {
  instance = await startInstance();
});

after(async () => {
  await instance.remove();
  rmSync(folder, { recursive: true, force: true });
});

async function sealwright(...words: string[]) {
  const { status, stdout, stderr } = await cli(instance.home, words, { cwd: folder });
  return { status, out: stdout.toString('utf8'), err: stderr };
}

async function recordings(): Promise<{ status: number | null; held: RecordingsVerdict }> {
  const { status, out } = await sealwright('audit', 'verify', '--json');
  return { status, held: JSON.parse(out).recordings };
}

/** Resolves once control has all that the runner recorded: a mirror follows. */
async function whole(): Promise<RecordingsVerdict> {
  for (;;) {
    const { status, held } = await recordings();
    assert.equal(status, 0, JSON.stringify(held));
    if (held.recordings.length > 0 && held.recordings.every(({ isEnded }) => isEnded === true)) return held;
    await pause(200);
  }
}

test('a recording is verified on the disk and by a bundle of evidence, and a changed byte is found by both', async () => {
  const script = 'for i in $(seq 500); do echo "line $i of a terminal"; done';
  const begun = await sealwright('run', '-d', '--tty', '--name', 'shown', '--', 'bash', '-c', script);
  assert.equal(begun.status, 0, begun.err);
  const run = begun.out.trim();
  for await (const event of instance.client.runs.logs(run)) void event;
  const [one] = (await whole()).recordings;
  assert.equal(one?.run, run);
  assert.deepEqual([one.unverifiedBytes, one.findings], [0, []]);

  // A runner signs what it recorded at least every minute, and when it ends.
  await instance.stop();
  instance = await startInstance({ home: instance.home });
  await whole();
  const exported = await sealwright('audit', 'export', '--run', run, '-o', 'evidence.json');
  assert.equal(exported.status, 0, exported.err);
  assert.equal((await sealwright('replay', run, '--output', 'good.cast')).status, 0);
  const size = readFileSync(join(folder, 'good.cast')).length;
  const good = await sealwright('audit', 'verify', 'evidence.json', '--recording', 'good.cast');
  assert.equal(good.status, 0, good.out);
  assert(good.out.includes(`good.cast: intact; ${run} ${one.terminal}, ${size} bytes as recorded`), good.out);
  assert.match(good.out, /it ended, and nothing was recorded behind that/);

  const files = join(instance.home, 'runner/runs', run, 'terminals', one.terminal);
  const segment = join(files, readdirSync(files).find((name) => name.endsWith('.cast'))!);
  const text = readFileSync(segment, 'utf8');
  writeFileSync(segment, text.replace('line 77 of', 'line 78 of'));
  assert.notEqual(readFileSync(segment, 'utf8'), text);
  const bad = await recordings();
  assert.deepEqual([bad.status, bad.held.recordings[0]?.findings?.[0]?.kind], [1, 'changed']);
  assert.equal((await sealwright('replay', run, '--output', 'bad.cast')).status, 0);
  const found = await sealwright('audit', 'verify', 'evidence.json', '--recording', 'bad.cast');
  assert.equal(found.status, 1);
  assert.match(found.out, /bad\.cast: tampered; .*\n {2}bytes \d+ to \d+ \(segment 0\) were changed/);
});
