import assert from 'node:assert/strict';
import { chmodSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, test } from 'node:test';
import { buildProgram, runProgram } from '../program.ts';
import { TestServer, testContext } from '../test-api.ts';
import { bytesOf, type TestEnvironment, testEnvironment } from '../test-environment.ts';
import { sshFolder } from './key-files.ts';
import { wordsOfSsh } from './ssh.ts';

let environment: TestEnvironment;
let server: TestServer;
beforeEach(() => {
  environment = testEnvironment();
  server = new TestServer();
});
afterEach(() => environment.dispose());

function run(...words: string[]): Promise<number> {
  const context = testContext(environment, server);
  return runProgram(
    buildProgram(context, () => {}),
    words,
    context,
  );
}

const hosts = (): string[] => environment.stdout.text.split('\n').filter((line) => line.startsWith('Host '));

test('ssh-config prints the block of one run, and makes the keys that it names', async () => {
  const { id } = server.run('build', { phase: 'running' });
  assert.equal(await run('ssh-config', 'build'), 0);
  assert.deepEqual(hosts(), [`Host ${id}.sealwright build.sealwright`]);
  const proxy = `  ProxyCommand /opt/sealwright/bin/sealwright --url http://127.0.0.1:7717 ssh-proxy ${id}\n`;
  assert.ok(environment.stdout.text.includes(proxy));
  const [, identity = ''] = /IdentityFile (.*)/.exec(environment.stdout.text) ?? [];
  assert.ok(existsSync(identity));
  assert.equal(environment.stderr.text, '');
});

test('ssh-config --all prints a block for each run, of which the newest has a name that several bear', async () => {
  const runs = ['same', null, 'same'].map((name) => server.run(name, { phase: 'running' }).id);
  assert.equal(await run('ssh-config', '--all'), 0);
  assert.deepEqual(hosts(), [
    `Host ${runs[2]}.sealwright same.sealwright`,
    `Host ${runs[1]}.sealwright`,
    `Host ${runs[0]}.sealwright`,
  ]);
});

test('ssh-config takes one run or --all', async () => {
  server.run('build', { phase: 'running' });
  assert.equal(await run('ssh-config'), 2);
  assert.equal(await run('ssh-config', 'build', '--all'), 2);
  assert.match(environment.stderr.text, /Name one run, or give --all/);
});

test('a run that has ended is told with what to do', async () => {
  const { id } = server.run('old', { phase: 'succeeded' });
  for (const command of ['ssh', 'ssh-config', 'ssh-proxy']) assert.equal(await run(command, 'old'), 1);
  assert.equal(environment.stderr.text.split(`sealwright resume ${id}`).length, 4);
  assert.equal(environment.stdout.text, '');
});

test('a folder that ssh cannot be told of is said', async () => {
  server.run('build', { phase: 'running' });
  const state = join(environment.folder, 'a "quoted" one');
  Object.assign(environment.variables, { XDG_STATE_HOME: state });
  assert.equal(await run('ssh-config', 'build'), 1);
  assert.match(environment.stderr.text, /Set XDG_STATE_HOME/);
});

test('ssh-proxy on a terminal says what it is for', async () => {
  server.run('build', { phase: 'running' });
  environment.stdin = { isTerminal: true, read: () => bytesOf('') };
  assert.equal(await run('ssh-proxy', 'build'), 2);
  assert.match(environment.stderr.text, /ssh starts it\.\n {2}sealwright ssh build/);
});

test('ssh-proxy answers what is not SSH with nothing but its name', async () => {
  server.run('build', { phase: 'running' });
  environment.stdin = { isTerminal: false, read: () => bytesOf('GET / HTTP/1.1\r\n\r\n') };
  assert.equal(await run('ssh-proxy', 'build'), 1);
  assert.match(environment.stdout.text, /^SSH-2\.0-sealwright\r\n/);
  assert.match(environment.stderr.text, /Nobody spoke SSH/);
});

test('ssh-proxy refuses keys that others can read', async () => {
  server.run('build', { phase: 'running' });
  assert.equal(await run('ssh-config', 'build'), 0);
  chmodSync(join(sshFolder(environment), 'id_ed25519'), 0o644);
  environment.stdin = { isTerminal: false, read: () => bytesOf('SSH-2.0-x\r\n') };
  assert.equal(await run('ssh-proxy', 'build'), 1);
  assert.match(environment.stderr.text, /others can read it or own it/);
});

test('ssh is started with what a block says, its options before the host and the command behind it', async () => {
  const { id } = server.run('build', { phase: 'running' });
  const folder = join(environment.folder, 'bin');
  mkdirSync(folder);
  writeFileSync(join(folder, 'ssh'), '#!/bin/sh\nprintf "%s\\n" "$@" >"$HOME/words"\nexit 9\n', {
    mode: 0o755,
  });
  const path = `${folder}:${environment.variables.PATH}`;
  Object.assign(environment.variables, { PATH: path });
  assert.equal(await run('ssh', 'build', '-N', '-L', '3000:localhost:3000', '--', 'make', '-j2'), 9);
  const words = readFileSync(join(environment.folder, 'words'), 'utf8').trim().split('\n');
  assert.ok(words.includes('StrictHostKeyChecking=yes') && words.includes('IdentitiesOnly=yes'));
  const behind = ['-N', '-L', '3000:localhost:3000', `${id}.sealwright`, 'make', '-j2'];
  assert.deepEqual(words.slice(-behind.length), behind);
});

test('words that begin with a dash are ssh’s, others are the command', () => {
  assert.deepEqual(wordsOfSsh([]), { flags: [], command: [] });
  assert.deepEqual(wordsOfSsh(['make', '-j2']), { flags: [], command: ['make', '-j2'] });
  assert.deepEqual(wordsOfSsh(['--', 'ls', '-l']), { flags: [], command: ['ls', '-l'] });
  assert.deepEqual(wordsOfSsh(['-N', '-L', 'x']), { flags: ['-N', '-L', 'x'], command: [] });
});
