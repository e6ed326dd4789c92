import assert from 'node:assert/strict';
import { closeSync, readFileSync } from 'node:fs';
import { Socket } from 'node:net';
import { text } from 'node:stream/consumers';
import { test } from 'node:test';
import { keepDescriptorsFromChildren, pipe } from './libc.ts';
import { posixSpawn, reap } from './posix-spawn.ts';

keepDescriptorsFromChildren();

async function outcome(words: readonly string[]): Promise<{ said: string; code: number | null }> {
  const output = pipe();
  const pid = posixSpawn({
    program: words[0]!,
    words,
    descriptors: new Map([
      [1, output.write],
      [2, output.write],
    ]),
  });
  closeSync(output.write);
  const said = await text(new Socket({ fd: output.read, writable: false }));
  for (;;) {
    const ended = reap(pid);
    if (ended !== null) return { said, code: ended.code };
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
}

test('a program gets its words, an empty environment and only the descriptors it was given', async () => {
  const { said, code } = await outcome([
    '/bin/sh',
    '-c',
    // biome-ignore lint/suspicious/noTemplateCurlyInString: it is the shell's
    'echo "$1"; /usr/bin/env | grep -v -E "^(PWD|_|SHLVL)="; pwd; for fd in /proc/$$/fd/*; do [ ! -e $fd ] || echo ${fd##*/}; done; exit 5',
    'sh',
    "it's $x",
  ]);
  assert.equal(said, "it's $x\n/\n0\n1\n2\n");
  assert.equal(code, 5);
});

test('its signals are as if Node had never touched them', async () => {
  const { said } = await outcome(['/bin/grep', '-E', '^Sig(Blk|Ign):', '/proc/self/status']);
  // The C library keeps 32 and 33 to itself.
  assert.match(said, /^SigBlk:\t0{16}\nSigIgn:\t0{7}[01][08]0{7}\n$/);
  assert.doesNotMatch(readFileSync('/proc/self/status', 'utf8'), /SigIgn:\t0{16}\n/);
});

test('a death by signal has no code', async () => {
  assert.equal((await outcome(['/bin/sh', '-c', 'kill -9 $$'])).code, null);
});

test('a program that is not there is an error at once', () => {
  assert.throws(
    () => posixSpawn({ program: '/no/such', words: ['x'], descriptors: new Map([[1, 99]]) }),
    /ENOENT|EBADF/,
  );
});
