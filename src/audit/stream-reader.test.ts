import assert from 'node:assert/strict';
import { appendFileSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { segmentEvents, segmentPath } from './segments.ts';
import { StreamReader } from './stream-reader.ts';

function streamFolder(t: TestContext): string {
  const folder = mkdtempSync(join(tmpdir(), 'sealwright-reader-'));
  t.after(() => rmSync(folder, { recursive: true }));
  return folder;
}

async function readAll(reader: StreamReader): Promise<string[]> {
  const found: string[] = [];
  for (let lines = await reader.read(1_000); lines.length > 0; lines = await reader.read(1_000))
    found.push(...lines.map(({ seq, bytes }) => `${seq} ${bytes}`));
  return found;
}

test('a reader begins behind any event, and goes on while lines are added', async (t) => {
  const folder = streamFolder(t);
  const reader = new StreamReader(folder, 1);
  assert.deepEqual(await readAll(reader), [], 'a stream that is not there yet');
  writeFileSync(segmentPath(folder, 1), 'a\nb\nc');
  assert.deepEqual(await readAll(reader), ['2 b']);
  appendFileSync(segmentPath(folder, 1), 'c\nd\n');
  assert.deepEqual(await readAll(reader), ['3 cc', '4 d']);
  assert.equal(reader.after, 4);
  await reader.close();
});

test('a reader passes from a segment to the next, also to one that comes later, and over what was dropped', async (t) => {
  const folder = streamFolder(t);
  const lines = Array.from({ length: segmentEvents }, (_, index) => `${index + 1}\n`).join('');
  writeFileSync(segmentPath(folder, 1), lines);
  const reader = new StreamReader(folder, segmentEvents - 2);
  assert.deepEqual(await readAll(reader), [
    `${segmentEvents - 1} ${segmentEvents - 1}`,
    `${segmentEvents} ${segmentEvents}`,
  ]);
  writeFileSync(segmentPath(folder, segmentEvents + 1), 'x\n');
  assert.deepEqual(await readAll(reader), [`${segmentEvents + 1} x`]);
  rmSync(segmentPath(folder, 1));
  const late = new StreamReader(folder, 5);
  assert.deepEqual(await readAll(late), [`${segmentEvents + 1} x`]);
  await Promise.all([reader.close(), late.close()]);
});

test('a line longer than any event is no reason to read without end', async (t) => {
  const folder = streamFolder(t);
  mkdirSync(folder, { recursive: true });
  writeFileSync(segmentPath(folder, 1), 'x'.repeat(300 * 1024));
  await assert.rejects(new StreamReader(folder, 0).read(10), /longer than any event/);
});
