import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import {
  chmodSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { ApiError } from '../client/api-error.ts';
import type { RemoteExec } from '../client/attach/pipes.ts';
import type { CreateExec } from '../contract/attach-schemas.ts';
import { buildProgram, runProgram } from './program.ts';
import { TestServer, testContext } from './test-api.ts';
import { bytesOf, type TestEnvironment, testEnvironment } from './test-environment.ts';

let environment: TestEnvironment;
let server: TestServer;
let sandbox: string;
beforeEach(() => {
  environment = testEnvironment();
  server = new TestServer();
  server.run('build', { phase: 'running' });
  sandbox = join(environment.folder, 'sandbox');
  mkdirSync(sandbox);
  server.attach.openExec = (request) => inSandbox(request);
});
afterEach(() => environment.dispose());

/** Runs what the sandbox would, in a folder of this machine. */
function inSandbox({ command }: CreateExec): RemoteExec {
  const [program = '', ...words] = command;
  const child = spawn(program, words, { cwd: sandbox, stdio: 'pipe' });
  child.stdin.on('error', () => {});
  const exit = once(child, 'close').then(([code]) => ({ code: code as number, signal: null }));
  return {
    stdin: child.stdin,
    stdout: child.stdout,
    stderr: child.stderr,
    exit,
    resize() {},
    close: () => child.kill(),
  };
}

/** A sandbox that says this, whatever it is asked. */
function says(bytes: Uint8Array | string, status = 0): void {
  server.attach.openExec = null;
  server.attach.onExec = async () => ({ status, stdout: bytes });
}

function cp(...words: string[]): Promise<number> {
  const context = testContext(environment, server);
  environment.stdout.chunks.length = 0;
  environment.stderr.chunks.length = 0;
  return runProgram(
    buildProgram(context, () => {}),
    ['cp', ...words],
    context,
  );
}

const here = (...parts: string[]) => join(environment.folder, ...parts);
const there = (...parts: string[]) => join(sandbox, ...parts);
const err = () => environment.stderr.text;

describe('cp', () => {
  it('copies a file out and in, whole, with its mode, under another name or into a folder', async () => {
    const bytes = randomBytes(3_000_000);
    writeFileSync(there('a b'), bytes, { mode: 0o750 });
    assert.equal(await cp('build:a b', 'copy'), 0, err());
    assert(readFileSync(here('copy')).equals(bytes));
    assert.equal(statSync(here('copy')).mode & 0o777, 0o750 & ~process.umask());
    assert.equal(await cp(`build:${there('a b')}`, '.'), 0);
    assert(readFileSync(here('a b')).equals(bytes));
    mkdirSync(there('into'));
    assert.equal(await cp('copy', 'build:into'), 0, err());
    assert.equal(await cp('copy', 'build:-odd'), 0, err());
    for (const path of ['into/copy', '-odd']) {
      assert(readFileSync(there(path)).equals(bytes));
      assert.equal(statSync(there(path)).mode & 0o777, statSync(here('copy')).mode & 0o777);
    }
    assert.deepEqual(readdirSync(sandbox).sort(), ['-odd', 'a b', 'into']);
    assert.equal(await cp('build:-odd', 'back'), 0, err());
    assert.equal(await cp('back', 'build:'), 0, err());
    assert(readFileSync(there('back')).equals(bytes));
  });

  it('copies a tree out and in, with long names, empty folders and odd ones', async () => {
    const deep = Array.from({ length: 12 }, (_, at) => `folder-${at}-${'x'.repeat(20)}`).join('/');
    for (const folder of [deep, 'empty', 'ünïcöde']) mkdirSync(here('tree', folder), { recursive: true });
    writeFileSync(here('tree', deep, 'leaf'), 'leaf');
    writeFileSync(here('tree', 'ünïcöde', 'new\nline'), '');
    writeFileSync(here('tree', 'large'), randomBytes(700_001));
    writeFileSync(here('tree', 'run'), '#!', { mode: 0o755 });
    assert.equal(await cp('tree', 'build:new'), 0, err());
    const listing = (folder: string) =>
      execFileSync('find', ['.', '-type', 'f', '-exec', 'sha256sum', '{}', '+'], {
        cwd: folder,
        encoding: 'utf8',
      })
        .split('\n')
        .sort();
    assert.deepEqual(listing(there('new')), listing(here('tree')));
    assert(existsSync(there('new', 'empty')));
    assert.equal(await cp('build:new', 'again'), 0, err());
    assert.deepEqual(listing(here('again')), listing(here('tree')));
    assert.equal(statSync(here('again', 'run')).mode & 0o777, 0o755 & ~process.umask());
    assert.equal(await cp('build:new/', 'again'), 0, err());
    assert.deepEqual(listing(here('again', 'new')), listing(here('tree')));
  });

  it('leaves links and pipes out, and says so', async () => {
    mkdirSync(there('d'));
    writeFileSync(there('d', 'file'), 'x');
    symlinkSync('/etc/passwd', there('d', 'link'));
    execFileSync('ln', [there('d', 'file'), there('d', 'same')]);
    execFileSync('mkfifo', [there('d', 'pipe')]);
    assert.equal(await cp('build:d', 'd'), 0, err());
    assert.deepEqual(readdirSync(here('d')).sort(), ['file', 'same']);
    assert.match(err(), /2 links and devices are left out/);
  });

  it('streams to and from pipes, and shows nothing to a terminal as it is', async () => {
    writeFileSync(there('f'), 'bytes\x1b[2J\xff');
    assert.equal(await cp('build:f', '-'), 0);
    assert.deepEqual(environment.stdout.bytes, readFileSync(there('f')));
    environment.stdout.isTerminal = true;
    assert.equal(await cp('build:f', '-'), 0);
    assert.doesNotMatch(environment.stdout.text, /\x1b/);
    environment.stdin = { isTerminal: false, read: () => bytesOf('from a pipe') };
    assert.equal(await cp('-', 'build:g'), 0, err());
    assert.equal(readFileSync(there('g'), 'utf8'), 'from a pipe');
    assert.equal(await cp('-', 'build:.'), 1);
    assert.match(err(), /is a folder: name the file/);
  });

  it('says what the sandbox complains of, harmlessly, and leaves nothing half done', async () => {
    assert.equal(await cp('build:absent\x1b[2J', 'x'), 1);
    assert.match(err(), /There is no absent\\e\[2J/);
    assert.equal(await cp('nothing-here', 'build:x'), 1);
    writeFileSync(here('f'), 'x');
    assert.equal(await cp('f', 'build:no/such/folder/x'), 1);
    server.attach.openExec = null;
    server.attach.onExec = async () => {
      throw new ApiError({ status: 0, code: 'server.unreachable', detail: 'It broke off.' });
    };
    writeFileSync(here('kept'), 'old');
    assert.equal(await cp('build:f', 'kept'), 1);
    says('file 644\nhalf', 1);
    assert.equal(await cp('build:f', 'kept'), 1);
    assert.equal(readFileSync(here('kept'), 'utf8'), 'old');
    assert.deepEqual(readdirSync(environment.folder).sort(), ['f', 'kept', 'sandbox']);
    for (const line of ['file 99999\n', 'folder\n', 'x'.repeat(100), '\n', 'link 777\n']) {
      says(line);
      assert.equal(await cp('build:f', 'new'), 1, line);
    }
    assert(!existsSync(here('new')));
  });

  it('a file that comes out is no program that runs as somebody else, and replaces a link, not what it leads to', async () => {
    writeFileSync(here('precious'), 'precious');
    symlinkSync('precious', here('link'));
    says('file 4755\nevil');
    assert.equal(await cp('build:f', 'link'), 0, err());
    assert.equal(readFileSync(here('precious'), 'utf8'), 'precious');
    assert.equal(readFileSync(here('link'), 'utf8'), 'evil');
    assert.equal(lstatSync(here('link')).mode & 0o7000, 0);
  });

  it('wants one of the two in a run', async () => {
    assert.equal(await cp('a', 'b'), 2);
    assert.equal(await cp('build:a', 'build:b'), 2);
    chmodSync(sandbox, 0o755);
    assert.equal(await cp('build:/', 'sandbox'), 2);
  });
});
