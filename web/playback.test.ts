import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Cast, CastError, type CastEvent, CastReader, castLimits } from './asciicast.ts';
import { clockText, Playback } from './playback.ts';

const out = (at: number, text: string): CastEvent => ({ at, kind: 'output', text });

function castOf(...events: CastEvent[]): Cast {
  return { size: { columns: 80, rows: 24 }, events, seconds: events.at(-1)?.at ?? 0, isCut: false };
}

/** A stage that keeps what it was told, and frames that come when the test lets them. */
function stageOf(cast: Cast) {
  const told: string[] = [];
  let now = 0;
  let frames: (() => void)[] = [];
  const stage = {
    write: async (text: string) => void told.push(text),
    resize: ({ columns, rows }: { columns: number; rows: number }) => void told.push(`<${columns}x${rows}>`),
    reset: () => void told.push('<reset>'),
  };
  const clock = {
    now: () => now,
    frame: () => new Promise<void>((resolve) => frames.push(resolve)),
  };
  const playback = new Playback(cast, stage, clock);
  told.length = 0;
  /** Lets the browser draw once, so much later, and everything that hangs on it be done. */
  const frame = async (laterMs: number) => {
    now += laterMs;
    const due = frames;
    frames = [];
    for (const resolve of due) resolve();
    await new Promise((resolve) => setImmediate(resolve));
  };
  return { playback, told, frame };
}

const read = (...lines: readonly unknown[]) => {
  const reader = new CastReader();
  reader.push(lines.map((line) => (typeof line === 'string' ? line : JSON.stringify(line))).join('\n'));
  return reader.end();
};
const header = { version: 2, width: 80, height: 24 };

test('a recording is read in whatever pieces it comes', () => {
  const text = [header, [0.5, 'o', 'a\u001b[1mä'], [1, 'r', '100x30'], [2, 'i', 'typed'], [3, 'o', 'b']]
    .map((line) => JSON.stringify(line))
    .join('\n');
  const whole = read(text);
  assert.deepEqual(whole.events, [
    out(0.5, 'a\u001b[1mä'),
    { at: 1, kind: 'resize', size: { columns: 100, rows: 30 } },
    out(3, 'b'),
  ]);
  assert.equal(whole.seconds, 3);
  const reader = new CastReader();
  for (const character of text) reader.push(character);
  assert.deepEqual(reader.end(), whole);
});

test('lines that are no events are passed over, and time never goes back', () => {
  const { events } = read(
    header,
    ...['{', '', 'null', '[]', '[1,"o"]', '["1","o","x"]', '[-1,"o","x"]', '[1e99,"o","x"]', '[1,"o",5]'],
    ...[[1, 'r', '0x0'], [1, 'r', '9999x9999'], [1, 'r', 'x'], [1, 'z', 'x'], { at: 1 }],
    ...[[5, 'o', 'late'], [2, 'o', 'early'], '[6,"o","half'],
  );
  assert.deepEqual(events, [out(5, 'late'), out(5, 'early')]);
});

test('what is no recording is said to be none', () => {
  for (const first of [
    '',
    '[1,"o","x"]',
    '{"version":1,"width":80,"height":24}',
    '{"version":2}',
    '{"version":2,"width":1e9,"height":24}',
  ])
    assert.throws(() => read(first), CastError, first);
  const reader = new CastReader();
  assert.throws(() => reader.push('x'.repeat(castLimits.lineBytesMax + 1)), CastError);
});

test('a recording larger than a page may hold is cut, and says so', () => {
  const reader = new CastReader();
  reader.push(`${JSON.stringify(header)}\n`);
  const line = `${JSON.stringify([1, 'o', 'x'.repeat(900_000)])}\n`;
  let pushes = 0;
  while (reader.push(line)) pushes += 1;
  assert(pushes < 100 && pushes > 10);
  const cast = reader.end();
  assert.equal(cast.isCut, true);
  assert.equal(cast.events.length, pushes + 1);
});

test('it is played in its own time, faster where that is wanted, and ends', async () => {
  const { playback, told, frame } = stageOf(castOf(out(0, 'a'), out(1, 'b'), out(2, 'c'), out(10, 'd')));
  void playback.play();
  await frame(0);
  assert.deepEqual(told, ['a']);
  await frame(999);
  assert.deepEqual(told, ['a']);
  await frame(1);
  assert.deepEqual(told, ['a', 'b']);
  playback.speed = 4;
  await frame(250);
  assert.deepEqual(told, ['a', 'b', 'c']);
  await frame(2_000);
  assert.deepEqual(told, ['a', 'b', 'c', 'd']);
  assert.deepEqual(playback.state, { seconds: 10, isPlaying: false, hasEnded: true });
});

test('paused it stays, and goes on once where it is paused and played quickly', async () => {
  const { playback, told, frame } = stageOf(castOf(out(1, 'b'), out(2, 'c'), out(9, 'z')));
  void playback.play();
  await frame(0);
  playback.pause();
  await frame(5_000);
  assert.deepEqual(told, []);
  void playback.play();
  playback.pause();
  void playback.play();
  await frame(0);
  await frame(1_000);
  await frame(500);
  assert.equal(playback.state.seconds, 1.5);
  assert.deepEqual(told, ['b']);
});

test('after its end it plays from the beginning', async () => {
  const { playback, told, frame } = stageOf(castOf(out(1, 'a')));
  await playback.seek(1);
  assert.equal(playback.state.hasEnded, true);
  told.length = 0;
  void playback.play();
  await frame(0);
  await frame(0);
  assert.deepEqual(told, ['<reset>', '<80x24>']);
  await frame(1_000);
  assert.deepEqual(told, ['<reset>', '<80x24>', 'a']);
});

test('seeking forward draws what lies between, seeking back begins anew', async () => {
  const cast = castOf(
    out(1, 'a'),
    out(2, 'b'),
    { at: 3, kind: 'resize', size: { columns: 100, rows: 30 } },
    out(4, 'c'),
  );
  const { playback, told } = stageOf(cast);
  await playback.seek(2);
  assert.deepEqual(told, ['<reset>', '<80x24>', 'ab']);
  told.length = 0;
  await playback.seek(99);
  assert.deepEqual(told, ['<100x30>', 'c']);
  assert.equal(playback.state.seconds, 4);
  told.length = 0;
  await playback.seek(-5);
  assert.deepEqual(told, ['<reset>', '<80x24>']);
});

test('of many seeks at once the last counts, and large ones let the page draw in between', async () => {
  const events = Array.from({ length: 100 }, (_, number) => out(number, `${number} `.padEnd(100_000, '.')));
  const { playback, told, frame } = stageOf(castOf(...events));
  const first = playback.seek(99);
  await frame(0);
  const drawnAtOnce = told.join('').length;
  assert(drawnAtOnce > 100_000 && drawnAtOnce < 2_000_000, String(drawnAtOnce));
  const second = playback.seek(50);
  const third = playback.seek(1);
  for (let frames = 0; frames < 10; frames += 1) await frame(0);
  await Promise.all([first, second, third]);
  const { seconds } = playback.state;
  assert.equal(seconds, 1);
  const last = told.slice(told.lastIndexOf('<reset>')).join('');
  assert.deepEqual(
    [...last.matchAll(/\d+ \./g)].map(([text]) => text),
    ['0 .', '1 .'],
  );
});

test('times read like a clock', () => {
  assert.deepEqual([0, 59.9, 60, 3_599, 3_600, 90_061].map(clockText), [
    '00:00',
    '00:59',
    '01:00',
    '59:59',
    '1:00:00',
    '25:01:01',
  ]);
});
