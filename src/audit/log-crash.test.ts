import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { hash, randomInt } from 'node:crypto';
import { once } from 'node:events';
import { cpSync, readFileSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import {
  attempt,
  eventId,
  eventsIn,
  manualClock,
  segmentOf,
  temporaryFolder,
  testSigningKeys,
} from '../../tests/support/audit.ts';
import type { AuditEvent } from './event.ts';
import { openAuditLog } from './log.ts';
import { verifyStreams } from './verify.ts';

const kills = 20;
const writer = join(import.meta.dirname, '..', '..', 'tests', 'support', 'audit-writer.ts');

type Acknowledged = {
  readonly id: string;
  readonly seq: number;
  readonly hash: string;
  readonly action: string;
};

/** Starts a writer, kills it after so many acknowledgements, and answers what it had acknowledged. */
async function writeUntilKilled(
  folder: string,
  round: number,
  acknowledgements: number,
): Promise<Acknowledged[]> {
  const child = spawn(process.execPath, [writer, folder, `${round}`], {
    env: {},
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let output = '';
  let lines = 0;
  child.stdout.setEncoding('utf8').on('data', (chunk: string) => {
    output += chunk;
    lines += chunk.split('\n').length - 1;
    if (lines >= acknowledgements) child.kill('SIGKILL');
  });
  const [code, signal] = await once(child, 'close');
  assert.equal(signal, 'SIGKILL', `the writer ended by itself: ${code}`);
  return output
    .split('\n')
    .slice(0, -1)
    .map((line) => {
      const [id, seq, hash, action] = line.split(' ');
      return { id: id!, seq: Number(seq), hash: hash!, action: action! };
    });
}

test('a writer killed at any moment loses no acknowledged event and leaves a log that verifies', async () => {
  using folder = temporaryFolder();
  const path = segmentOf(folder.path);
  const key = testSigningKeys[0]!.export({ type: 'pkcs8', format: 'pem' });
  writeFileSync(join(folder.path, 'key.pem'), key);
  const acknowledged: Acknowledged[] = [];
  for (let round = 0; round < kills; round += 1) {
    acknowledged.push(...(await writeUntilKilled(folder.path, round, randomInt(1, 300))));
    assert.equal((await verifyStreams([join(folder.path, 'control')])).status, 'intact');
  }
  const lines = readFileSync(path, 'utf8').split('\n').slice(0, -1);
  const events = lines.map((line) => JSON.parse(line) as AuditEvent);
  assert.ok(acknowledged.length > kills);
  for (const { id, seq, hash: recorded, action } of acknowledged) {
    assert.equal(events[seq - 1]?.id, id);
    assert.equal(events[seq - 1]?.action, action);
    assert.equal(hash('sha256', `\0${lines[seq - 1]}`, 'hex'), recorded);
  }
  assert.equal(new Set(events.map(({ id }) => id)).size, events.length, 'no event is there twice');
  const own = events.filter(({ phase }) => phase !== 'note').map(({ action }) => action);
  assert.equal(new Set(own).size, own.length);
});

test('a log cut at any byte that is not signed yet opens again with every whole line, and says how much was torn', async () => {
  using folder = temporaryFolder();
  using crashed = temporaryFolder();
  const path = segmentOf(folder.path);
  const open = () =>
    openAuditLog({
      folder: folder.path,
      stream: 'control',
      clock: manualClock(),
      newId: eventId,
      signingKeys: testSigningKeys,
    });
  for (let round = 0; round < 40; round += 1) {
    const log = await open();
    await Promise.all(['a', 'b', 'c'].map((action) => log.append(attempt(action))));
    cpSync(join(folder.path, 'control'), crashed.path, { recursive: true });
    await log.close();
    cpSync(crashed.path, join(folder.path, 'control'), { recursive: true });
    const whole = readFileSync(path);
    const from = whole.subarray(0, -1).lastIndexOf(0x0a) + 1;
    const cut = round === 0 ? from + 1 : randomInt(from + 1, whole.length);
    truncateSync(path, cut);
    const reopened = await open();
    await reopened.close();
    const events = eventsIn(path);
    assert.equal(events.at(-1)?.action, 'audit.recovered');
    assert.deepEqual(events.at(-1)?.data, { bytes: cut - from });
    assert.equal(readFileSync(path).subarray(0, from).equals(whole.subarray(0, from)), true);
    assert.equal((await verifyStreams([join(folder.path, 'control')])).status, 'intact');
  }
});
