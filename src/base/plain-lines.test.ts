import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { PlainLines, type PlainLinesOptions } from './plain-lines.ts';

function lines(text: string, more: Partial<PlainLinesOptions> & { columns?: number } = {}): string[] {
  const all: string[] = [];
  const { columns = 80, ...options } = more;
  const plain = new PlainLines({ drawnOver: 'gone', charactersMax: 4_096, ...options }, (line) => {
    all.push(line);
  });
  plain.columns = columns;
  plain.push(text, 0);
  plain.end();
  return all;
}

/** Of bash 5.2 in a terminal of 40 columns, recorded as it came. */
const bash =
  '\x1b[?2004h$ echo one\r\n\x1b[?2004l\rone\r\n' +
  '\x1b[?2004h$ false\r\n\x1b[?2004l\r' +
  '\x1b[?2004h$ printf "10%%\\r50%%\\r100%%\\n"\r\n\x1b[?2004l\r10%\r50%\r100%\r\n' +
  '\x1b[?2004h$ echo twp\x08\x1b[Ko\x08\x08Xwo\x08\x08\r\n\x1b[?2004l\rtXwo\r\n' +
  '\x1b[?2004h$ echo edit\r\x1b[C\x1b[C\x1b[1P\x1b[1@E\r\n\x1b[?2004l\rbash: Echo: command not found\r\n' +
  '\x1b[?2004h$ echo\r\n\x1b[?2004l\r\r\n' +
  '\x1b[?2004h$ exit\r\n\x1b[?2004l\rexit\r\n';

describe('lines of what a shell drew', () => {
  it('are those of the screen: no line more for each command, edited ones as they were left, empty ones kept', () => {
    assert.deepEqual(lines(bash, { columns: 40 }), [
      ...['$ echo one', 'one', '$ false', '$ printf "10%%\\r50%%\\r100%%\\n"', '100%', '$ echo tXwo', 'tXwo'],
      ...['$ Echo edit', 'bash: Echo: command not found', '$ echo', '', '$ exit', 'exit'],
    ]);
  });

  it('hold the last state of what is drawn over, as far as it is', () => {
    for (const [text, expected] of [
      ['10%\r20%\r100%\n', ['100%']],
      ['downloading\rdone\n', ['doneloading']],
      ['downloading\r\x1b[Kdone\n', ['done']],
      ['downloading\x1b[2K\rdone\n', ['done']],
      ['\x1b[?25l|\b/\b-\b\\\b \bok\x1b[?25h\n', ['ok']],
      ['12345\x1b[3G\x1b[1Kx\n', ['  x45']],
      ['12345\x1b[2D\x1b[Xx\n', ['123x5']],
      ['a\x1b[3Cb\n', ['a   b']],
      ['last\r', ['last']],
      ['\r\r\n\r\n', ['', '']],
      ['one\x1b[2;5Htwo\x1b[2Jthree', ['one', 'two', 'three']],
      ['shell\x1b[?1049heditor\x1b[?1049lshell', ['shell', 'editor', 'shell']],
      ['e\u0301a\rx\n', ['xa']],
      ['\x1b[31ma\x1b[0m\tb\x07\x1b]52;c;aGk=\x07\u202ec\n', ['a\tbc']],
    ] as const)
      assert.deepEqual(lines(text), expected, JSON.stringify(text));
  });

  it('are as long as they were written, and begin again in the row that was reached', () => {
    const long = 'x'.repeat(100);
    assert.deepEqual(lines(`${long}\n`), [long]);
    // As line editors do at the margin.
    assert.deepEqual(lines(`${'a'.repeat(80)} \rb\n`), [`${'a'.repeat(80)}b`]);
    assert.deepEqual(lines(`${'a'.repeat(80)}\rb\n`), [`b${'a'.repeat(79)}`]);
  });

  it('hide nothing that was ever shown where that is asked for', () => {
    for (const [text, expected] of [
      ['rm -rf /\rls      \n', ['rm -rf /', 'ls      ']],
      ['rm -rf /\x1b[8Dls\n', ['rm -rf /', 'ls']],
      ['rm -rf /\x1b[1Gls\n', ['rm -rf /', 'ls']],
      ['rm -rf /\x1b[2K\x1b[8D\n', ['rm -rf /']],
      ['one\r\n\x1b[?2004l\rtwo\r\n', ['one', 'two']],
    ] as const)
      assert.deepEqual(lines(text, { drawnOver: 'kept' }), expected, JSON.stringify(text));
  });

  it('stay within their bound, and never hold a control, whatever comes', () => {
    const parts = [
      'x',
      'é',
      '\u0301',
      '\x1b[',
      '999999',
      ';',
      '@',
      'P',
      'X',
      'K',
      'C',
      'D',
      'G',
      '\r',
      '\b',
      '\n',
      '\t',
    ];
    const options = { charactersMax: 50 };
    fc.assert(
      fc.property(
        fc.array(fc.constantFrom(...parts), { maxLength: 200 }),
        fc.constantFrom('gone', 'kept'),
        fc.constantFrom(7, Number.POSITIVE_INFINITY),
        (all, drawnOver, columns) => {
          for (const line of lines(all.join(''), { ...options, drawnOver, columns })) {
            assert(line.length <= 52, JSON.stringify(line));
            assert.doesNotMatch(line.replaceAll('\t', ''), /\p{Cc}/u);
          }
        },
      ),
    );
  });
});
