import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { appendFileSync, readdirSync, readFileSync, truncateSync, unlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import {
  openTestRecording,
  playCast,
  playedData,
  recordedText,
  recordingWorld,
  testRun,
  testTerminal,
  verifyRecording,
} from '../../../../tests/support/recordings.ts';
import { recordingLimits } from './limits.ts';

const writer = join(import.meta.dirname, '../../../../tests/support/recording-writer.ts');
const secret = 'correct-horse-battery-staple';

/** Time that passes only when the test says so. */
function stopTime(context: TestContext, clock: { advance(ms: number): void }) {
  context.mock.timers.enable({ apis: ['setTimeout', 'setInterval'] });
  return (ms: number) => {
    for (let passed = 0; passed < ms; passed += 50) {
      clock.advance(50);
      context.mock.timers.tick(50);
    }
  };
}

const events = (text: string | null) => playCast(text!).events;

test('a recording is asciicast v2: what was shown, when, sizes, and who typed what', async (context) => {
  using world = recordingWorld();
  const pass = stopTime(context, world.clock);
  const { recorder, end } = openTestRecording(world.recordings, ['bash', '-c', 'echo hi']);
  recorder.output(Buffer.from('$ '));
  pass(1_000);
  recorder.input(Buffer.from('ls'), { by: 'user:ann', isHidden: false });
  recorder.input(Buffer.from('\r'), { by: 'user:ann', isHidden: false });
  recorder.output(Buffer.from('ls\r\n'));
  pass(500);
  recorder.resized({ columns: 100, rows: 30 });
  recorder.output(Buffer.from('\x1b[1mREADME\x1b[m\r\n'));
  await end(0);
  const { header, events } = playCast(recordedText(world.recordings)!);
  assert.deepEqual([header.width, header.height, header.command], [80, 24, 'bash -c echo hi']);
  assert.deepEqual(
    events.map(([seconds, code, data]) => [seconds, code, data]),
    [
      [0, 'o', '$ '],
      [1, 'm', 'input: user:ann'],
      [1, 'i', 'ls\r'],
      [1, 'o', 'ls\r\n'],
      [1.5, 'r', '100x30'],
      [1.5, 'o', '\x1b[1mREADME\x1b[m\r\n'],
    ],
  );
  const [info] = world.recordings.list(testRun.run);
  assert.deepEqual([info?.exitCode, info?.complete, info?.recordingSeconds], [0, true, 1.5]);
  assert.deepEqual(info?.size, { columns: 100, rows: 30 });
});

test('characters that are split between reads are whole, and bytes that are none are U+FFFD', async () => {
  using world = recordingWorld();
  const { recorder, end } = openTestRecording(world.recordings);
  const bytes = Buffer.from('žluťoučký 漢字 🦭 ');
  for (const byte of bytes) recorder.output(Buffer.from([byte]));
  recorder.output(Buffer.from([0xff, 0x41, 0xc3]));
  await end(0);
  assert.equal(playedData(events(recordedText(world.recordings)), 'o'), 'žluťoučký 漢字 🦭 \ufffdA\ufffd');
});

test('no secret of a run is in a recording: split at every byte, echoed letter by letter, typed, in the command', async (context) => {
  using world = recordingWorld({ secrets: [secret] });
  const pass = stopTime(context, world.clock);
  const { recorder, end } = openTestRecording(world.recordings, ['login', secret]);
  for (let at = 1; at < secret.length; at += 1) {
    recorder.output(Buffer.from(`\r\nround ${at} ${secret.slice(0, at)}`));
    recorder.output(Buffer.from(`${secret.slice(at)} done`));
    pass(100);
  }
  for (const letter of `\r\n> ${secret} `) {
    recorder.output(Buffer.from(letter));
    recorder.input(Buffer.from(letter), { by: 'user:ann', isHidden: false });
    pass(150);
  }
  recorder.input(Buffer.from('\r'), { by: 'user:ann', isHidden: false });
  recorder.input(Buffer.from('hunter2\r'), { by: 'user:ann', isHidden: true });
  await end(0);
  const text = recordedText(world.recordings)!;
  const played = playCast(text);
  assert.equal(played.header.command, 'login [redacted:run-environment]');
  const shown = playedData(played.events, 'o');
  assert.equal(shown.split('[redacted:run-environment]').length - 1, secret.length, shown);
  assert.match(shown, /round 27 \[redacted:run-environment\] done/);
  assert.match(
    playedData(played.events, 'i'),
    /^\r\n?> \[redacted:run-environment\] \r$|\[redacted:run-environment\]/,
  );
  assert.match(playedData(played.events, 'm'), /input: hidden/);
  for (const part of [secret, secret.slice(0, 14), secret.slice(14), 'hunter2', 'battery'])
    assert(!text.includes(part), part);
  assert(!JSON.stringify(world.recordings.list(testRun.run)).includes(secret));
});

test('what is shown is written within a moment, but for a last word, which is not held for ever', (context) => {
  using world = recordingWorld();
  const pass = stopTime(context, world.clock);
  const { recorder } = openTestRecording(world.recordings);
  recorder.output(Buffer.from('all but the last'));
  pass(recordingLimits.settleMs);
  assert.equal(playedData(events(recordedText(world.recordings)), 'o'), 'all but the ');
  pass(recordingLimits.wordMs + recordingLimits.probeMs * 2);
  assert.equal(playedData(events(recordedText(world.recordings)), 'o'), 'all but the last');
});

for (const [name, faults] of [
  ['a disk with an input/output error', [['write', 'EIO']]],
  ['a full disk', []],
  [
    'a disk that cannot even take half a line back',
    [
      ['write', 'EIO'],
      ['truncate', 'EIO'],
    ],
  ],
] as const) {
  test(`what cannot be recorded is told within a second, and it goes on as soon as it can: ${name}`, async (context) => {
    using world = recordingWorld();
    const pass = stopTime(context, world.clock);
    const { recorder, end } = openTestRecording(world.recordings);
    const told: boolean[] = [];
    recorder.onRecorded((isRecorded) => told.push(isRecorded));
    recorder.output(Buffer.from('before\r\n'));
    pass(200);
    if (faults.length === 0) world.disk.room = 7;
    for (const [call, code] of faults) world.disk.failing.set(call, code);
    recorder.output(Buffer.from('lost'));
    pass(1_000);
    assert.deepEqual([told, recorder.isRecorded], [[false], false]);
    recorder.output(Buffer.from(' and more\r\n'));
    pass(3_000);
    assert.deepEqual(told, [false]);
    world.disk.failing.clear();
    world.disk.room = Number.POSITIVE_INFINITY;
    pass(recordingLimits.retryMs);
    assert.deepEqual([told, recorder.isRecorded], [[false, true], true]);
    recorder.output(Buffer.from('after\r\n'));
    await end(0);
    const played = events(recordedText(world.recordings));
    assert.match(playedData(played, 'o'), /^before\r\n(?!lost).*after\r\n$/s);
    assert.match(playedData(played, 'm'), /sealwright: not recorded for \d+\.\d s/);
    assert.equal(world.recordings.list(testRun.run)[0]?.complete, false);
    assert.deepEqual((await verifyRecording(world.path, world.told())).findings, []);
  });
}

test('a recording that cannot begin says so from the beginning', (context) => {
  using world = recordingWorld();
  stopTime(context, world.clock);
  world.disk.failing.set('open', 'EIO');
  assert.equal(openTestRecording(world.recordings).recorder.isRecorded, false);
});

test('what was written and does not come to the disk is told too', async (context) => {
  using world = recordingWorld();
  const pass = stopTime(context, world.clock);
  const { recorder } = openTestRecording(world.recordings);
  const { promise, resolve } = Promise.withResolvers<boolean>();
  recorder.onRecorded(resolve);
  world.disk.failing.set('datasync', 'EIO');
  recorder.output(Buffer.from('shown\r\n'));
  pass(recordingLimits.rangeMs);
  assert.equal(await promise, false);
  world.disk.failing.clear();
  pass(recordingLimits.retryMs);
  await recorder.end();
  const place = { end: recorder.place, run: testRun.run, terminal: testTerminal.id };
  const report = await verifyRecording(world.path, [...world.told(), place]);
  assert.deepEqual(
    [report.findings, report.verifiedBytes],
    [[], recorder.bytes],
    'it is on record all the same',
  );
});

test('past its limit a recording keeps its beginning and its end, and says how much is gone between them', async () => {
  using world = recordingWorld({ bytesMax: 200_000, segmentBytesMax: 20_000 });
  const { recorder, end } = openTestRecording(world.recordings);
  for (let line = 0; line < 20_000; line += 1) recorder.output(Buffer.from(`line ${line} of many\r\n`));
  await end(0);
  const text = recordedText(world.recordings)!;
  const played = events(text);
  const shown = playedData(played, 'o');
  assert(shown.startsWith('line 0 of many') && shown.endsWith('line 19999 of many\r\n'));
  assert(text.length <= 220_000, `${text.length} bytes are kept`);
  const dropped = played.filter(([, code]) => code === 'm').map(([, , data]) => data);
  assert.equal(dropped.length, 1);
  assert.match(dropped[0]!, /^sealwright: \d+ bytes were dropped here$/);
  const [info] = world.recordings.list(testRun.run);
  assert.equal(info?.complete, false);
  assert(info!.recordingBytes <= 220_000);
  assert.deepEqual((await verifyRecording(world.path, world.told())).findings, []);
});

test('whatever is changed of a recording that was recorded is found', async (context) => {
  using world = recordingWorld({ segmentBytesMax: 20_000, bytesMax: 10_000_000 });
  const { recorder, end } = openTestRecording(world.recordings);
  for (let line = 0; line < 3_000; line += 1) recorder.output(Buffer.from(`line ${line} of many\r\n`));
  await end(0);
  const files = readdirSync(world.path)
    .filter((name) => name.endsWith('.cast'))
    .sort();
  assert(files.length > 4);
  const told = world.told();
  const kinds = async () => (await verifyRecording(world.path, told)).findings.map(({ kind }) => kind);
  const intact = await verifyRecording(world.path, told);
  assert.deepEqual([intact.findings, intact.unverifiedBytes, intact.isEnded], [[], 0, true]);
  assert(intact.verifiedBytes > 60_000);
  const path = join(world.path, files[2]!);
  const good = readFileSync(path);
  const tampered = {
    changed: () => writeFileSync(path, Buffer.from(good.toString().replace('many', 'none'))),
    cut: () => truncateSync(path, good.length - 30),
    missing: () => unlinkSync(path),
  };
  for (const [kind, tamper] of Object.entries(tampered))
    await context.test(kind, async () => {
      tamper();
      assert.deepEqual(new Set(await kinds()), new Set([kind]));
      writeFileSync(path, good);
      assert.deepEqual(await kinds(), []);
    });
  await context.test('added', async () => {
    const last = join(world.path, files.at(-1)!);
    appendFileSync(last, '[9999.0, "o", "forged"]\n');
    assert.deepEqual(await kinds(), ['added']);
  });
});

test('hashes go on the record while it goes on, and nobody waits for that', async (context) => {
  using world = recordingWorld();
  const pass = stopTime(context, world.clock);
  const { recorder, end } = openTestRecording(world.recordings);
  const line = Buffer.from(`${'x'.repeat(100)} \r\n`);
  for (let bytes = 0; bytes < 3 * recordingLimits.rangeBytes; bytes += line.length) recorder.output(line);
  recorder.output(Buffer.from('quiet\r\n'));
  pass(recordingLimits.rangeMs);
  await end(0);
  const told = world.told();
  const ranges = told.flatMap((one) => ('range' in one ? one.range : []));
  assert(ranges.length >= 2);
  for (const [index, { from }] of ranges.entries())
    assert.equal(from, index === 0 ? 0 : ranges[index - 1]!.to);
  assert.deepEqual(told.at(-1), { run: testRun.run, terminal: testTerminal.id, end: ranges.at(-1)!.to });
});

test('a torn line of a runner that was killed is cut by the next one, which completes the rest', async () => {
  using world = recordingWorld();
  const { recorder } = openTestRecording(world.recordings);
  recorder.output(Buffer.from(`shown ${'word '.repeat(1_000)}`));
  const [file] = readdirSync(world.path).filter((name) => name.endsWith('.cast'));
  appendFileSync(join(world.path, file!), '[12.5, "o", "torn in the mid');
  const next = world.begin();
  assert.equal(next.list(testRun.run)[0]?.endedAt, null);
  assert.match(playedData(events(recordedText(next)), 'o'), /^shown word/);
  await next.mend();
  const [info] = next.list(testRun.run);
  assert.notEqual(info?.endedAt, null);
  assert(!recordedText(next)!.includes('torn'));
  assert.equal(info?.exitCode, null);
  const report = await verifyRecording(world.path, world.told());
  assert.deepEqual([report.findings, report.isEnded], [[], true]);
  assert.equal(report.verifiedBytes, info?.recordingBytes);
});

test('what was dropped, torn or written and not told when the runner was killed is told by the next one', async (context) => {
  using world = recordingWorld({ bytesMax: 200_000, segmentBytesMax: 20_000 });
  const pass = stopTime(context, world.clock);
  const { recorder } = openTestRecording(world.recordings);
  for (let line = 0; line < 3_000; line += 1) recorder.output(Buffer.from(`line ${line} of many\r\n`));
  for (const call of ['write', 'truncate'] as const) world.disk.failing.set(call, 'EIO');
  recorder.output(Buffer.from('lost '.repeat(100)));
  pass(recordingLimits.settleMs);
  assert.equal(recorder.isRecorded, false);
  const files = () => readdirSync(world.path).filter((name) => name.endsWith('.cast'));
  appendFileSync(join(world.path, files().sort().at(-1)!), '[12.5, "o", "torn in the mid');
  world.disk.failing.clear();
  pass(recordingLimits.retryMs);
  assert(recorder.isRecorded);
  for (let line = 0; line < 3_000; line += 1) recorder.output(Buffer.from(`line ${line} of many\r\n`));
  assert(files().length > 6);
  world.events.length = 0;
  const next = world.begin();
  await next.mend();
  const report = await verifyRecording(world.path, world.told());
  assert.deepEqual([report.findings, report.isEnded], [[], true]);
  assert.equal(report.verifiedBytes, next.list(testRun.run)[0]?.recordingBytes);
  assert(report.dropped.length > 0);
});

test('a segment that was taken away while the runner was dead is not called dropped', async () => {
  using world = recordingWorld({ segmentBytesMax: 20_000, bytesMax: 10_000_000 });
  const { recorder } = openTestRecording(world.recordings);
  for (let line = 0; line < 3_000; line += 1) recorder.output(Buffer.from(`line ${line} of many\r\n`));
  const [, second] = readdirSync(world.path).sort();
  while (world.told().length < 4) await new Promise((resolve) => setImmediate(resolve));
  unlinkSync(join(world.path, second!));
  await world.begin().mend();
  const { findings } = await verifyRecording(world.path, world.told());
  assert.deepEqual(new Set(findings.map(({ kind }) => kind)), new Set(['missing']));
});

test('kill -9 of the writer loses at most 64 KiB of what was shown, and what is left plays', async () => {
  using world = recordingWorld();
  const { run, session } = testRun;
  const words = [writer, world.folders.root, run, session, testTerminal.id];
  const child = spawn(process.execPath, words, { stdio: ['ignore', 'pipe', 'inherit'] });
  let told = '';
  for await (const chunk of child.stdout) {
    told += chunk;
    if (told.split('\n').length > 60) break;
  }
  child.kill('SIGKILL');
  await once(child, 'exit');
  const shown = Number(told.trim().split('\n').at(-1));
  const next = world.begin();
  const played = playedData(events(recordedText(next)), 'o');
  const lines = played.split('\r\n').slice(0, -1);
  for (const [index, line] of lines.entries()) assert.equal(line, `line ${index} `);
  const lost =
    Buffer.byteLength(Array.from({ length: shown }, (_, line) => `line ${line} \r\n`).join('')) -
    played.length;
  assert(lost <= 64 * 1024, `${lost} bytes of ${played.length} are lost`);
  await next.mend();
  assert.equal((await verifyRecording(world.path, world.told())).findings.length, 0);
});
