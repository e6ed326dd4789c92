import assert from 'node:assert/strict';
import { after, before, it } from 'node:test';
import { type Attached, attach, terminalRun } from '../support/attached.ts';
import { type Instance, startInstance } from '../support/instance.ts';
import { watchMemory } from '../support/resident-memory.ts';

/** Output without end, and a viewer that reads none of it. */

/** With `SEALWRIGHT_LARGE_TESTS=1` ten gigabytes, and what a stalled viewer costs is the same. */
const isLarge = process.env.SEALWRIGHT_LARGE_TESTS === '1';
const floodBytes = isLarge ? 10e9 : 200e6;
const heldBytesMax = 200 * 1024 ** 2;

let instance: Instance;

before(async () => {
  instance = await startInstance();
});

after(() => instance?.remove());

it('a viewer that reads nothing is cut, and neither the shell nor memory bears it', async () => {
  const { client } = instance;
  const { control, runner } = instance.pids();
  const flood = `read -r _; yes 'The quick brown fox jumps over the lazy dog.' | head -c ${floodBytes}; echo all""-shown; read -r _`;
  const run = await terminalRun(client, ['bash', '-c', flood], { timeoutSeconds: 7_200 });
  const driver = await attach(client, run.id, { role: 'driver' });
  const stalled = await client.attach.openTerminal({
    ticket: () => client.attach.ticket(run.id, { role: 'viewer' }),
    redraw: () => undefined,
    output: () => new Promise<void>(() => undefined),
    changed: () => undefined,
  });
  await driver.is(({ clients }) => clients.length === 2);
  const memory = watchMemory([control, runner]);
  await driver.type('\n');
  await driver.is(({ clients }) => clients.length === 1);
  await shownWithin(driver, /all-shown/, isLarge ? 7_200_000 : 240_000);
  for (const growth of memory.growth()) assert(growth < heldBytesMax, `${growth} bytes`);
  stalled.leave();
  await driver.type('\n');
  assert.equal((await client.runs.wait(run.id, { timeoutSeconds: 20 })).phase, 'succeeded');
  const [terminal] = await client.attach.terminals(run.id);
  assert(terminal!.recording.bytes <= 257 * 1024 ** 2);
  assert.equal(terminal!.recording.complete, floodBytes < 250e6);
});

/** A flood may take longer than what a test waits for otherwise. */
async function shownWithin(attached: Attached, pattern: RegExp, withinMs: number): Promise<void> {
  for (const end = performance.now() + withinMs; ; ) {
    try {
      await attached.shows(pattern);
      return;
    } catch (error) {
      if (performance.now() > end || !String(error).includes('took too long')) throw error;
    }
  }
}
