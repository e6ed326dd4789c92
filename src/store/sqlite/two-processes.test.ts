import assert from 'node:assert/strict';
import { type ChildProcessByStdio, spawn } from 'node:child_process';
import { randomInt } from 'node:crypto';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface, type Interface } from 'node:readline';
import type { Readable, Writable } from 'node:stream';
import { describe, it } from 'node:test';
import type { Store } from '../store.ts';
import { newSignIn } from '../test-identity.ts';
import { openSqliteStore } from './open.ts';

const support = join(import.meta.dirname, '..', '..', '..', 'tests', 'support');
const kills = 8;
const newFiles = 12;

type User = {
  readonly child: ChildProcessByStdio<Writable, Readable, null>;
  readonly said: Interface;
  readonly lines: string[];
};

/** Resolves when the process is ready, as its first line says; `lines` grows with what it says afterwards. */
async function startProgram(program: string, ...words: string[]): Promise<User> {
  const args = [join(support, program), ...words];
  const child = spawn(process.execPath, args, { env: {}, stdio: ['pipe', 'pipe', 'inherit'] });
  const said = createInterface({ input: child.stdout });
  const lines: string[] = [];
  await once(said, 'line');
  said.on('line', (line) => lines.push(line));
  return { child, said, lines };
}

async function start(onLine: (user: User) => void, ...words: string[]): Promise<User> {
  const user = await startProgram('refresh-user.ts', ...words);
  user.said.on('line', () => onLine(user));
  return user;
}

async function inEmptyFolder(act: (folder: string) => Promise<void>): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), 'sealwright-store-'));
  try {
    await act(folder);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

function inFolder(act: (file: string, store: Store) => Promise<void>): Promise<void> {
  return inEmptyFolder(async (folder) => {
    const file = join(folder, 'store.db');
    const store = await openSqliteStore({ file });
    try {
      await act(file, store);
    } finally {
      await store.close();
    }
  });
}

describe('a new store that several processes open at once', () => {
  it('is made once, and open to all of them', () =>
    inEmptyFolder(async (folder) => {
      const openers = await Promise.all([0, 1, 2].map(() => startProgram('store-opener.ts')));
      for (let round = 0; round < newFiles; round += 1) {
        const opened = openers.map(({ said }) => once(said, 'line'));
        for (const { child } of openers) child.stdin.write(`${join(folder, `${round}.db`)}\n`);
        await Promise.all(opened);
      }
      for (const { child } of openers) child.stdin.end();
      for (const { lines } of openers) assert.deepEqual(lines, Array(newFiles).fill('open'));
    }));

  it('is made whole by the next process where the one that made it is killed at any moment', () =>
    inEmptyFolder(async (folder) => {
      for (let round = 0; round < kills; round += 1) {
        const file = join(folder, `${round}.db`);
        const { child } = await startProgram('store-opener.ts');
        child.stdin.write(`${file}\n`);
        setTimeout(() => child.kill('SIGKILL'), randomInt(0, 40));
        await once(child, 'close');
        const store = await openSqliteStore({ file });
        await store.check();
        await store.close();
      }
    }));

  it('is open to all of one process too', () =>
    inEmptyFolder(async (folder) => {
      const file = join(folder, 'store.db');
      const stores = await Promise.all([0, 1, 2].map(() => openSqliteStore({ file })));
      for (const store of stores) await store.check();
      for (const store of stores) await store.close();
    }));
});

describe('refresh tokens of one store in two processes', () => {
  it('of fifty uses of one token one wins, and then the family is dead for all', () =>
    inFolder(async (file, store) => {
      const signIn = newSignIn();
      await store.identity.signIns.create(signIn, 'first');
      const users = await Promise.all([0, 1].map(() => start(() => undefined, 'race', file, 'first', '25')));
      const ended = users.map(({ child }) => once(child, 'close'));
      for (const { child } of users) child.stdin.write('go\n');
      await Promise.all(ended);
      const lines = users.flatMap(({ lines }) => lines);
      assert.equal(lines.length, 50);
      const won = lines.filter((line) => line.startsWith('rotated '));
      assert.equal(won.length, 1);
      assert.equal(lines.filter((line) => line.startsWith('reused ')).length, 49);
      assert.equal(await store.identity.signIns.get(signIn.id, 1100), null);
      const next = won[0]!.slice('rotated '.length);
      assert.equal((await store.identity.signIns.rotate(next, 'after', 1100)).outcome, 'absent');
    }));

  it('a process killed at any moment leaves one token that works, or the next one that it never told', () =>
    inFolder(async (file, store) => {
      const { signIns } = store.identity;
      for (let round = 0; round < kills; round += 1) {
        const signIn = newSignIn();
        await signIns.create(signIn, `r${round}`);
        const until = randomInt(1, 60);
        const killed = await start(
          ({ child, lines }) => lines.length >= until && child.kill('SIGKILL'),
          'chain',
          file,
          `r${round}`,
        );
        const [, signal] = await once(killed.child, 'close');
        assert.equal(signal, 'SIGKILL');
        const told = killed.lines.map((line) => line.split(' '));
        assert(told.every(([outcome]) => outcome === 'rotated'));
        // Everything before the last token that was told is used, durably: it ends the family, and never goes on.
        assert.notEqual(await signIns.get(signIn.id, 1100), null);
        const last = told.at(-1)![1]!;
        const { outcome } = await signIns.rotate(last, `${last}-after`, 1100);
        if (outcome === 'rotated') {
          assert.equal((await signIns.rotate(`r${round}`, 'stolen', 1100)).outcome, 'reused');
        } else assert.equal(outcome, 'reused');
        assert.equal(await signIns.get(signIn.id, 1100), null);
        assert.equal((await signIns.rotate(`${last}-after`, 'later', 1100)).outcome, 'absent');
      }
    }));
});
