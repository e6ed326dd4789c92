import assert from 'node:assert/strict';
import { generateKeyPairSync } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import {
  attempt,
  faultyDisk,
  manualClock,
  segmentOf,
  type TemporaryFolder,
  temporaryFolder,
} from '../../tests/support/audit.ts';
import type { AuditDisk } from '../audit/disk.ts';
import type { AuditEvent } from '../audit/event.ts';
import { auditLimits } from '../audit/limits.ts';
import { segmentEvents } from '../audit/segments.ts';
import { StreamReader } from '../audit/stream-reader.ts';
import { verifyStreams } from '../audit/verify.ts';
import type { EgressFlow } from '../model/egress.ts';
import { newId } from '../model/ids.ts';
import { EgressRelay } from './egress-relay.ts';
import { runnerLimits } from './limits.ts';
import { RunnerRecord } from './record.ts';

const signingKey = generateKeyPairSync('ed25519').privateKey;
const nothing = () => undefined;

async function opened(
  folder: TemporaryFolder,
  more: { disk?: AuditDisk; clock?: ReturnType<typeof manualClock> } = {},
) {
  const clock = more.clock ?? manualClock();
  const options = { folder: join(folder.path, 'audit'), newId: () => newId('event', 0), signingKey };
  return await RunnerRecord.open({ ...options, ...more, clock }, { mode: 'user' });
}

function eventsOf({ folder, stream }: RunnerRecord): AuditEvent[] {
  const text = readFileSync(segmentOf(join(folder, '..'), stream), 'utf8');
  return text
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line));
}

test('a runner that starts again goes on with its stream, and each start is on the record', async () => {
  using folder = temporaryFolder();
  const first = await opened(folder);
  await first.append(attempt('egress.connect'));
  await first.close();
  const second = await opened(folder);
  assert.equal(second.stream, first.stream);
  assert.deepEqual(
    eventsOf(second).map(({ action }) => action),
    ['audit.opened', 'runner.started', 'egress.connect', 'runner.started'],
  );
  assert.deepEqual(second.place, { stream: first.stream, seq: 4 });
  await second.close();
  assert.equal((await verifyStreams([second.folder])).status, 'intact');
});

test('a runner whose folder was lost begins a stream of another name, so that none is ever forked', async () => {
  using folder = temporaryFolder();
  const names = new Set<string>();
  for (let turn = 0; turn < 4; turn += 1) {
    const record = await opened(folder);
    assert.match(record.stream, /^runner-[a-z2-7]{6}$/);
    names.add(record.stream);
    await record.close();
    rmSync(join(folder.path, 'audit'), { recursive: true });
  }
  assert.equal(names.size, 4);
});

test('of two streams none is chosen: it says so and does not start', async () => {
  using folder = temporaryFolder();
  for (const name of ['runner-aaaaaa', 'runner-bbbbbb'])
    mkdirSync(join(folder.path, 'audit', name), { recursive: true });
  await assert.rejects(opened(folder), /several streams/);
});

test('nobody but the runner enters the folder of its record', async () => {
  using folder = temporaryFolder();
  const record = await opened(folder);
  for (const path of [
    join(folder.path, 'audit'),
    record.folder,
    segmentOf(join(record.folder, '..'), record.stream),
  ])
    assert.equal(statSync(path).mode & 0o077, 0, path);
  assert.deepEqual(readdirSync(join(folder.path, 'audit')), [record.stream]);
  await record.close();
});

test('what its disk does not take is let through by nobody, until it takes it again; the gap is on the record', async () => {
  using folder = temporaryFolder();
  const [disk, clock] = [faultyDisk(), manualClock()];
  const record = await opened(folder, { disk, clock });
  const relay = new EgressRelay({ record, clock, log: { info: nothing, warn: nothing } });
  const run = newId('run', 1);
  relay.host({ run, session: newId('session', 1), owner: 'user:ann' });
  const flow = (id: number): EgressFlow => ({
    ...{ id, run, at: 1, host: 'a.example', address: null, port: 443, protocol: 'https', method: null },
    ...{ path: null, verdict: 'allowed', rule: 'a#1', denial: null, generation: 1, count: 1 },
  });
  const send = (id: number) => relay.send({ flows: [flow(id)], ends: [] });
  assert.equal(await send(1), true);
  disk.judge = (call) => (call === 'datasync' ? { code: 'ENOSPC' } : 'pass');
  assert.deepEqual(await Promise.all([send(2), send(3)]), [false, false]);
  assert.equal(await record.isWritable(), false);
  clock.advance(auditLimits.recoveryEveryMs);
  assert.equal(await send(4), false);
  disk.judge = () => 'pass';
  clock.advance(auditLimits.recoveryEveryMs);
  assert.equal(await send(5), true);
  assert.equal(await record.isWritable(), true);
  const told = eventsOf(record).map(({ action, data }) =>
    `${action} ${data?.flow ?? data?.refused ?? ''}`.trim(),
  );
  assert.deepEqual(told.slice(2), ['egress.connect 1', 'audit.gap 3', 'egress.connect 5']);
  await record.close();
});

test('who waits hears of what became durable, and of a checkpoint', async () => {
  using folder = temporaryFolder();
  const record = await opened(folder);
  const { signal } = new AbortController();
  const changed = record.changed(signal);
  await record.append(attempt('a'));
  await changed;
  assert.equal(record.place.seq, 3);
  await record.changed(AbortSignal.abort());
  const left = new AbortController();
  const waits = record.changed(left.signal);
  left.abort();
  await waits;
  await record.close();
});

test('what control has goes from here but for the newest segments, and the stream goes on', async (t) => {
  using folder = temporaryFolder();
  const clock = manualClock();
  const record = await opened(folder, { clock });
  const segments = runnerLimits.recordSegmentsKept + 2;
  const append = async (count: number) => {
    for (let left = count; left > 0; left -= 1_024)
      await Promise.all(Array.from({ length: 1_024 }, () => record.append(attempt('egress.connect'))));
  };
  await append(segmentEvents);
  clock.advance(1);
  await append((segments - 1) * segmentEvents);
  const [first, second, third] = [0, 1, 2].map((at) =>
    segmentOf(join(record.folder, '..'), record.stream, at * segmentEvents + 1),
  );
  const reads = t.mock.method(StreamReader.prototype, 'read');
  for (let times = 0; times < 3; times += 1) {
    record.received(record.place.seq);
    await record.settled();
  }
  assert(existsSync(first!), 'young events stay, whatever control says');
  assert.equal(reads.mock.callCount(), 1, 'and are not looked at with every receipt');
  clock.advance(runnerLimits.recordKeptMs - 1);
  record.received(record.place.seq);
  await record.settled();
  assert(!existsSync(first!));
  assert(existsSync(second!), 'younger than the first');
  await record.close();
  clock.advance(1);
  const again = await opened(folder, { clock });
  again.received(again.place.seq);
  await again.settled();
  assert(!existsSync(second!));
  assert(existsSync(third!), 'the newest stay however old they are');
  await again.append(attempt('egress.connect'));
  await again.close();
  const [verdict] = (await verifyStreams([again.folder])).streams;
  assert.deepEqual(
    [verdict?.status, verdict?.dropped],
    ['intact', 2 * segmentEvents],
    JSON.stringify(verdict),
  );
});
