import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, test } from 'node:test';
import { DiskWatcher, folderBytes, stillFolderBytes } from './disk.ts';
import { localLimits } from './limits.ts';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'sealwright-disk-'));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

test('both ways of measuring say the same, links unfollowed and odd names included', async () => {
  writeFileSync(join(folder, 'file'), Buffer.alloc(100_000));
  mkdirSync(join(folder, 'a\nb', 'c'), { recursive: true });
  writeFileSync(join(folder, 'a\nb', 'c', "it's"), Buffer.alloc(5_000));
  symlinkSync('/usr', join(folder, 'usr'));
  assert.equal(await stillFolderBytes([folder]), await folderBytes([folder]));
});

test('a folder of many entries is measured as exactly', async () => {
  for (let index = 0; index < localLimits.walkEntriesMax + 10; index += 1)
    writeFileSync(join(folder, String(index)), '');
  const inodes = localLimits.walkEntriesMax + 11;
  assert.ok((await stillFolderBytes([folder])) >= inodes * localLimits.inodeBytes);
});

const overrunOf = (limitBytes: number) =>
  new Promise<void>((resolve) => {
    new DiskWatcher([folder], limitBytes, resolve).start();
  });

test('growth past the limit is seen, whether by bytes or by empty files', async () => {
  writeFileSync(join(folder, 'small'), Buffer.alloc(10_000));
  const bytes = overrunOf(1_000_000);
  writeFileSync(join(folder, 'large'), Buffer.alloc(2_000_000));
  await bytes;
  rmSync(join(folder, 'large'));
  const inodes = overrunOf(200 * localLimits.inodeBytes + 20_000);
  for (let index = 0; index < 400; index += 1) writeFileSync(join(folder, `empty-${index}`), '');
  await inodes;
});

test('a folder that cannot be measured counts as overrun', async () => {
  const gone = overrunOf(1_000_000);
  rmSync(folder, { recursive: true });
  await gone;
});

test('a folder within its limit is left alone', async () => {
  let overrun = false;
  const watcher = new DiskWatcher([folder], 1_000_000, () => {
    overrun = true;
  });
  watcher.start();
  writeFileSync(join(folder, 'file'), Buffer.alloc(100_000));
  await new Promise((resolve) => setTimeout(resolve, localLimits.diskIntervalMs * 4));
  watcher.stop();
  assert.equal(overrun, false);
});
