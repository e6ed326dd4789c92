import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import type { NewEvent } from '../audit/event.ts';
import { createAuthority } from '../base/certificates.ts';
import { systemClock } from '../base/clock.ts';
import { unlimitedEgress } from '../model/egress.ts';
import { newId, type RunId } from '../model/ids.ts';
import { EgressRelay } from './egress-relay.ts';
import { GatewayProcess } from './gateway-process.ts';

/** `recorded` is awaited for every event. */
function relayOn(recorded: (event: NewEvent) => Promise<void>): EgressRelay {
  const nothing = () => undefined;
  const append = async (event: NewEvent) => {
    await recorded(event);
    return { id: newId('event', 0), seq: 1, hash: '' };
  };
  return new EgressRelay({ record: { append }, clock: systemClock, log: { info: nothing, warn: nothing } });
}

/** A gateway that writes down what it is ordered and does nothing. */
const scribe = (file: string) => `
import { Channel } from '${import.meta.resolve('../base/channel.ts')}';
import { appendFileSync } from 'node:fs';
import { Socket } from 'node:net';
const channel = new Channel(new Socket({ fd: 3, readable: true, writable: true }));
await channel.sendJson({ word: 'ready' });
for (let frame = await channel.read(); frame?.kind === 'json'; frame = await channel.read()) {
  appendFileSync(${JSON.stringify(file)}, JSON.stringify(frame.value) + '\\n');
  await channel.sendJson({ word: 'done', id: frame.value.id });
}
process.exit(0);`;

test('a gateway that is started anew is given the authority of each sandbox again, and no log tells it', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'sealwright-gateway-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const file = join(folder, 'orders');
  const said: unknown[] = [];
  const tell = (...words: unknown[]) => void said.push(words);
  const gateway = await GatewayProcess.start({
    words: [process.execPath, '--input-type=module', '--eval', scribe(file)],
    configuration: {},
    relay: relayOn(async () => undefined),
    log: { info: tell, warn: tell },
  });
  t.after(() => gateway.close());
  const authorities = [createAuthority(0), createAuthority(0)];
  const doors = authorities.map((authority) => gateway.open([], authority));
  const policy = { mode: 'restricted', generation: 1, rules: [], limits: unlimitedEgress } as const;
  await doors[0]!.admit('run_a' as RunId, policy, []);
  const first = gateway.pid!;
  process.kill(first, 'SIGKILL');
  while (gateway.pid === null || gateway.pid === first) await pause(5);
  await Promise.all(doors.map((door) => door.close()));
  const orders = readFileSync(file, 'utf8')
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line));
  const opened = orders.filter(({ order }) => order === 'open');
  assert.deepEqual(
    opened.map(({ door, authority }) => [door, authority]),
    [
      [1, authorities[0]],
      [2, authorities[1]],
      [1, authorities[0]],
      [2, authorities[1]],
    ],
  );
  assert.ok(said.length > 0);
  assert.doesNotMatch(JSON.stringify(said), /PRIVATE/);
});

/**
 * A gateway that, once a run is admitted, tells of one flow of it with the number and the bytes that it was given, or
 * 40 for none, and falls.
 */
const mortal = `
import { Socket } from 'node:net';
import { Channel } from '${import.meta.resolve('../base/channel.ts')}';
const channel = new Channel(new Socket({ fd: 3, readable: true, writable: true }));
await channel.sendJson({ word: 'ready' });
for (let frame = await channel.read(); frame !== null; frame = await channel.read()) {
  const { order, id, run, nextFlow, bytesOut } = frame.value;
  if (order === 'recorded') process.exit(1);
  await channel.sendJson({ word: 'done', id });
  if (order !== 'admit') continue;
  const flow = { id: nextFlow, run, at: 1, host: 'a.test', address: null, port: 80, protocol: 'http', method: null,
    path: null, verdict: 'allowed', rule: 'a#1', denial: null, generation: 1, count: 1 };
  const end = { id: nextFlow, run, at: 1, bytesOut: bytesOut || 40, bytesIn: 0, outcome: 'closed' };
  await channel.sendJson({ word: 'flows', batch: 1, flows: [flow], ends: [end] });
}`;

const run = newId('run', 1);

test('a gateway that was started anew is told the numbers and the bytes that flows of the run have had', async (t) => {
  const told: [number, number][] = [];
  const thrice = Promise.withResolvers<void>();
  const relay = relayOn(async () => undefined);
  relay.follow(run, ({ flows, ends }) => {
    told.push([flows[0]!.id, ends[0]!.bytesOut]);
    if (told.length === 3) thrice.resolve();
  });
  const log = { info: () => undefined, warn: () => undefined };
  const gateway = await GatewayProcess.start({
    words: [process.execPath, '--input-type=module', '--eval', mortal],
    configuration: {},
    relay,
    log,
  });
  t.after(() => gateway.close());
  const door = gateway.open([], createAuthority(0));
  const policy = { mode: 'restricted', generation: 1, rules: [], limits: unlimitedEgress } as const;
  await door.admit(run, policy, []);
  await thrice.promise;
  assert.deepEqual(told.slice(0, 3), [
    [1, 40],
    [2, 40],
    [3, 80],
  ]);
});

/** Tells of one flow once a run is admitted, and then what it is ordered about it. */
const teller = `
import { Socket } from 'node:net';
import { Channel } from '${import.meta.resolve('../base/channel.ts')}';
const channel = new Channel(new Socket({ fd: 3, readable: true, writable: true }));
await channel.sendJson({ word: 'ready' });
const flow = (run, id, host) => ({ id, run, at: 1, host, address: null, port: 80, protocol: 'http', method: null,
  path: null, verdict: 'allowed', rule: 'a#1', denial: null, generation: 1, count: 1 });
for (let frame = await channel.read(); frame !== null; frame = await channel.read()) {
  const { order, id, run, batch } = frame.value;
  if (order === 'admit') {
    for (const batch of [1, 2])
      await channel.sendJson({ word: 'flows', batch, flows: [flow(run, batch, 'a.test')], ends: [] });
  } else if (order === 'recorded' || order === 'refused') {
    await channel.sendJson({ word: 'flows', batch: 3, flows: [flow(run ?? '${newId('run', 1)}', batch, order)], ends: [] });
    continue;
  }
  await channel.sendJson({ word: 'done', id });
}`;

test('a gateway hears of each batch whether it is recorded: one that cannot be is refused at once', async (t) => {
  const answers: string[] = [];
  const both = Promise.withResolvers<void>();
  const relay = relayOn(async ({ data }) => {
    if (data?.host !== 'a.test') {
      answers.push(`${data?.flow} ${data?.host}`);
      if (answers.length === 2) both.resolve();
    } else if (data.flow === 1) throw new Error('the disk is full');
  });
  const log = { info: () => undefined, warn: () => undefined };
  const gateway = await GatewayProcess.start({
    words: [process.execPath, '--input-type=module', '--eval', teller],
    configuration: {},
    relay,
    log,
  });
  t.after(() => gateway.close());
  const policy = { mode: 'restricted', generation: 1, rules: [], limits: unlimitedEgress } as const;
  await gateway.open([], createAuthority(0)).admit(run, policy, []);
  await both.promise;
  assert.deepEqual(answers.slice(0, 2).sort(), ['1 refused', '2 recorded']);
});
