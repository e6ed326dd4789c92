import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { cpSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { segmentEvents } from '../../src/audit/segments.ts';
import { temporaryFolder } from '../support/audit.ts';
import { bundledWriter, ended, fillTo, keepsItsWord, makeKey, toldIn } from '../support/crash-runs.ts';

/**
 * A log on a device that fails: every system call that a writer makes on its files is made to fail, one in each run, by
 * strace (its --inject). What was acknowledged is there, what was refused is not, and the log verifies and goes on.
 */

const withoutStrace = spawnSync('strace', ['-V']).status === 0 ? false : 'there is no strace';
const lanes = 3;
const callsMax = 400;
const writer = bundledWriter();
after(() => writer[Symbol.dispose]());

/** A call, with an error that it may have, and whether every later one fails too, or another call. */
type Injection = [calls: string, error: string, rest: '' | '+', also?: string];

/** What a writer finds, and the files in its folder whose calls are counted and fail. */
type Setting = {
  readonly prepare: (folder: string) => void;
  readonly names: readonly string[];
  readonly injections: readonly Injection[];
};

const first = join('control', '0000000000000001.jsonl');
const ownNames = ['control', first, join('control', 'checkpoint'), join('control', 'checkpoint.new')];

const anew: Setting = {
  prepare: makeKey,
  names: [...ownNames, join('control', 'probe'), 'key.next.pem', 'key.next.pem.new'],
  injections: [
    ['write', 'ENOSPC', ''],
    ['write', 'EIO', '+'],
    ['fdatasync', 'EIO', ''],
    ['fdatasync', 'ENOSPC', '+'],
    ['fsync', 'EIO', ''],
    // What failed cannot be taken back at once either.
    ['fdatasync', 'EIO', '', 'ftruncate:error=EIO:when=1'],
    ['rename', 'EIO', ''],
    ['openat', 'EIO', ''],
    ['mkdir', 'ENOSPC', ''],
  ],
};

const full = temporaryFolder();
after(() => full[Symbol.dispose]());
/** What the writer's acts reach in the middle of three that are written at once. */
const eventsBeforeEnd = 5;

const atSegmentEnd: Setting = {
  prepare: (folder) => cpSync(full.path, folder, { recursive: true }),
  names: [
    'control',
    join('control', '0000000000065537.jsonl'),
    join('control', '0000000000000001.hashes'),
    join('control', '0000000000000001.hashes.new'),
  ],
  injections: [
    ['write', 'ENOSPC', ''],
    ['write', 'EIO', '+'],
    ['fdatasync', 'EIO', ''],
    ['fdatasync', 'EIO', '', 'ftruncate:error=EIO:when=2'],
    ['fsync', 'EIO', ''],
    ['ftruncate', 'EIO', ''],
    ['rename', 'EIO', ''],
    ['openat', 'EMFILE', ''],
  ],
};

function traced(
  { names }: Pick<Setting, 'names'>,
  folder: string,
  log: string,
  words: readonly string[],
): string[] {
  // A call is counted by the path or by what its descriptor stands for.
  const paths = names.flatMap((name) => ['-P', join(folder, name)]);
  const strace = ['strace', '-f', '-qq', '-o', log, ...paths, ...words];
  return [...strace, process.execPath, writer.path, folder, 'script', 'x'];
}

/** The calls that an undisturbed run makes. */
async function callsOf(setting: Pick<Setting, 'prepare' | 'names'>, calls: string): Promise<string[]> {
  using folder = temporaryFolder();
  setting.prepare(folder.path);
  const log = join(folder.path, 'strace');
  const { output } = await ended(traced(setting, folder.path, log, ['-e', `trace=${calls}`]));
  assert.match(output, /closed\n$/);
  return readFileSync(log, 'utf8')
    .split('\n')
    .filter((line) => /^\d+ +\w+\(/.test(line));
}

/** Whether the call was made to fail. */
async function injected(setting: Setting, [calls, error, rest, also]: Injection, at: number) {
  using folder = temporaryFolder();
  setting.prepare(folder.path);
  const log = join(folder.path, 'strace');
  const what = `inject=${calls}:error=${error}:when=${at}${rest}`;
  const more = also === undefined ? [] : ['-e', `inject=${also}`];
  const words = ['-e', `trace=${calls},ftruncate`, '-e', what, ...more];
  const { output } = await ended(traced(setting, folder.path, log, words));
  const told = toldIn(output);
  const again = await ended(
    [process.execPath, writer.path, folder.path, 'endless', 'again'],
    async (child, opened) => {
      await opened;
      child.kill('SIGKILL');
    },
  );
  assert.match(again.output, /^opened\n/, `${what}: it does not go on`);
  const events = await keepsItsWord(folder.path, [told, toldIn(again.output)]);
  if (told.refused.length > 0 && /closed\n$/.test(output) && rest !== '+')
    assert(
      events.some(({ action }) => action === 'audit.gap'),
      `${what}: no gap is on record`,
    );
  return readFileSync(log, 'utf8').includes('INJECTED');
}

async function everyCallFails(setting: Setting, injection: Injection): Promise<void> {
  const { length: count } = await callsOf(setting, injection[0]);
  assert(count > 0 && count < callsMax, `${count} calls`);
  let hits = 0;
  let next = 1;
  const lane = async () => {
    for (let at = next++; at <= count; at = next++) if (await injected(setting, injection, at)) hits += 1;
  };
  await Promise.all(Array.from({ length: lanes }, lane));
  assert(hits > 0, 'control: calls were made to fail');
  assert(hits >= count * 0.6, `${hits} of ${count}`);
}

function nameOf([calls, error, rest, also]: Injection): string {
  return `${calls}: ${error}${rest === '' ? '' : ', and every one after it'}${also === undefined ? '' : `, and ${also}`}`;
}

describe('every call that fails', { skip: withoutStrace }, () => {
  for (const injection of anew.injections) test(nameOf(injection), () => everyCallFails(anew, injection));
});

describe('every call that fails where one segment ends and the next begins', { skip: withoutStrace }, () => {
  before(async () => {
    makeKey(full.path);
    await fillTo(full.path, segmentEvents - eventsBeforeEnd);
  });

  for (const injection of atSegmentEnd.injections)
    test(nameOf(injection), () => everyCallFails(atSegmentEnd, injection));

  test('control: no other call changes the files of a log', async () => {
    const all = { ...atSegmentEnd, names: [...new Set([...anew.names, ...atSegmentEnd.names])] };
    const others = ['pwrite64', 'writev', 'pwritev', 'pwritev2', 'fallocate', 'copy_file_range', 'sendfile'];
    const names = ['truncate', 'renameat', 'renameat2', 'link', 'linkat', 'unlinkat', 'rmdir', 'mmap'];
    assert.deepEqual(await callsOf(all, [...others, ...names].join(',')), []);
    assert((await callsOf(all, 'write')).length > 0);
  });
});
