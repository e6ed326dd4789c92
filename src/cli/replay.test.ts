import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { newId } from '../model/ids.ts';
import { buildProgram, runProgram } from './program.ts';
import { TestServer, testContext } from './test-api.ts';
import { type TestEnvironment, TestTerminal, testEnvironment } from './test-environment.ts';

let environment: TestEnvironment;
let terminal: TestTerminal;
let server: TestServer;
beforeEach(() => {
  environment = testEnvironment();
  terminal = new TestTerminal();
  server = new TestServer();
  const run = server.run('build', { phase: 'succeeded' });
  server.attach.terminal(run.id);
  server.attach.recording = cast([0.01, 'o', 'one '], [0.02, 'i', 'typed'], [0.03, 'o', 'two']);
});
afterEach(() => environment.dispose());

function cast(...events: readonly (readonly [number, string, string])[]): string {
  const header = { version: 2, width: 80, height: 24, timestamp: 1 };
  return [header, ...events].map((line) => `${JSON.stringify(line)}\n`).join('');
}

function replay(...words: string[]): Promise<number> {
  const context = testContext(environment, server);
  return runProgram(
    buildProgram(context, () => {}),
    ['replay', 'build', ...words],
    context,
  );
}

const out = () => environment.stdout.text;
const err = () => environment.stderr.text;
/** Resolves once the terminal shows it. */
async function shows(pattern: RegExp): Promise<void> {
  while (!pattern.test(out())) await new Promise((resolve) => setImmediate(resolve));
}

describe('replay', () => {
  it('plays what was shown in its time, not what was typed, and puts the terminal back', async () => {
    environment.terminal = terminal;
    server.attach.recording = cast(
      [0.01, 'o', 'one \x1b[?1049h'],
      [0.02, 'i', 'typed'],
      [0.03, 'o', 'two\x1b[6n'],
    );
    assert.equal(await replay(), 0);
    assert.equal(out(), '\x1b[H\x1b[2Jone \x1b[?1049htwo\x1b[?1049l\r\n');
    assert.match(err(), /the replay ended at 00:00/);
    assert.equal(terminal.isRaw, false);
    assert.deepEqual(readdirSync(environment.folder), []);
  });

  it('begins anywhere, with the screen as it was then', async () => {
    environment.terminal = terminal;
    server.attach.recording = cast(
      [1, 'o', 'early\r\n\x1b[31mred\x1b]52;c;eA==\x07'],
      [100, 'o', '\x1b[2J\x1b[Hlater'],
      [3_700, 'o', ' end'],
    );
    const ending = replay('--from', '01:30', '--speed', '1000000');
    assert.equal(await ending, 0);
    assert.match(out(), /early.*red.*later.* end/s);
    assert.doesNotMatch(out(), /\x1b\]/);
    environment.stdout.chunks.length = 0;
    assert.equal(await replay('--from', '1:01:00', '--idle', '1s', '--speed', '100'), 0);
    assert.match(out(), /later end/);
    assert.doesNotMatch(out(), /early/);
  });

  it('pauses, jumps, changes its speed and ends as keys say', async () => {
    environment.terminal = terminal;
    server.attach.recording = cast([0, 'o', 'start'], [4, 'o', ' four'], [500, 'o', ' late']);
    const ending = replay();
    await terminal.taken;
    await shows(/start/);
    terminal.type(' ');
    await shows(/paused at 00:00/);
    terminal.type('\x1b[C');
    terminal.type(' ');
    await shows(/start four/);
    terminal.type('g');
    await shows(/start four.*start/s);
    terminal.type('\x1b[A');
    terminal.type('q');
    assert.equal(await ending, 0);
    assert.doesNotMatch(out(), / late/);
    assert.equal(terminal.isRaw, false);
  });

  it('is text alone where there is no terminal', async () => {
    server.attach.recording = cast([0, 'o', '\x1b[1mbold\x1b[0m\r\n'], [900, 'o', '\x1b]0;x\x07next\r\n']);
    assert.equal(await replay(), 0);
    assert.equal(out(), 'bold\nnext\n');
    environment.stdout.chunks.length = 0;
    assert.equal(await replay('--from', '15:00'), 0);
    assert.equal(out(), 'next\n');
  });

  it('prints the lines of a shell without empty ones between them, and bars as they were left', async () => {
    server.attach.recording = cast(
      [0, 'o', '\x1b[?2004h$ make\r\n\x1b[?2004l\r'],
      [1, 'o', '10%\r'],
      [2, 'o', '50%\r100%\r'],
      [3, 'o', '\n\x1b[?2004h$ '],
    );
    assert.equal(await replay(), 0);
    assert.equal(out(), '$ make\n100%\n$ ');
  });

  it('passes over lines that are no events, time that goes back, and an end that is torn', async () => {
    server.attach.recording = `${cast([5, 'o', 'a'])}nonsense\n[1,"o","b"]\n["x","o","c"]\n[9,"o"]\n[6,"r","0x5"]\n[7,"o","d"]\n[8,"o","to`;
    assert.equal(await replay(), 0);
    assert.equal(out(), 'abd');
    server.attach.recording = '{"version":3}\n';
    assert.equal(await replay(), 1);
    assert.match(err(), /no asciicast of version 2/);
  });

  it('finds text, harmlessly, and says by its status whether it did', async () => {
    server.attach.matches = [{ at: 83.4, line: 'denied\x1b[2J' }];
    assert.equal(await replay('--search', 'denied', '--limit', '5'), 0);
    assert.equal(out(), '01:23  denied\\e[2J\n');
    assert.match(server.calls.at(-1) ?? '', /\{"text":"denied","limit":5\}/);
    server.attach.matches = [];
    assert.equal(await replay('--search', 'x'), 1);
  });

  it('saves the recording as it is, but over nothing and to no terminal', async () => {
    assert.equal(await replay('--output', 'a.cast'), 0);
    assert.equal(readFileSync(join(environment.folder, 'a.cast'), 'utf8'), server.attach.recording);
    assert.equal(await replay('--output', 'a.cast'), 1);
    assert.equal(await replay('--output', '-'), 0);
    assert.equal(out(), server.attach.recording);
    environment.stdout.isTerminal = true;
    assert.equal(await replay('--output', '-'), 2);
  });

  it('says what there is to choose from', async () => {
    server.attach.terminals.length = 0;
    assert.equal(await replay(), 1);
    assert.match(err(), /has no terminal.*sealwright logs/s);
    server.attach.terminal(newId('run', 1), { kind: 'exec' });
    server.attach.terminal(newId('run', 1), { kind: 'exec' });
    assert.equal(await replay(), 1);
    assert.match(err(), /has 2 such terminals.*runs terminals/s);
    assert.equal(await replay('--terminal', server.attach.terminals[1]!.id), 0);
    assert.equal(await replay('--terminal', 'trm_nothing'), 1);
    for (const words of [
      ['--speed', '0'],
      ['--from', 'noon'],
      ['--speed', 'x'],
      ['--idle', '-'],
    ])
      assert.equal(await replay(...words), 2);
  });
});
