import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync } from 'node:fs';
import { test } from 'node:test';
import { hasEnded, openProcess } from './libc.ts';

test('signals that arrive while it is asked change nothing of whether a process has ended', async () => {
  const ignore = () => undefined;
  process.on('SIGWINCH', ignore);
  const asked = spawn('sleep', ['60']);
  const fd = openProcess(asked.pid!);
  // So few that none is lost on its way through libuv's pipe, where that of a child's end goes too.
  const flood = 'i=0; while [ $i -lt 1500 ]; do kill -WINCH "$0" || exit; i=$((i+1)); done';
  const senders = [1, 2].map(() => spawn('sh', ['-c', flood, String(process.pid)], { stdio: 'ignore' }));
  let sending = senders.length;
  for (const sender of senders)
    sender.once('exit', () => {
      sending -= 1;
    });
  while (sending > 0) {
    for (let turn = 0; turn < 5_000; turn += 1) assert.equal(hasEnded(fd), false);
    await new Promise(setImmediate);
  }
  asked.kill('SIGKILL');
  await once(asked, 'exit');
  assert.equal(hasEnded(fd), true);
  closeSync(fd);
  process.off('SIGWINCH', ignore);
});
