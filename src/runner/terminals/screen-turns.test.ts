import assert from 'node:assert/strict';
import { test } from 'node:test';
import { systemClock } from '../../base/clock.ts';
import { terminalLimits } from './limits.ts';
import type { FromScreens } from './screen-messages.ts';
import { ScreenTurns } from './screen-turns.ts';

test('many small writes are drawn in few turns, in their order, and none is larger than a turn', async () => {
  const told: FromScreens[] = [];
  const asked = Promise.withResolvers<string>();
  const tell = (message: FromScreens) => {
    told.push(message);
    if ('question' in message) asked.resolve(Buffer.from(message.bytes).toString());
  };
  const turns = new ScreenTurns({ tell, clock: systemClock, drawing: new Int32Array(1) });
  turns.take({ screen: 1, order: 'open', size: { columns: 80, rows: 24 } });
  const line = (number: number) => Buffer.from(`line ${number} ${'x'.repeat(90)}\r\n`);
  for (let number = 0; number < 2_000; number += 1)
    turns.take({ screen: 1, order: 'write', bytes: line(number) });
  turns.take({ screen: 1, order: 'resize', size: { columns: 100, rows: 24 } });
  turns.take({ screen: 1, order: 'write', bytes: Buffer.from('the end') });
  turns.take({ screen: 1, order: 'snapshot', question: 7 });
  const screen = await asked.promise;
  assert.match(screen, /line 1998 x+[\s\S]*line 1999 x+[\s\S]*the end/);
  const taken = told.flatMap((message) => ('taken' in message ? message.taken : []));
  assert(taken.length < 10, `${taken.length} turns`);
  assert(taken.every((bytes) => bytes <= terminalLimits.readBytesMax));
});
