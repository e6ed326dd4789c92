import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import headless from '@xterm/headless';
import fc from 'fast-check';
import { FakeTerminal } from '../../../tests/support/fake-terminal.ts';
import { ScreenThread } from './screen-thread.ts';
import type { Subscription } from './subscription.ts';
import { TerminalHub, type TerminalRecorder } from './terminal-hub.ts';

type Inside = {
  readonly _core: { readonly buffer: { readonly scrollTop: number; readonly scrollBottom: number } };
};

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

/** Bytes that nobody holds any more do not count. */
setFlagsFromString('--expose_gc');
const collectGarbage = runInNewContext('gc') as () => void;

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

/** What somebody else's terminal of the same size shows of these bytes, cell by cell, and the state it is in. */
async function drawn(...pieces: (Buffer | null)[]): Promise<string> {
  const terminal = new headless.Terminal({ cols: 80, rows: 24, allowProposedApi: true });
  for (const piece of pieces)
    await new Promise<void>((resolve) => terminal.write(piece ?? Buffer.alloc(0), resolve));
  const { active } = terminal.buffer;
  const rows = Array.from({ length: 24 }, (_, row) => {
    const line = active.getLine(active.viewportY + row)!;
    return Array.from({ length: 80 }, (_, column) => {
      const cell = line.getCell(column)!;
      return `${cell.getChars() || ' '}${cell.getFgColor()}/${cell.getBgColor()}`;
    }).join('');
  });
  const { cursorX, cursorY, type } = active;
  const { scrollTop, scrollBottom } = (terminal as unknown as Inside)._core.buffer;
  const state = { cursorX, cursorY, type, modes: terminal.modes, scrollTop, scrollBottom };
  terminal.dispose();
  return [...rows, JSON.stringify(state)].join('\n');
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

test('a subscriber goes on at the offset it names, and gets a snapshot where that is gone', async () => {
  const { terminal, hub } = begin();
  const reader = await hub.subscribe(0);
  const line = 'x'.repeat(1023);
  for (let count = 0; count < 1_500; count += 1) await terminal.shows(`${line}\n`);
  terminal.close();
  await hub.outputEnded;
  assert.equal(await reader.next(), null, 'fell behind');
  const end = hub.outputBytes;
  assert.equal(end, 1_500 * 1_024);
  const resumed = await hub.subscribe(end - 5_000);
  assert.deepEqual([resumed.opening.resumed, resumed.opening.offset], [true, end - 5_000]);
  assert.equal((await readUntil(resumed, (text) => text.length === 5_000)).length, 5_000);
  for (const gone of [0, end + 1]) {
    const fresh = await hub.subscribe(gone);
    assert.deepEqual([fresh.opening.resumed, fresh.opening.offset], [false, end]);
    assert.equal(fresh.opening.snapshotBytes, fresh.snapshot?.length);
  }
});

test('who stops reading is cut, in bounded memory, and the shell and other readers go on', async () => {
  const { terminal, hub } = begin();
  const stalled = await hub.subscribe(0);
  const reader = await hub.subscribe(0);
  const chunk = Buffer.from('200 MB of this, and nobody waits for whoever does not read\r\n'.repeat(1_000));
  const before = process.memoryUsage();
  let most = 0;
  let received = 0;
  const total = 200 * 1024 ** 2;
  const reading = (async () => {
    for (let item = await reader.next(); item !== null; item = await reader.next())
      if ('bytes' in item) received += item.bytes.length;
  })();
  for (let sent = 0; sent < total; sent += chunk.length) {
    await terminal.shows(chunk);
    await turn();
    if (sent % (20 * chunk.length) !== 0) continue;
    collectGarbage();
    const { external, arrayBuffers } = process.memoryUsage();
    most = Math.max(most, external + arrayBuffers - before.external - before.arrayBuffers);
  }
  terminal.close();
  await hub.end(0);
  await reading;
  assert(received >= total, `${received} bytes were read`);
  assert.equal(await stalled.next(), null);
  assert(most < 16 * 1024 ** 2, `${most} bytes were in buffers`);
});

test('what else happens is told behind the output before it', async () => {
  const { terminal, recorder, hub } = begin();
  const reader = await hub.subscribe(0);
  await terminal.shows('one');
  await readUntil(reader, until('one'));
  await terminal.shows('two');
  await turn();
  hub.resize({ columns: 100, rows: 30 });
  recorder.tell(false);
  await terminal.shows('three');
  terminal.close();
  await hub.end(9);
  assert.equal(
    await readUntil(reader, (text) => text.includes('ended')),
    'two<{"told":"size","size":{"columns":100,"rows":30}}><{"told":"recorded","recorded":false}>three<{"told":"ended","code":9}>',
  );
  assert.equal(await reader.next(), null);
  const late = await hub.subscribe(0);
  assert.equal(
    await readUntil(late, (text) => text.includes('ended')),
    'onetwothree<{"told":"ended","code":9}>',
  );
});

test('input is typed in its order, counted, and recorded where that is wanted', async () => {
  const { terminal, recorder, hub } = begin();
  const gate = Promise.withResolvers<void>();
  terminal.reading = gate.promise;
  const author = { by: 'user:ann', recordInput: true } as const;
  const typed = [hub.type(Buffer.from('a'), author), hub.type(Buffer.from('b'), null)];
  gate.resolve();
  await Promise.all(typed);
  terminal.isEchoing = false;
  await hub.type(Buffer.from('secret'), author);
  assert.equal(Buffer.concat(terminal.typed).toString(), 'absecret');
  assert.deepEqual(recorder.said, ['user:ann typed a', 'user:ann hidden']);
  assert.equal(hub.typedBytes, 8);
});

test('a storm of sizes changes the terminal now and then, and to the last one', async (context) => {
  context.mock.timers.enable({ apis: ['setTimeout'] });
  const { terminal, hub } = begin();
  for (let columns = 2; columns <= 1_000; columns += 1) hub.resize({ columns, rows: 24 });
  context.mock.timers.tick(1_000);
  assert.deepEqual(
    terminal.sizes.map(({ columns }) => columns),
    [2, 1_000],
  );
  assert.equal(hub.size.columns, 1_000);
});
