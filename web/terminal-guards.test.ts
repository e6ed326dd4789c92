import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import headless from '@xterm/headless';
import { systemClock } from '../src/base/clock.ts';
import { drawable, guardTerminal, isTyped, pasteable } from './terminal-guards.ts';

/** What a sandbox prints so that a terminal does something; the name says what it would be without the guards. */
const attacks: readonly (readonly [string, string])[] = [
  ['DA1', '\x1b[c'],
  ['DA1 with a parameter', '\x1b[0c'],
  ['DA1 of eight bits', '\x9bc'],
  ['DA2', '\x1b[>c'],
  ['DA2 with a parameter', '\x1b[>0c'],
  ['DSR', '\x1b[5n'],
  ['the cursor', '\x1b[6n'],
  ['the cursor, privately', '\x1b[?6n'],
  ['DECRQM', '\x1b[4$p'],
  ['DECRQM, privately', '\x1b[?2004$p'],
  ['DECRQSS of colours', '\x1bP$qm\x1b\\'],
  ['DECRQSS of the scroll region', '\x1bP$qr\x1b\\'],
  ['DECRQSS of eight bits', '\x90$qm\x9c'],
  ['the size', '\x1b[18t'],
  ['the title', '\x1b[21t'],
  ['the icon', '\x1b[20t'],
  ['pixels', '\x1b[14t'],
  ['a colour', '\x1b]4;1;?\x07'],
  ['the foreground', '\x1b]10;?\x07'],
  ['the background', '\x1b]11;?\x1b\\'],
  ['the cursor’s colour', '\x1b]12;?\x07'],
];

type Made = { terminal: InstanceType<typeof headless.Terminal>; answers: string[] };

function open(guarded: boolean): Made {
  const terminal = new headless.Terminal({
    allowProposedApi: true,
    windowOptions: { getWinSizeChars: true, getWinTitle: true, getIconTitle: true, getWinSizePixels: true },
  });
  if (guarded) guardTerminal(terminal);
  const answers: string[] = [];
  terminal.onData((data) => answers.push(data));
  terminal.onTitleChange((title) => answers.push(`title ${title}`));
  return { terminal, answers };
}

const write = ({ terminal }: Made, text: string) =>
  new Promise<void>((resolve) => terminal.write(text, resolve));

test('no question that output asks is answered as if it had been typed', async () => {
  for (const [name, attack] of attacks) {
    const made = open(true);
    await write(made, `before ${attack}after`);
    assert.deepEqual(made.answers, [], name);
    assert.equal(made.terminal.buffer.active.getLine(0)?.translateToString(true), 'before after', name);
  }
});

test('the guards stay where output resets the terminal, or is cut anywhere', async () => {
  const made = open(true);
  await write(made, '\x1bc\x1b[!p');
  for (const [, attack] of attacks) for (const character of attack) await write(made, character);
  assert.deepEqual(made.answers, []);
});

test('the same questions are answered without the guards', async () => {
  const silent: string[] = [];
  for (const [name, attack] of attacks) {
    const made = open(false);
    await write(made, attack);
    if (made.answers.length === 0) silent.push(name);
  }
  // Those that a terminal without a window cannot answer; the browser tests ask them of one that has.
  const needWindow = ['the title', 'the icon', 'pixels', 'a colour'];
  assert.deepEqual(
    silent,
    attacks
      .map(([name]) => name)
      .filter((name) => needWindow.includes(name) || / (?:fore|back)ground$|colour$/.test(name)),
  );
});

test('titles, links and the clipboard are left alone, and the text beside them is shown', async () => {
  const made = open(true);
  await write(made, '\x1b]0;owned\x07a\x1b]2;owned\x1b\\b\x1b]8;;https://evil.example\x1b\\c\x1b]8;;\x1b\\');
  await write(made, '\x1b]52;c;b3duZWQ=\x07d\x1b]1337;SetMark\x07\x1b]777;notify;a;b\x07e\x1b]9;hello\x07f');
  assert.deepEqual(made.answers, []);
  const line = made.terminal.buffer.active.getLine(0);
  assert.equal(line?.translateToString(true), 'abcdef');
});

test('what draws still draws: colours, movement, the other screen', async () => {
  const made = open(true);
  await write(made, '\x1b[?1049h\x1b[2J\x1b[3;5H\x1b[1;31mred\x1b[0m\x1b[?25l');
  const { active } = made.terminal.buffer;
  assert.equal(active.type, 'alternate');
  assert.equal(active.getLine(2)?.translateToString(true), '    red');
  assert.equal(active.getLine(2)?.getCell(4)?.getFgColor(), 1);
});

test('a few bytes do not keep the page busy: repetitions and marks have a bound', async () => {
  const made = open(true);
  const started = systemClock.monotonic();
  for (const final of ['b', '@', 'L', 'M', 'P', 'S', 'T', 'X', 'I', 'Z', '^', ' @', ' A', "'}", "'~"])
    await write(made, `x\x1b[2147483647${final}`);
  const tookMs = systemClock.monotonic() - started;
  assert(tookMs < 1_000, `${tookMs} ms`);
  await write(made, '\x1b[2J\x1b[Hy\x1b[4b');
  assert.equal(made.terminal.buffer.active.getLine(0)?.translateToString(true), 'yyyyy');
  assert.equal(drawable(`e${'\u0301'.repeat(1_000_000)}.`), `e${'\u0301'.repeat(16)}.`);
  assert.equal(drawable('e\u0301 👩‍👩‍👧 日本'), 'e\u0301 👩‍👩‍👧 日本');
});

test('every place of xterm.js that types for the person is known', () => {
  const read = (path: string) =>
    readFileSync(join(import.meta.dirname, '../node_modules/@xterm/xterm/src', path), 'utf8');
  const answers = (source: string) =>
    [...source.matchAll(/triggerDataEvent\((.*)\);$/gm)]
      .map(([, given = '']) => given)
      .filter((given) => !/, true$/.test(given));
  assert.deepEqual(
    [answers(read('common/InputHandler.ts')).length, answers(read('browser/CoreBrowserTerminal.ts')).length],
    [12, 7],
    'a new version answers more or less than the guards were written for: read what changed, then count anew',
  );
});

test('focus reports are not typed; keys, pointers and pastes are', () => {
  assert.deepEqual(
    ['\x1b[I', '\x1b[O', '\x1b[A', '\x1bOH', '\x1b[<0;1;1M', 'a', '\x1b[200~x\x1b[201~'].map(isTyped),
    [false, false, true, true, true, true, true],
  );
});

test('a paste cannot end itself, and keeps its lines', () => {
  assert.equal(pasteable('a\x1b[201~\nrm -rf\t/\r\n\x9b201~ü\x00'), 'a[201~\nrm -rf\t/\r\n201~ü');
});
