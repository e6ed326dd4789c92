import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import fc from 'fast-check';
import { FakeTerminal } from '../../../tests/support/fake-terminal.ts';
import { Screen } from './screen.ts';
import { ScreenThread } from './screen-thread.ts';
import type { Subscription } from './subscription.ts';
import { TerminalHub, type TerminalRecorder } from './terminal-hub.ts';

const size = { columns: 80, rows: 24 };
const screens = new ScreenThread();
after(() => screens.close());

/** Keeps what it is told, in words. */
class SpokenRecorder implements TerminalRecorder {
  readonly said: string[] = [];
  isRecorded = true;
  #listener: (isRecorded: boolean) => void = () => undefined;

  onRecorded(listener: (isRecorded: boolean) => void): void {
    this.#listener = listener;
  }

  tell(isRecorded: boolean): void {
    this.isRecorded = isRecorded;
    this.#listener(isRecorded);
  }

  output(bytes: Buffer): void {
    this.said.push(`shown ${bytes}`);
  }

  input(bytes: Buffer, { by, isHidden }: { by: string; isHidden: boolean }): void {
    this.said.push(isHidden ? `${by} hidden` : `${by} typed ${bytes}`);
  }

  resized({ columns, rows }: typeof size): void {
    this.said.push(`${columns}x${rows}`);
  }
}

function begin() {
  const terminal = new FakeTerminal();
  const recorder = new SpokenRecorder();
  const hub = new TerminalHub({ terminal, size, screens, recorder });
  return { terminal, recorder, hub };
}

/** Reads until all that was shown by then is read; tells the bytes and, in their place, what else was told. */
async function readUntil(subscription: Subscription, isEnough: (text: string) => boolean): Promise<string> {
  let text = '';
  while (!isEnough(text)) {
    const item = await subscription.next();
    if (item === null) return `${text}<cut>`;
    text += 'bytes' in item ? item.bytes.toString('latin1') : `<${JSON.stringify(item.told)}>`;
  }
  return text;
}

const until = (mark: string) => (text: string) => text.endsWith(mark);

/** What a terminal of the same size shows of these bytes. */
async function drawn(...pieces: (Buffer | null)[]): Promise<string> {
  const screen = new Screen(size);
  for (const piece of pieces)
    await new Promise<void>((resolve) => screen.write(piece ?? Buffer.alloc(0), resolve));
  const text = Buffer.from(screen.snapshot()).toString();
  screen.close();
  return text;
}

test('output goes to every subscriber from where it stands, and to the recorder first', async () => {
  const { terminal, recorder, hub } = begin();
  const early = await hub.subscribe(0);
  await terminal.shows('one ');
  assert.equal(await readUntil(early, until('one ')), 'one ');
  const late = await hub.subscribe(null);
  await terminal.shows('two.');
  assert.equal(await readUntil(early, until('.')), 'two.');
  assert.equal(await readUntil(late, until('.')), 'two.');
  assert.match(late.snapshot!.toString(), /one $/);
  assert.deepEqual([late.opening.offset, late.opening.resumed, early.opening.resumed], [4, false, true]);
  assert.deepEqual(recorder.said, ['shown one ', 'shown two.']);
});

test('a snapshot and what follows it show the same as everything, wherever it is taken', async () => {
  const words = fc.constantFrom(
    'text ',
    '\r\n',
    '\t',
    'žluť 漢字 ',
    '\x1b[31m',
    '\x1b[1;44m',
    '\x1b[m',
    '\x1b[5;10H',
    '\x1b[2J',
    '\x1b[K',
    '\x1b[3A',
    '\x1b[?1049h',
    '\x1b[?1049l',
    '\x1b[?25l',
    '\x1b[?2004h',
    '\x1b[4;20r',
    '\x1b[L',
    '\x1b[2M',

    '\b',
    'long '.repeat(40),
  ); // prettier-ignore
  await fc.assert(
    fc.asyncProperty(
      fc.array(words, { maxLength: 60 }),
      fc.double({ min: 0, max: 1, noNaN: true }),
      async (parts, share) => {
        const bytes = Buffer.from(parts.join(''));
        const split = Math.floor(bytes.length * share);
        const { terminal, hub } = begin();
        if (split > 0) await terminal.shows(bytes.subarray(0, split));
        const first = await hub.subscribe(0);
        if (split > 0) await readUntil(first, (text) => text.length === split);
        const { snapshot, opening } = await hub.subscribe(null);
        terminal.close();
        await hub.end(0);
        assert.equal(opening.offset, split);
        assert.equal(await drawn(snapshot, bytes.subarray(split)), await drawn(bytes), JSON.stringify(parts));
      },
    ),
    { numRuns: 60 },
  );
});
