import assert from 'node:assert/strict';
import { closeSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import type { NewEvent } from '../audit/event.ts';
import { createAuthority } from '../base/certificates.ts';
import { systemClock } from '../base/clock.ts';
import { socketPair } from '../base/sockets.ts';
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

/**
 * The second of its lives opens no door past the first before that one is closed. Meanwhile it tells of a flow through the
 * first, and of the flow's end once it is to close it, as a gateway does.
 */
const slowToReopen = (mark: string) => `
import { existsSync, writeFileSync } from 'node:fs';
import { Socket } from 'node:net';
import { Channel } from '${import.meta.resolve('../base/channel.ts')}';
const isSecond = existsSync(${JSON.stringify(mark)});
writeFileSync(${JSON.stringify(mark)}, '');
const channel = new Channel(new Socket({ fd: 3, readable: true, writable: true }));
await channel.sendJson({ word: 'ready' });
const flow = { id: 1, run: '${run}', at: 1, host: 'a.test', address: null, port: 80, protocol: 'http', method: null,
  path: null, verdict: 'allowed', rule: 'a#1', denial: null, generation: 1, count: 1 };
const end = { id: 1, run: '${run}', at: 1, bytesOut: 7, bytesIn: 0, outcome: 'cut' };
const held = [];
for (let frame = await channel.read(); frame !== null; frame = await channel.read()) {
  const { order, id, door } = frame.value;
  if (isSecond && order === 'open' && door === 2) {
    held.push(id);
    await channel.sendJson({ word: 'flows', batch: 1, flows: [flow], ends: [] });
  } else if (order !== 'recorded') {
    if (order === 'close') await channel.sendJson({ word: 'flows', batch: 2, flows: [], ends: [end] });
    for (const each of [id, ...held.splice(0)]) await channel.sendJson({ word: 'done', id: each });
  }
}`;

test('a sandbox that ends while a gateway is started anew is over once the ends of its flows are told', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'sealwright-gateway-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const relay = relayOn(async () => undefined);
  const flowed = Promise.withResolvers<void>();
  let outcome: string | undefined;
  relay.follow(run, ({ flows, ends }) => {
    if (flows.length > 0) flowed.resolve();
    outcome = ends[0]?.outcome ?? outcome;
  });
  const gateway = await GatewayProcess.start({
    words: [process.execPath, '--input-type=module', '--eval', slowToReopen(join(folder, 'lived'))],
    configuration: {},
    relay,
    log: { info: () => undefined, warn: () => undefined },
  });
  t.after(() => gateway.close());
  const door = gateway.open([], createAuthority(0));
  const policy = { mode: 'restricted', generation: 1, rules: [], limits: unlimitedEgress } as const;
  await door.admit(run, policy, []);
  gateway.open([], createAuthority(0));
  process.kill(gateway.pid!, 'SIGKILL');
  await flowed.promise;
  await door.close();
  assert.equal(outcome, 'cut');
  assert.equal(relay.known(run).bytesOut, 7);
});

/** Writes down that it lives, and does what it is ordered without doing anything. */
const pidsIn = (file: string) => `
import { appendFileSync } from 'node:fs';
import { Socket } from 'node:net';
import { Channel } from '${import.meta.resolve('../base/channel.ts')}';
appendFileSync(${JSON.stringify(file)}, process.pid + '\\n');
const channel = new Channel(new Socket({ fd: 3, readable: true, writable: true }));
await channel.sendJson({ word: 'ready' });
for (let frame = await channel.read(); frame !== null; frame = await channel.read())
  await channel.sendJson({ word: 'done', id: frame.value.id });
process.exit(0);`;

test('a gateway that cannot be given every sandbox again is ended before another one is started', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'sealwright-gateway-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const file = join(folder, 'pids');
  const gateway = await GatewayProcess.start({
    words: [process.execPath, '--input-type=module', '--eval', pidsIn(file)],
    configuration: {},
    relay: relayOn(async () => undefined),
    log: { info: () => undefined, warn: () => undefined },
  });
  t.after(() => gateway.close());
  const [fd, there] = socketPair('stream');
  const listener = { fd, transport: 'tcp' as const, port: 80, proxy: null };
  const door = gateway.open([listener], createAuthority(0));
  await door.admit(run, { mode: 'restricted', generation: 1, rules: [], limits: unlimitedEgress }, []);
  for (const each of [fd, there]) closeSync(each);
  listener.fd = -1;
  process.kill(gateway.pid!, 'SIGKILL');
  const started = () => readFileSync(file, 'utf8').trimEnd().split('\n').map(Number);
  while (started().length < 3) await pause(5);
  const second = started()[1]!;
  assert.throws(() => process.kill(second, 0), { code: 'ESRCH' });
  await door.close();
  await gateway.close();
  for (const pid of started()) assert.throws(() => process.kill(pid, 0), { code: 'ESRCH' });
});
