import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import { temporaryFolder } from '../support/audit.ts';
import { bundledWriter, ended, keepsItsWord, makeKey, toldIn } from '../support/crash-runs.ts';

/**
 * A log on a device that fails: every system call that a writer makes on its files is made to fail, one in each run, by
 * strace (its --inject). What was acknowledged is there, what was refused is not, and the log verifies and goes on.
 */

const withoutStrace = spawnSync('strace', ['-V']).status === 0 ? false : 'there is no strace';
const lanes = 3;
const callsMax = 400;
const writer = bundledWriter();
after(() => writer[Symbol.dispose]());

/** Calls that write, with an error that each may have, and whether every later one fails too, or another call. */
const injections: [calls: string, error: string, rest: '' | '+', also?: string][] = [
  ['write', 'ENOSPC', ''],
  ['write', 'EIO', '+'],
  ['fdatasync', 'EIO', ''],
  ['fdatasync', 'ENOSPC', '+'],
  ['fsync', 'EIO', ''],
  // What failed cannot be taken back at once either.
  ['fdatasync', 'EIO', '', 'ftruncate:error=EIO:when=1'],
  ['rename', 'EIO', ''],
  ['openat', 'EIO', ''],
];

/** The paths whose calls are counted and fail; a call is counted by the path or by what its descriptor stands for. */
function pathsIn(folder: string): string[] {
  const own = ['', '0000000000000001.jsonl', 'checkpoint', 'checkpoint.new', 'probe'];
  const names = [...own.map((name) => join('control', name)), 'key.next.pem', 'key.next.pem.new'];
  return names.map((name) => join(folder, name).replace(/\/$/, ''));
}

function traced(folder: string, log: string, words: readonly string[]): string[] {
  const paths = pathsIn(folder).flatMap((path) => ['-P', path]);
  return [
    'strace',
    '-f',
    '-qq',
    '-o',
    log,
    ...paths,
    ...words,
    process.execPath,
    writer.path,
    folder,
    'script',
    'x',
  ];
}

/** How many such calls an undisturbed run makes. */
async function countOf(calls: string): Promise<number> {
  using folder = temporaryFolder();
  makeKey(folder.path);
  const log = join(folder.path, 'strace');
  const { output } = await ended(traced(folder.path, log, ['-e', `trace=${calls}`]));
  assert.match(output, /closed\n$/);
  return readFileSync(log, 'utf8')
    .split('\n')
    .filter((line) => line.includes(`${calls}(`)).length;
}

/** Whether the call was made to fail. */
async function injected(calls: string, error: string, when: string, also?: string): Promise<boolean> {
  using folder = temporaryFolder();
  makeKey(folder.path);
  const log = join(folder.path, 'strace');
  const what = `inject=${calls}:error=${error}:when=${when}`;
  const more = also === undefined ? [] : ['-e', `inject=${also}`];
  const words = ['-e', `trace=${calls},ftruncate`, '-e', what, ...more];
  const { output } = await ended(traced(folder.path, log, words));
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
  if (told.refused.length > 0 && /closed\n$/.test(output) && !when.endsWith('+'))
    assert(
      events.some(({ action }) => action === 'audit.gap'),
      `${what}: no gap is on record`,
    );
  return readFileSync(log, 'utf8').includes('INJECTED');
}

describe('every call that fails', { skip: withoutStrace }, () => {
  for (const [calls, error, rest, also = ''] of injections)
    test(`${calls}: ${error}${rest === '' ? '' : ', and every one after it'}${also === '' ? '' : `, and ${also}`}`, async () => {
      const count = await countOf(calls);
      assert(count > 0 && count < callsMax, `${count} calls`);
      let hits = 0;
      let next = 1;
      const lane = async () => {
        for (let at = next++; at <= count; at = next++)
          if (await injected(calls, error, `${at}${rest}`, also || undefined)) hits += 1;
      };
      await Promise.all(Array.from({ length: lanes }, lane));
      assert(hits > 0, 'control: calls were made to fail');
      assert(hits >= count * 0.6, `${hits} of ${count}`);
    });
});
