import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import {
  closeSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  rmSync,
  symlinkSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
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

test('folders deeper than a path can name are measured too', async () => {
  execFileSync(
    'perl',
    ['-e', 'my $name = "d" x 250; for (1 .. 20) { mkdir $name or die; chdir $name or die }'],
    {
      cwd: folder,
    },
  );
  assert.ok((await stillFolderBytes([folder])) >= 21 * localLimits.inodeBytes);
  execFileSync('/bin/rm', ['-rf', join(folder, 'd'.repeat(250))]);
});

test('what a process holds open after it was removed counts as growth', async () => {
  const path = join(folder, 'removed');
  const fd = openSync(path, 'w');
  rmSync(path);
  const overrun = Promise.withResolvers<void>();
  const watcher = new DiskWatcher([folder], 1_000_000, overrun.resolve, () => [process.pid]);
  watcher.start();
  writeSync(fd, Buffer.alloc(2_000_000, 1));
  await overrun.promise;
  closeSync(fd);
});
