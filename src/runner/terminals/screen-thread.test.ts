import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Worker } from 'node:worker_threads';
import { type ModelledScreen, ScreenThread } from './screen-thread.ts';

const size = { columns: 80, rows: 24 };

function open(thread: ScreenThread, replayed = ''): ModelledScreen {
  return thread.open({ size: () => size, replay: () => Buffer.from(replayed), onRoom: () => undefined });
}

/** What a fresh screen shows once the hostile bytes are drawn: it has to answer, and soon. */
async function survives(hostile: Buffer): Promise<string> {
  const thread = new ScreenThread();
  try {
    const screen = open(thread);
    for (let at = 0; at < hostile.length; at += 65_536) {
      screen.write(hostile.subarray(at, at + 65_536));
      if (screen.waitingBytes > 512 * 1024) await screen.snapshot();
    }
    screen.write(Buffer.from('\x1b\\\x18\x1bc still here'));
    const other = open(thread);
    other.write(Buffer.from('another'));
    assert.match(String(await other.snapshot()), /another/);
    return String(await screen.snapshot());
  } finally {
    await thread.close();
  }
}

const megabyte = 1024 * 1024;
const filled = (begin: string, piece: string) => Buffer.from(begin + piece.repeat(megabyte / piece.length));
const hostile: Record<string, Buffer> = {
  'repetitions without end': Buffer.from(
    ['b', '@', 'L', 'M', 'P', 'S', 'T', 'X', 'I', 'Z', ' @', ' A', "'}", "'~"]
      .map((final) => `x\x1b[2147483647${final}`)
      .join(''),
  ),
  'parameters without end': filled('\x1b[', '4294967295;'),
  'a title without end': filled('\x1b]0;', 'title '),
  'a link for each character': filled('', '\x1b]8;;http://x/1\x1b\\a'),
  'a clipboard without end': filled('\x1b]52;c;', 'AAAA'),
  'a device control string without end': filled('\x1bPq', '#0~~@@vv$'),
  'marks without end on one character': filled('e', '\u0301'),
  'joiners without end': filled('e', '\u200d'),
  'questions without end': filled('', '\x1b[c\x1b[>c\x1b[6n\x1bP$qm\x1b\\\x1b]10;?\x07\x1b[?1$p'),
  'the other screen, over and over': filled('', '\x1b[?1049h\x1b[?1049l'),
  'bytes that are no characters': Buffer.alloc(megabyte, 0xff),
};
for (const [name, bytes] of Object.entries(hostile))
  test(`a screen survives ${name}`, async () => {
    assert.match(await survives(bytes), /still here/);
  });

test('a terminal whose model takes too much time loses it, and others keep theirs', async () => {
  const thread = new ScreenThread();
  const slow = open(thread);
  const other = open(thread);
  const tall = Buffer.from('\x1b[1000L\x1b[1000M'.repeat(6_000));
  other.write(Buffer.from('another'));
  for (let count = 0; count < 4 && slow.waitingBytes < 512 * 1024; count += 1)
    slow.write(tall.subarray(0, 65_536));
  assert.match(String(await other.snapshot()), /another/);
  await slow.snapshot();
  slow.write(Buffer.from('goes on'));
  assert.match(String((await slow.snapshot()) ?? 'goes on'), /goes on/);
  await thread.close();
});

/** A thread that dies or hangs when it is told to draw this. */
const mortal = `
  const { parentPort, workerData: { drawing } } = require('node:worker_threads');
  const shown = new Map();
  parentPort.on('message', ({ order, screen, bytes, question }) => {
    if (order === 'open') shown.set(screen, '');
    if (order === 'write') {
      Atomics.store(drawing, 0, screen);
      const text = Buffer.from(bytes).toString();
      if (text === 'die') process.exit(1);
      if (text === 'throw') throw new Error('hostile');
      while (text === 'hang');
      shown.set(screen, shown.get(screen) + text);
      Atomics.store(drawing, 0, -1);
      parentPort.postMessage({ screen, taken: bytes.length });
    }
    if (order === 'snapshot') parentPort.postMessage({ question, bytes: Buffer.from(shown.get(screen) ?? '') });
  });
`;

for (const end of ['die', 'throw', 'hang'])
  test(`a thread that comes to its end is made anew, with what others showed: ${end}`, async () => {
    let threads = 0;
    const thread = new ScreenThread({
      stallMs: 200,
      start: (workerData) => {
        threads += 1;
        return new Worker(mortal, { eval: true, workerData });
      },
    });
    const good = open(thread, 'what it showed');
    const bad = open(thread, 'never replayed');
    good.write(Buffer.from('what it showed'));
    assert.equal(String(await good.snapshot()), 'what it showed');
    for (let death = 1; death <= 3; death += 1) {
      bad.write(Buffer.from(end));
      assert.equal(await bad.snapshot(), null, 'lost with the thread');
      assert.equal(bad.waitingBytes, 0);
      assert.equal(String(await good.snapshot()), 'what it showed');
      if (death < 3) assert.equal(String(await bad.snapshot()), '');
    }
    assert.equal(threads, 4);
    bad.write(Buffer.from('not drawn any more'));
    assert.deepEqual([bad.waitingBytes, await bad.snapshot()], [0, null]);
    await thread.close();
  });
