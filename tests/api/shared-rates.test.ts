import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { type TestContext } from 'node:test';
import type { SharedCounts } from '../../src/server/rates.ts';
import { openSqliteStore } from '../../src/store/sqlite/open.ts';
import { ownerActor } from '../support/fake-control.ts';
import { openTestServer, type TestServer, wideRates } from '../support/test-server.ts';

/** Rates of servers on one store: all of them together allow about what one does. */

async function openServers(t: TestContext, count: number, rates: object): Promise<TestServer[]> {
  const folder = mkdtempSync(join(tmpdir(), 'sealwright-rates-'));
  const file = join(folder, 'store.sqlite');
  const stores = await Promise.all(Array.from({ length: count }, () => openSqliteStore({ file })));
  const servers = await Promise.all(
    stores.map(async ({ identity }) => {
      const sharedCounts: SharedCounts = {
        add: (counts, endsAt) => identity.attempts.addAll(counts, endsAt, Date.now()),
      };
      return await openTestServer(t, { sharedCounts, rateLimits: { ...wideRates, ...rates } });
    }),
  );
  t.after(async () => {
    for (const store of stores) await store.close();
    rmSync(folder, { recursive: true, force: true });
  });
  for (const server of servers) server.control.actors.set('other', { ...ownerActor, id: 'user:other' });
  return servers;
}

/** Asks each in turn; how many of the answers are not 429. */
async function allowed(servers: readonly TestServer[], asks: number, token: string): Promise<number> {
  let sum = 0;
  for (let turn = 0; turn < asks; turn++) {
    const { status } = await servers[turn % servers.length]!.call('GET', '/api/v1/runs', { token });
    if (status !== 429) sum += 1;
  }
  return sum;
}

test('an actor that asks three servers in turns is allowed about what one of them allows', async (t) => {
  const servers = await openServers(t, 3, { default: 120 });
  const sum = await allowed(servers, 600, 'owner-token');
  t.diagnostic(`${sum} of 600 were allowed, of a rate of 120`);
  assert(sum >= 120 && sum <= 180, `${sum}`);
  assert.equal(await allowed(servers, 30, 'other'), 30, 'another actor is not held');
});

test('guesses at three servers in turns are as many as one of them allows, exactly', async (t) => {
  const servers = await openServers(t, 3, { signIn: 12 });
  assert.equal(await allowed(servers, 90, 'a guess'), 12);
  assert.equal(await allowed(servers, 9, 'owner-token'), 9);
});
