import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { hash } from 'node:crypto';
import { appendFileSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import {
  attempt,
  chainOf,
  eventId,
  eventsIn,
  faultyDisk,
  manualClock,
  segmentOf,
  temporaryFolder,
  testSigningKeys,
} from '../../tests/support/audit.ts';
import { Fault } from '../contract/faults.ts';
import { noHash } from './event.ts';
import { auditLimits } from './limits.ts';
import { openAuditLog, type SignedAuditLog } from './log.ts';
import { verifyStreams } from './verify.ts';

type Setup = {
  disk?: ReturnType<typeof faultyDisk>;
  clock?: ReturnType<typeof manualClock>;
};

function openIn(folder: string, setup: Setup = {}): Promise<SignedAuditLog> {
  return openAuditLog({
    folder,
    stream: 'control',
    clock: manualClock(),
    newId: eventId,
    signingKeys: testSigningKeys,
    ...setup,
  });
}

function isUnavailable(message: RegExp): (error: unknown) => boolean {
  return (error) =>
    error instanceof Fault && error.code === 'audit.unavailable' && message.test(error.message);
}

test('a new stream is private and begins with the note audit.opened', async () => {
  using temporary = temporaryFolder();
  const folder = join(temporary.path, 'audit');
  const log = await openIn(folder);
  const path = segmentOf(folder);
  assert.equal(statSync(folder).mode & 0o777, 0o700);
  assert.equal(statSync(path).mode & 0o777, 0o600);
  const [opened, ...rest] = eventsIn(path);
  assert.deepEqual(rest, []);
  assert.deepEqual(opened, {
    v: 2,
    stream: 'control',
    seq: 1,
    at: '2026-01-01T00:00:00.000Z',
    prev: noHash,
    id: opened?.id,
    action: 'audit.opened',
    phase: 'note',
    actor: { id: 'system:audit', kind: 'system' },
    resource: { kind: 'audit', id: 'control' },
    decision: { allow: true, rule: 'audit:self' },
    outcome: 'succeeded',
    data: { origin: log.checkpoint().origin, key: log.key() },
  });
  await log.close();
});

test('an append resolves with the place of its line, once that is on the disk', async () => {
  using folder = temporaryFolder();
  const disk = faultyDisk();
  const log = await openIn(folder.path, { disk });
  const { promise: synced, resolve: letSync } = Promise.withResolvers<'pass'>();
  const { promise: reached, resolve: reach } = Promise.withResolvers<void>();
  disk.judge = (call) => {
    if (call !== 'datasync') return 'pass';
    reach();
    return synced;
  };
  let settled = false;
  const appended = log.append(attempt('run.create')).finally(() => {
    settled = true;
  });
  await reached;
  assert.equal(settled, false, 'written, not yet durable');
  letSync('pass');
  const recorded = await appended;
  const lines = readFileSync(segmentOf(folder.path), 'utf8').trimEnd().split('\n');
  assert.equal(lines.length, 2);
  assert.deepEqual(recorded, {
    id: JSON.parse(lines[1]!).id,
    seq: 2,
    hash: hash('sha256', `\0${lines[1]}`, 'hex'),
  });
  await log.close();
});

test('sixty-four writers make one line of events that verifies, many to a sync', async () => {
  using folder = temporaryFolder();
  const disk = faultyDisk();
  const log = await openIn(folder.path, { disk });
  disk.calls.length = 0;
  const recorded = new Map<number, string>();
  const write = async (writer: number) => {
    for (let index = 0; index < 50; index += 1) {
      const { seq } = await log.append(attempt(`w${writer}.${index}`));
      assert.ok(!recorded.has(seq));
      recorded.set(seq, `w${writer}.${index}`);
    }
  };
  await Promise.all(Array.from({ length: 64 }, (_, writer) => write(writer)));
  const syncs = disk.calls.filter((call) => call === 'datasync').length;
  assert.ok(3200 / syncs >= 50, `${syncs} syncs for 3200 events`);
  await log.close();
  const path = segmentOf(folder.path);
  const events = eventsIn(path).slice(1);
  assert.equal(events.length, 3200);
  for (const { seq, action } of events) assert.equal(recorded.get(seq), action);
  const verdict = await verifyStreams([path]);
  assert.equal(verdict.status, 'intact');
  assert.equal(verdict.streams[0]?.lastSeq, 3201);
});

test('events keep the order of their calls, over more than one batch', async () => {
  using folder = temporaryFolder();
  const log = await openIn(folder.path);
  const names = Array.from({ length: auditLimits.batchEventsMax + 500 }, (_, index) => `e.${index}`);
  await Promise.all(names.map((name) => log.append(attempt(name))));
  await log.close();
  const events = eventsIn(segmentOf(folder.path));
  assert.deepEqual(
    events.slice(1).map(({ action }) => action),
    names,
  );
});

test('a stream goes on after it was closed, without a second beginning', async () => {
  using folder = temporaryFolder();
  const first = await openIn(folder.path);
  await first.append(attempt('a'));
  await first.close();
  const second = await openIn(folder.path);
  assert.equal((await second.append(attempt('b'))).seq, 3);
  await second.close();
  const path = segmentOf(folder.path);
  assert.deepEqual(
    eventsIn(path).map(({ action }) => action),
    ['audit.opened', 'a', 'b'],
  );
  assert.equal((await verifyStreams([path])).status, 'intact');
});

test('closing writes what waits, then refuses', async () => {
  using folder = temporaryFolder();
  const log = await openIn(folder.path);
  let seq = 0;
  void log.append(attempt('a')).then((recorded) => {
    seq = recorded.seq;
  });
  await Promise.all([log.close(), log.close()]);
  assert.equal(seq, 2, 'acknowledged before the stream was free');
  await assert.rejects(log.append(attempt('b')), isUnavailable(/closed/));
  assert.equal(log.health().ok, false);
  assert.equal((await log.probe()).ok, false);
});

test('a second writer of a stream is refused, in this process and from another, until the first closes', async () => {
  using folder = temporaryFolder();
  const log = await openIn(folder.path);
  await assert.rejects(openIn(folder.path), isUnavailable(/another process writes this stream/));
  const script = `
    import { createPrivateKey } from 'node:crypto';
    import { openAuditLog } from ${JSON.stringify(join(import.meta.dirname, 'log.ts'))};
    const clock = { now: () => 0, monotonic: () => 0 };
    const signingKeys = [process.argv[1]].map((pem) => createPrivateKey(pem));
    const options = { folder: ${JSON.stringify(folder.path)}, stream: 'control', clock, newId: () => 'evt_x', signingKeys };
    await openAuditLog(options).then((log) => log.close(), (error) => { console.log(error.code); });`;
  const pem = testSigningKeys[0]!.export({ type: 'pkcs8', format: 'pem' }) as string;
  const other = () =>
    spawnSync(process.execPath, ['--input-type=module-typescript', '-e', script, '--', pem], {
      encoding: 'utf8',
      env: {},
    });
  assert.equal(other().stdout, 'audit.unavailable\n');
  const beside = await openAuditLog({
    folder: folder.path,
    stream: 'runner',
    clock: manualClock(),
    newId: eventId,
    signingKeys: testSigningKeys,
  });
  await beside.close();
  await log.close();
  assert.equal(other().stdout, '', 'control: it opens once the first has closed');
});

test('a torn last line is cut off, and the log says so', async () => {
  using folder = temporaryFolder();
  const path = segmentOf(folder.path);
  const first = await openIn(folder.path);
  await first.append(attempt('a'));
  await first.close();
  appendFileSync(path, '{"action":"half');
  const second = await openIn(folder.path);
  await second.close();
  const events = eventsIn(path);
  assert.deepEqual(
    events.map(({ action }) => action),
    ['audit.opened', 'a', 'audit.recovered'],
  );
  assert.deepEqual(events[2]?.data, { bytes: 15 });
  assert.equal((await verifyStreams([path])).status, 'intact');
});

test('a stream that tore at its first line begins anew', async () => {
  using folder = temporaryFolder();
  const path = segmentOf(folder.path);
  mkdirSync(dirname(path));
  writeFileSync(path, '{"act');
  const log = await openIn(folder.path);
  await log.close();
  assert.deepEqual(
    eventsIn(path).map(({ action }) => action),
    ['audit.opened', 'audit.recovered'],
  );
  assert.equal(statSync(path).mode & 0o777, 0o600, 'a file that others could read no longer can be');
});

test('a file that does not end like a log of this stream is refused and left as it is', async () => {
  using folder = temporaryFolder();
  const path = segmentOf(folder.path);
  mkdirSync(dirname(path));
  const good = chainOf('control', [attempt('a'), attempt('b'), attempt('c')]);
  const file = (lines: readonly string[]) => lines.map((line) => `${line}\n`).join('');
  const refused: [content: string, reason: RegExp][] = [
    [`${file(good)}garbage\n`, /damaged: the line is not JSON/],
    [`${file(good)}\0\0\n`, /damaged/],
    [file(chainOf('runner', [attempt('a')])), /another stream/],
    [file([good[0]!, good[2]!]), /does not continue/],
    [file([good[1]!]), /does not continue/],
    [file(good.with(2, good[2]!.replace('"seq":3', '"seq":3.0'))), /damaged/],
    [`${file(good)}${'x'.repeat(auditLimits.lineBytesMax)}`, /no event/],
    ['x'.repeat(10 * auditLimits.lineBytesMax), /longer than any event/],
    [`${'x'.repeat(10 * auditLimits.lineBytesMax)}\n`, /longer than any event/],
  ];
  for (const [content, reason] of refused) {
    writeFileSync(path, content);
    await assert.rejects(openIn(folder.path), isUnavailable(reason));
    assert.equal(readFileSync(path, 'utf8'), content);
  }
  writeFileSync(path, file(good));
  await assert.rejects(openIn(folder.path), isUnavailable(/checkpoint of the log is missing/));
  writeFileSync(path, file(chainOf('control', [attempt('a'), attempt('b'), attempt('c')], 1)));
  const log = await openIn(folder.path);
  assert.equal(
    (await log.append(attempt('d'))).seq,
    5,
    'control: one from before there were checkpoints opens',
  );
  await log.close();
});

test('a folder that cannot be had is a fault that does not tell the caller where it is', async () => {
  using folder = temporaryFolder();
  writeFileSync(join(folder.path, 'file'), '');
  const opened = openIn(join(folder.path, 'file', 'audit'));
  await assert.rejects(opened, (error) => {
    assert.ok(isUnavailable(/ENOTDIR/)(error));
    return !(error as Fault).detail.includes(folder.path);
  });
  mkdirSync(segmentOf(folder.path), { recursive: true });
  await assert.rejects(openIn(folder.path), isUnavailable(/EISDIR/));
});

test('data that is no JSON rejects its own append alone', async () => {
  using folder = temporaryFolder();
  const log = await openIn(folder.path);
  const [bad, good] = await Promise.allSettled([
    log.append(attempt('a', { data: { n: Number.NaN } })),
    log.append(attempt('b')),
  ]);
  assert.ok(bad.status === 'rejected' && bad.reason instanceof TypeError);
  assert.equal(good.status, 'fulfilled');
  await log.close();
});

test('a probe leaves nothing behind', async () => {
  using folder = temporaryFolder();
  const clock = manualClock();
  const log = await openIn(folder.path, { clock });
  clock.advance(auditLimits.probeFreshMs);
  assert.deepEqual(await log.probe(), { ok: true });
  await log.close();
  assert.deepEqual(readdirSync(join(folder.path, 'control')).sort(), [
    '0000000000000001.jsonl',
    'checkpoint',
    'lock',
  ]);
});
