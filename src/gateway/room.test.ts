import assert from 'node:assert/strict';
import { once } from 'node:events';
import { Socket } from 'node:net';
import { test } from 'node:test';
import { systemClock } from '../base/clock.ts';
import { Room } from './room.ts';
import { SandboxDoor } from './sandbox-door.ts';
import { TestGate } from './test-gate.ts';

/** Takes all that one may have. */
function takeAll(room: Room): number {
  let held = 0;
  while (room.take(held)) held += 1;
  return held;
}

test('however many take all they may, the next one finds a place', () => {
  const room = new Room(100);
  const held = [takeAll(room), takeAll(room), takeAll(room)];
  assert.deepEqual(held, [50, 25, 13]);
  assert.equal(takeAll(room), 6);
});

test('there are never more than the places, and a place that was left is had again', () => {
  const room = new Room(2);
  assert.ok(room.take(0));
  assert.ok(room.take(0));
  assert.ok(!room.take(0));
  room.leave();
  assert.ok(room.take(0));
});

test('connections of one sandbox leave room for those of another, and a closed one makes room', async (t) => {
  const { upstreams, recorder, authority } = new TestGate(t, { rules: [] });
  const room = new Room(4);
  const [greedy, other] = [1, 2].map(
    () => new SandboxDoor({ upstreams, recorder, clock: systemClock, room, era: 0, authority }),
  );
  const sockets = Array.from({ length: 4 }, () => new Socket());
  assert.deepEqual(
    sockets.map((socket) => greedy!.enter(socket)),
    [true, true, false, false],
  );
  assert.ok(other!.enter(new Socket()));
  assert.ok(!other!.enter(new Socket()));
  sockets[0]!.destroy();
  await once(sockets[0]!, 'close');
  assert.ok(other!.enter(new Socket()));
});
