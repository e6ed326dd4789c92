import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { CheckpointClaim } from '../contract/runner.ts';
import type { NewEvent } from './event.ts';
import { Heartbeat } from './heartbeat.ts';

const claim: CheckpointClaim = { stream: 'control', origin: 'o', size: 7, root: `${'A'.repeat(43)}=` };

/** Notes in memory; `next` resolves with the one that comes. */
function notebook() {
  const notes: NewEvent[] = [];
  let wake: () => void = () => undefined;
  const log = {
    fails: false,
    append: async (event: NewEvent) => {
      wake();
      if (log.fails) throw new Error('the disk is full');
      notes.push(event);
      return { id: 'evt_0' as const, seq: notes.length, hash: '' };
    },
  };
  const next = () =>
    new Promise<void>((resolve) => {
      wake = resolve;
    });
  return { log, notes, next };
}

test('a writer says that it is there again and again, with the newest checkpoint of every other stream', async () => {
  const { log, notes, next } = notebook();
  let others: CheckpointClaim[] = [];
  const heartbeat = new Heartbeat({ log, stream: 'runner-aaaaaa', others: () => others, everyMs: 1 });
  await next();
  others = [claim];
  await next();
  await next();
  await heartbeat.close();
  const beats = notes.filter(({ action }) => action === 'audit.heartbeat');
  assert.deepEqual(beats[0]?.data, { checkpoints: [] });
  assert.deepEqual(beats.at(-1)?.data, { checkpoints: [claim] });
  assert.deepEqual(beats[0]?.resource, { kind: 'audit', id: 'runner-aaaaaa' });
});

test('its last word says that the silence after it is meant, and nothing follows', async () => {
  const { log, notes } = notebook();
  const heartbeat = new Heartbeat({ log, stream: 'control', others: () => [claim] });
  await heartbeat.close();
  assert.deepEqual(
    notes.map(({ action, data }) => [action, data]),
    [['audit.closed', { checkpoints: [claim] }]],
  );
});

test('a beat that cannot be written is left to the log to tell of, and the next one is tried', async () => {
  const { log, notes, next } = notebook();
  log.fails = true;
  const heartbeat = new Heartbeat({ log, stream: 'control', others: () => [], everyMs: 1 });
  await next();
  log.fails = false;
  await next();
  await next();
  await heartbeat.close();
  assert(notes.some(({ action }) => action === 'audit.heartbeat'));
});
