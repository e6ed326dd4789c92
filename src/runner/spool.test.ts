import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, test } from 'node:test';
import fc from 'fast-check';
import { droppedBytesOf, type LogRecord, RecordParser, recordHeaderBytes } from '../contract/log-record.ts';
import { readSpool, Spool } from './spool.ts';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'sealwright-spool-'));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const never = new AbortController().signal;

async function readAll(offset = 0, live: Spool | null = null, signal = never): Promise<LogRecord[]> {
  const parser = new RecordParser(offset);
  const records: LogRecord[] = [];
  for await (const bytes of readSpool(folder, offset, live, signal)) records.push(...parser.push(bytes));
  return records;
}

const textOf = (records: readonly LogRecord[]) =>
  Buffer.concat(
    records.filter((record) => record.kind !== 'dropped').map((record) => record.payload),
  ).toString('latin1');

test('any bytes in any pieces come back as they were written, told apart by stream', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.tuple(fc.boolean(), fc.uint8Array({ minLength: 1, maxLength: 300 })), { maxLength: 40 }),
      async (pieces) => {
        rmSync(folder, { recursive: true, force: true });
        const spool = new Spool(folder, 1 << 20);
        for (const [out, bytes] of pieces) spool.append(out ? 'stdout' : 'stderr', Buffer.from(bytes));
        spool.close();
        const records = await readAll();
        assert.deepEqual(
          records.map((record) => [record.kind === 'stdout', [...record.payload]]),
          pieces.map(([out, bytes]) => [out, [...bytes]]),
        );
      },
    ),
    { numRuns: 50 },
  );
});

test('reading from any record on goes on exactly there', async () => {
  const spool = new Spool(folder, 64 * 1024);
  for (let index = 0; index < 200; index += 1) spool.append('stdout', Buffer.from(`${index}\n`));
  spool.close();
  const all = await readAll();
  for (const [index, record] of all.entries()) {
    assert.deepEqual(textOf(await readAll(record.nextOffset)), textOf(all.slice(index + 1)));
  }
});

test('an offset inside a record becomes a gap up to the next one, and later offsets stay true', async () => {
  const spool = new Spool(folder, 64 * 1024);
  for (const word of ['one', 'two', 'three']) spool.append('stdout', Buffer.from(word));
  spool.close();
  const [gap, ...rest] = await readAll(3);
  assert.equal(gap?.kind, 'dropped');
  assert.equal(droppedBytesOf(gap!.payload), recordHeaderBytes + 3 - 3);
  assert.equal(textOf(rest), 'twothree');
  assert.equal(rest.at(-1)?.nextOffset, spool.end);
});

test('past its size the spool keeps the beginning and the end, names the gap, and stays within its size on disk', async () => {
  const bytesMax = 64 * 1024;
  const spool = new Spool(folder, bytesMax);
  const line = (index: number) => `${String(index).padStart(9, '0')}\n`;
  for (let index = 0; index < 100_000; index += 1) spool.append('stdout', Buffer.from(line(index)));
  spool.close();
  const size = readdirSync(folder).reduce((sum, name) => sum + statSync(join(folder, name)).size, 0);
  assert.ok(size <= bytesMax, `${size} bytes on disk`);
  const records = await readAll();
  const text = textOf(records);
  assert.ok(text.startsWith(line(0) + line(1)));
  assert.ok(text.endsWith(line(99_999)));
  const gaps = records.filter((record) => record.kind === 'dropped');
  assert.equal(gaps.length, 1);
  const kept = records
    .filter((record) => record.kind === 'stdout')
    .reduce((sum, record) => sum + record.payload.length + recordHeaderBytes, 0);
  assert.equal(kept + droppedBytesOf(gaps[0]!.payload), spool.end);
});

test('a follower sees what is appended later and ends with the spool', async () => {
  const spool = new Spool(folder, 1 << 20);
  const reading = readAll(0, spool);
  for (let index = 0; index < 50; index += 1) {
    spool.append('stderr', Buffer.from(`${index} `));
    await new Promise((resolve) => setImmediate(resolve));
  }
  spool.close();
  assert.equal(textOf(await reading), Array.from({ length: 50 }, (_, index) => `${index} `).join(''));
});

test('a follower that gives up ends although nothing is written', async () => {
  const spool = new Spool(folder, 1 << 20);
  const gone = new AbortController();
  const reading = readAll(0, spool, gone.signal);
  setImmediate(() => gone.abort());
  assert.deepEqual(await reading, []);
  spool.close();
});

test('an offset past the end waits for the end and yields nothing', async () => {
  const spool = new Spool(folder, 1 << 20);
  spool.append('stdout', Buffer.from('x'));
  const reading = readAll(10_000, spool);
  setImmediate(() => spool.close());
  assert.deepEqual(await reading, []);
});

test('reading a run that never wrote is empty, not an error', async () => {
  assert.deepEqual(await readAll(), []);
});

test('giving room keeps the beginning, and reading ends where it ends', async () => {
  const spool = new Spool(folder, 64 * 1024);
  for (let index = 0; index < 40; index += 1) spool.append('stdout', Buffer.alloc(1_000, 65 + (index % 26)));
  const before = textOf(await readAll());
  spool.giveRoom();
  spool.close();
  const after = textOf(await readAll());
  assert(after.length > 0 && after.length < before.length && before.startsWith(after));
  assert.equal(readdirSync(folder).length, 1);
});
