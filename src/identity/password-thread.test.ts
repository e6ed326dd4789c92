import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { readdirSync } from 'node:fs';
import { getPriority } from 'node:os';
import { test } from 'node:test';
import { Worker } from 'node:worker_threads';
import { PasswordThread } from './password-thread.ts';

const cost = { memoryCost: 64, timeCost: 1, parallelism: 1, outputLen: 32 } as const;
const salted = () => ({ ...cost, salt: randomBytes(16) });

const threads = () => readdirSync('/proc/self/task').map(Number);

test('whoever hashes has the lowest priority, and the rest of the program keeps its own', async () => {
  const before = new Set(threads());
  const own = getPriority(0);
  const thread = new PasswordThread();
  await thread.hash('correct horse', salted());
  const priorities = threads()
    .filter((id) => !before.has(id))
    .map((id) => getPriority(id));
  assert.equal(priorities.filter((priority) => priority === 19).length, 1);
  assert.equal(getPriority(0), own);
});

test('a password is known by its hash and by no other', async () => {
  const thread = new PasswordThread();
  const kept = await thread.hash('correct horse', salted());
  assert.equal(await thread.verify(kept, 'correct horse'), true);
  assert.equal(await thread.verify(kept, 'wrong horse'), false);
});

test('what cannot be verified rejects alone, and the thread goes on', async () => {
  const thread = new PasswordThread();
  const kept = await thread.hash('correct horse', salted());
  const [broken, sound] = await Promise.allSettled([
    thread.verify('$argon2id$nonsense', 'correct horse'),
    thread.verify(kept, 'correct horse'),
  ]);
  assert.equal(broken.status, 'rejected');
  assert.deepEqual(sound, { status: 'fulfilled', value: true });
});

test('calls of a thread that dies reject, and the next call has another thread', async () => {
  const started: Worker[] = [];
  const thread = new PasswordThread(() => {
    const worker = new Worker(new URL('./password-worker.ts', import.meta.url));
    started.push(worker);
    return worker;
  });
  const kept = await thread.hash('correct horse', { ...salted(), memoryCost: 65_536, timeCost: 3 });
  const cut = thread.verify(kept, 'correct horse');
  await Promise.all([assert.rejects(cut, /ended/), started[0]?.terminate()]);
  assert.equal(await thread.verify(kept, 'correct horse'), true);
  assert.equal(started.length, 2);
});
