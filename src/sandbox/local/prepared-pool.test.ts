import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import type { Prepared } from './prepared.ts';
import { PreparedPool } from './prepared-pool.ts';

const start = () => ({ isUsable: () => true, discard: async () => undefined }) as unknown as Prepared;

describe('starts kept ready', () => {
  it('are as many as they should be again, also after one could not be prepared', async () => {
    const enough = Promise.withResolvers<void>();
    let made = 0;
    let fails = 0;
    const pool = new PreparedPool(async () => {
      if (made === 3 && fails < 2) {
        fails += 1;
        throw new Error('no room');
      }
      made += 1;
      if (made === 5) enough.resolve();
      return start();
    }, 4);
    await pool.take();
    await enough.promise;
    assert.equal(fails, 2, 'the one that was taken, and four that are ready');
    await pool.close();
  });

  it('are made up for that were taken at the very end of preparing', async () => {
    const enough = Promise.withResolvers<void>();
    let made = 0;
    const pool = new PreparedPool(async () => {
      made += 1;
      // Taken between the last one's preparation and the end of preparing.
      if (made === 3) queueMicrotask(() => queueMicrotask(() => void pool.take()));
      if (made === 4) enough.resolve();
      return start();
    }, 2);
    await pool.take();
    await enough.promise;
    await pool.close();
  });

  it('are made up for where several of them had grown old', async () => {
    const isOld = new Set<Prepared>();
    const made: Prepared[] = [];
    const untilMade = async (count: number) => {
      while (made.length < count) await pause(1);
    };
    const pool = new PreparedPool(async () => {
      const prepared = {
        isUsable: () => !isOld.has(prepared),
        // Others are prepared and the preparing ends meanwhile.
        discard: async () => {
          await untilMade(4);
          await pause(10);
        },
      } as Prepared;
      made.push(prepared);
      return prepared;
    }, 2);
    await pool.take();
    await untilMade(3);
    for (const prepared of made) isOld.add(prepared);
    assert.equal(await pool.take(), made[3]);
    await untilMade(6);
    await pool.close();
  });
});
