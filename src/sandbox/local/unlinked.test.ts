import assert from 'node:assert/strict';
import { closeSync, fstatSync, mkdtempSync, openSync, rmSync, unlinkSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, test } from 'node:test';
import { unlinkedBytes } from './unlinked.ts';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'sealwright-unlinked-'));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const uid = process.getuid!();
const heldOn = async (device: number, owner = uid) =>
  (await unlinkedBytes([process.pid], owner)).get(device) ?? 0;

test('a file that was removed counts for as long as it is open, and once however often', async () => {
  const path = join(folder, 'file');
  const fds = [openSync(path, 'w'), openSync(path, 'r')];
  writeSync(fds[0]!, Buffer.alloc(300_000, 1));
  const { dev } = fstatSync(fds[0]!);
  const before = await heldOn(dev);
  unlinkSync(path);
  const after = await heldOn(dev);
  assert.ok(after - before >= 300_000 && after - before < 400_000, `${before} ${after}`);
  assert.equal(await heldOn(dev, uid + 1), 0, "another user's files do not count");
  for (const fd of fds) closeSync(fd);
  assert.equal(await heldOn(dev), before);
});

test('processes that have ended hold nothing, however many are asked for', async () => {
  const ended = Array.from({ length: 2_500 }, (_, index) => 2 ** 30 + index);
  assert.equal((await unlinkedBytes(ended, uid)).size, 0);
  assert.equal((await unlinkedBytes([], uid)).size, 0);
});
