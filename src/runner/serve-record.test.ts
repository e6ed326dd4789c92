import assert from 'node:assert/strict';
import { generateKeyPairSync, randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { test } from 'node:test';
import { attempt, manualClock, temporaryFolder } from '../../tests/support/audit.ts';
import type { AuditEvent } from '../audit/event.ts';
import { type Channel, connectChannel, listenChannel } from '../base/channel.ts';
import type { AuditOffer } from '../contract/runner.ts';
import { newId } from '../model/ids.ts';
import { RunnerRecord } from './record.ts';
import { type HandedRecord, serveRecord } from './serve-record.ts';

type Handing = {
  readonly record: RunnerRecord;
  /** Connects, and wants what follows `after`. */
  readonly ask: (after: number) => Promise<{ channel: Channel; offer: AuditOffer }>;
  /** What is served in place of the record. */
  serve: HandedRecord;
};

async function withRecord(act: (handing: Handing) => Promise<void>): Promise<void> {
  using folder = temporaryFolder();
  const signingKey = generateKeyPairSync('ed25519').privateKey;
  const options = { folder: join(folder.path, 'audit'), newId: () => newId('event', 0), signingKey };
  const record = await RunnerRecord.open({ ...options, clock: manualClock() }, {});
  const [path, key] = [join(folder.path, 'socket'), randomBytes(32)];
  const channels: Channel[] = [];
  const ask = async (after: number) => {
    const channel = await connectChannel(path, key);
    channels.push(channel);
    const first = await channel.read();
    assert(first?.kind === 'json');
    await channel.sendJson({ after });
    return { channel, offer: first.value as AuditOffer };
  };
  const handing: Handing = { record, ask, serve: record };
  const server = await listenChannel({
    path,
    key,
    serve: (channel) => serveRecord(handing.serve, channel),
    onError: () => undefined,
  });
  try {
    await act(handing);
  } finally {
    for (const channel of channels) channel.close();
    server.close();
    await record.close();
  }
}

/** Lines until `count` of them have come, and what notes came between them, as `{ signed: size }`. */
async function take(channel: Channel, count: number): Promise<(number | { signed: string })[]> {
  const seen: (number | { signed: string })[] = [];
  for (let lines = 0; lines < count; ) {
    const frame = await channel.read();
    assert(frame !== null);
    if (frame.kind === 'json') {
      const { checkpoint } = frame.value as { checkpoint: string };
      seen.push({ signed: checkpoint.split('\n')[1]! });
      continue;
    }
    const events = frame.bytes.toString('utf8').trimEnd().split('\n');
    seen.push(...events.map((line) => (JSON.parse(line) as AuditEvent).seq));
    lines += events.length;
  }
  return seen;
}

test('the record is handed over from where control stands, and goes on as it grows', () =>
  withRecord(async ({ record, ask }) => {
    for (let at = 0; at < 5; at += 1) await record.append(attempt(`a.${at}`));
    const { channel, offer } = await ask(3);
    assert.deepEqual(offer, { stream: record.stream, seq: 7 });
    assert.deepEqual(await take(channel, 4), [4, 5, 6, 7]);
    await record.append(attempt('b'));
    assert.deepEqual(await take(channel, 1), [8]);
  }));

test('a checkpoint comes right behind the last line that it is about', () =>
  withRecord(async ({ record, ask }) => {
    await record.append(attempt('a'));
    const { channel } = await ask(0);
    assert.deepEqual(
      await take(channel, 3),
      [1, { signed: '1' }, 2, 3],
      'the one that was signed at the beginning',
    );
  }));

test('no line is handed over that is not durable yet', () =>
  withRecord(async (handing) => {
    const { record, ask } = handing;
    await record.append(attempt('a'));
    const place = { stream: record.stream, seq: 2 };
    const { folder, checkpoint } = record;
    handing.serve = {
      folder,
      checkpoint,
      get place() {
        return place;
      },
      changed: (gone) => record.changed(gone),
      received: () => undefined,
    };
    const { channel } = await ask(0);
    assert.deepEqual(await take(channel, 2), [1, { signed: '1' }, 2]);
    const more = take(channel, 1);
    assert.equal(
      await Promise.race([more, new Promise((resolve) => setImmediate(resolve, 'nothing'))]),
      'nothing',
    );
    place.seq = 3;
    await record.append(attempt('b'));
    assert.deepEqual(await more, [3]);
  }));

test('what control says it has is heard, and a word that is none ends the connection', () =>
  withRecord(async ({ ask, record }) => {
    const { channel } = await ask(0);
    await take(channel, 2);
    assert.equal(record.waiting, 2);
    await channel.sendJson({ acknowledged: 7 });
    await channel.sendJson({ acknowledged: -1 });
    await channel.closed;
    assert.equal(record.waiting, 0);
  }));

test('many who ask at once get the same lines', () =>
  withRecord(async ({ record, ask }) => {
    for (let at = 0; at < 2_000; at += 100)
      await Promise.all(Array.from({ length: 100 }, () => record.append(attempt('a'))));
    const readers = await Promise.all(
      [0, 500, 1_999].map(async (after) => {
        const { channel } = await ask(after);
        return (await take(channel, 2_002 - after)).filter((seen) => typeof seen === 'number');
      }),
    );
    for (const [index, after] of [0, 500, 1_999].entries())
      assert.deepEqual(
        readers[index],
        Array.from({ length: 2_002 - after }, (_, at) => after + at + 1),
      );
  }));
