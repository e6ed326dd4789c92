import assert from 'node:assert/strict';
import { generateKeyPairSync } from 'node:crypto';
import { readFileSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { attempt, eventId, manualClock, segmentOf, testSigningKeys } from '../../tests/support/audit.ts';
import { openAuditLog } from '../audit/log.ts';
import { noteSigner } from '../audit/signed-note.ts';
import { buildProgram, runProgram } from './program.ts';
import { TestServer, testContext } from './test-api.ts';
import { testEnvironment } from './test-environment.ts';

test('audit verify holds a log against keys and checkpoints that were kept, and says what it found', async (t) => {
  const environment = testEnvironment({});
  t.after(() => environment.dispose());
  const sealwright = async (...words: string[]) => {
    environment.stdout.chunks.length = 0;
    environment.stderr.chunks.length = 0;
    const context = testContext(environment, new TestServer());
    const status = await runProgram(
      buildProgram(context, () => {}),
      ['audit', 'verify', ...words],
      context,
    );
    return { status, out: environment.stdout.text, err: environment.stderr.text };
  };
  const folder = join(environment.folder, 'log');
  const log = await openAuditLog({
    folder,
    stream: 'control',
    clock: manualClock(),
    newId: eventId,
    signingKeys: testSigningKeys,
  });
  await log.append(attempt('run.create'));
  const kept = join(environment.folder, 'kept');
  writeFileSync(kept, (await log.sign()).note);
  const key = log.key();
  await log.close();

  const good = await sealwright(folder, '--key', key, '--since-checkpoint', kept);
  assert.equal(good.status, 0, good.err);
  assert.match(
    good.out,
    /control: intact; 2 events, head [0-9a-f]{64}\n {2}signed by audit\..*\n {2}checkpoint of 2 events\nintact\n/,
  );
  writeFileSync(join(environment.folder, 'keys'), `\n${key}\n`);
  assert.equal((await sealwright(folder, '--key', 'keys')).status, 0);

  const stranger = noteSigner(log.checkpoint().origin, generateKeyPairSync('ed25519').privateKey).key.text;
  const other = await sealwright(folder, '--key', stranger);
  assert.deepEqual([other.status, /not among the keys that were given/.test(other.out)], [1, true]);
  assert.equal((await sealwright(folder, '--key', stranger, '--key', key)).status, 0);

  for (const [words, message] of [
    [['--key', 'nowhere'], /--key cannot read nowhere \(ENOENT\)/],
    [['--key', kept], /holds something that is no key/],
    [['--since-checkpoint', 'keys'], /keys holds no checkpoint/],
    [['--since-checkpoint', 'nowhere'], /ENOENT/],
  ] as const) {
    const { status, err } = await sealwright(folder, ...words);
    assert.equal(status, 2);
    assert.match(err, message);
  }

  const segment = segmentOf(folder);
  truncateSync(segment, readFileSync(segment).indexOf('\n') + 1);
  const cut = await sealwright(folder, '--json');
  assert.equal(cut.status, 1);
  assert.match(JSON.parse(cut.out).streams[0].problem.what, /events 2 to 2 are missing/);
});
