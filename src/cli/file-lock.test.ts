import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readdirSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { hostname, tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, test } from 'node:test';
import { systemClock } from '../base/clock.ts';
import { withLock } from './file-lock.ts';

let folder: string;
let path: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'sealwright-lock-'));
  path = join(folder, 'lock');
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

test('one works at a time, and nothing is left behind', async () => {
  let inside = 0;
  let most = 0;
  const work = async () => {
    inside += 1;
    most = Math.max(most, inside);
    await new Promise((resolve) => setTimeout(resolve, 2));
    inside -= 1;
  };
  await Promise.all(Array.from({ length: 10 }, () => withLock(path, systemClock, work)));
  assert.equal(most, 1);
  assert.deepEqual(readdirSync(folder), []);
});

test('a failure lets go of the lock', async () => {
  await assert.rejects(
    withLock(path, systemClock, async () => Promise.reject(new Error('x'))),
    /x/,
  );
  assert.equal(existsSync(path), false);
  assert.equal(await withLock(path, systemClock, async () => 7), 7);
});

test('the lock of a program that is gone is taken over, by one', async () => {
  const gone = spawn(process.execPath, ['-e', '0']);
  await once(gone, 'exit');
  writeFileSync(path, `${JSON.stringify({ pid: gone.pid, host: hostname(), nonce: 'x' })}\n`);
  let inside = 0;
  const work = async () => {
    inside += 1;
    assert.equal(inside, 1);
    await new Promise((resolve) => setTimeout(resolve, 2));
    inside -= 1;
  };
  await Promise.all(Array.from({ length: 5 }, () => withLock(path, systemClock, work)));
});

test('so is one that is older than any work, whoever holds it', async () => {
  writeFileSync(path, `${JSON.stringify({ pid: process.pid, host: 'elsewhere', nonce: 'x' })}\n`);
  const longAgo = new Date(Date.now() - 3_600_000);
  utimesSync(path, longAgo, longAgo);
  assert.equal(await withLock(path, systemClock, async () => 7), 7);
});

test('a lock that stays held is said after a while, with the fix', async () => {
  let passed = 0;
  const clock = { now: () => Date.now(), monotonic: () => (passed += 60_000) };
  writeFileSync(path, `${JSON.stringify({ pid: process.pid, host: hostname(), nonce: 'x' })}\n`);
  await assert.rejects(
    withLock(path, clock, async () => 7),
    { name: 'CliFailure', hint: /Remove/ },
  );
  assert.equal(existsSync(path), true, 'it was not broken');
});
