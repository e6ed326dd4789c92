import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
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
});
