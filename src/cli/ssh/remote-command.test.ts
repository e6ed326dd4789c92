import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { test } from 'node:test';
import { commandLine, loginShell, sftpServer, sftpServerPaths } from './remote-command.ts';

const isPath = (word: string): boolean => sftpServerPaths.includes(word);

function run(words: readonly string[], env: Record<string, string> = {}) {
  return spawnSync(words[0]!, words.slice(1), { encoding: 'utf8', env, input: 'echo "$0 $-"\n' });
}

test('a sandbox without an sftp-server says what works instead', () => {
  const nowhere = sftpServer.map((word) => (isPath(word) ? '/nowhere/sftp-server' : word));
  const { status, stderr } = run(nowhere);
  assert.equal(status, 127);
  assert.match(stderr, /no sftp-server.*scp -O or rsync/);
});

test('the first sftp-server that is there is started', () => {
  const there = [
    ...sftpServer.filter((word) => !isPath(word)),
    '/nowhere/sftp-server',
    '/bin/pwd',
    '/bin/false',
  ];
  assert.equal(run(there).status, 0);
});

test('a line is read by the shell of the sandbox, and by sh where it names none', () => {
  const line = `printf '%s|' "$0" 'a b' "$HOME"`;
  assert.equal(run(commandLine(line)!, { SHELL: '/bin/bash', HOME: '/h' }).stdout, '/bin/bash|a b|/h|');
  assert.equal(run(commandLine(line)!, { HOME: '/h' }).stdout, '/bin/sh|a b|/h|');
});

test('a shell is a login shell', () => {
  const { stdout } = run([...loginShell], { SHELL: '/bin/bash', HOME: '/nowhere' });
  assert.match(stdout, /bash/);
});
