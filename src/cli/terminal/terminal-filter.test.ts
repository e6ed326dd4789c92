import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import headless, { type Terminal } from '@xterm/headless';
import fc from 'fast-check';
import { draws, drives } from './escape-policy.ts';
import { TerminalFilter } from './terminal-filter.ts';

const drawn = (text: string) => new TerminalFilter(draws).text(text);
const driven = (text: string) => new TerminalFilter(drives).text(text);

/** What a terminal does with a text besides drawing. */
async function judged(text: string) {
  const terminal: Terminal = new headless.Terminal({ cols: 80, rows: 24, allowProposedApi: true });
  const did: string[] = [];
  terminal.onData((data) => did.push(`answered ${JSON.stringify(data)}`));
  terminal.onBinary(() => did.push('answered'));
  terminal.onTitleChange((title) => did.push(`title ${title}`));
  terminal.onBell(() => did.push('rang'));
  for (let code = 0; code < 2_000; code++)
    terminal.parser.registerOscHandler(code, () => {
      did.push(`osc ${code}`);
      return false;
    });
  await new Promise<void>((resolve) => terminal.write(text, resolve));
  const { mouseTrackingMode, bracketedPasteMode, sendFocusMode, applicationCursorKeysMode } = terminal.modes;
  if (mouseTrackingMode !== 'none') did.push('mouse');
  if (bracketedPasteMode) did.push('bracketed paste');
  if (sendFocusMode) did.push('focus');
  if (applicationCursorKeysMode) did.push('cursor keys');
  const lines = Array.from({ length: 24 }, (_, row) =>
    terminal.buffer.active.getLine(row)?.translateToString(true),
  );
  return { did, lines, terminal };
}

const attacks: Readonly<Record<string, string>> = {
  'clipboard write': '\x1b]52;c;cm0gLXJmIH4K\x07',
  'clipboard read': '\x1b]52;c;?\x1b\\',
  'clipboard by 8-bit controls': '\u009d52;c;aGk=\u009c',
  link: '\x1b]8;;file:///etc/passwd\x1b\\click\x1b]8;;\x1b\\',
  title: '\x1b]0;evil\x07',
  'title of screen': '\x1bkevil\x1b\\',
  'title report': '\x1b[21t',
  'icon report': '\x1b[20t',
  'settings report (DECRQSS)': '\x1bP$qm\x1b\\',
  'terminfo report (XTGETTCAP)': '\x1bP+q544e\x1b\\',
  'device attributes': '\x1b[c\x1b[>c\x1b[=c\x1bZ',
  'status reports': '\x1b[5n\x1b[6n\x1b[?6n',
  'mode report': '\x1b[?2004$p',
  answerback: '\x05',
  'checksum of the screen': '\x1b[1;1;1;1;24;80*y',
  'colour report': '\x1b]11;?\x07\x1b]4;1;?\x07',
  mouse: '\x1b[?1000;1003;1006h',
  'bracketed paste, focus, cursor keys': '\x1b[?2004h\x1b[?1004h\x1b[?1h\x1b=',
  printing: '\x1b[5i text \x1b[4i',
  'keys defined': '\x1bP0;1|17/6c73\x1b\\',
  'hidden in another': '\x1bPtmux;\x1b\x1b]52;c;aGk=\x07\x1b\\',
  notification: '\x1b]777;notify;a;b\x07\x1b]9;hi\x07\x1b]99;;x\x1b\\',
  'files of iTerm': '\x1b]1337;File=name=eA==;inline=0:aGk=\x07',
  'kitty graphics': '\x1b_Gf=24,t=f;L2V0Yy9wYXNzd2Q=\x1b\\',
  'window moved and resized': '\x1b[3;0;0t\x1b[8;200;400t\x1b[2t',
  bell: '\x07',
  'another character set': '\x1b%@',
  'cut in the middle': '\x1b]52;c;aG\x18k=\x07',
  'an endless string': '\x1b]52;c;aaaa',
};

describe('what draws', () => {
  for (const [name, attack] of Object.entries(attacks))
    it(`${name} does nothing`, async () => {
      const { did, lines, terminal } = await judged(`${drawn(`before${attack}`)}`);
      assert.deepEqual(did, []);
      assert.match(lines[0] ?? '', /^before/);
      terminal.dispose();
      const reaches = /\x1b\]|\x1bP|\x1b_|\x1b\^|\x1bX|\x1bk|[\u0080-\u009f]/;
      assert.doesNotMatch(drawn(attack), reaches);
    });

  it('the judge sees what attacks do where nothing stops them', async () => {
    for (const name of [
      'title',
      'device attributes',
      'status reports',
      'mouse',
      'clipboard write',
      'link',
      'bell',
    ]) {
      const { did } = await judged(attacks[name]!);
      assert.notDeepEqual(did, [], name);
    }
  });

  it('colours, cursor, erasing, scrolling and the alternate screen look as they were', async () => {
    const picture =
      'one\r\n\x1b[1;38;2;1;2;3mtwo\x1b[0m\x1b[5;10Hfive\x1b[2K\x1b[5;1Hgone\x1b7\x1b[2;5r\x1b[5;1H\n\x1b8' +
      '\x1b[?1049h\x1b[Halternate\x1b(0qqq\x1b(B\x1b[3b\x1b[?25l';
    const [original, filtered] = [await judged(picture), await judged(drawn(picture))];
    assert.deepEqual(filtered.lines, original.lines);
    assert.match(filtered.lines[0] ?? '', /^alternate─/);
    assert.equal(filtered.terminal.buffer.active.type, 'alternate');
  });

  it('whatever comes, however it is cut, does nothing but draw', async () => {
    const piece = fc.oneof(
      fc.constantFrom(...Object.values(attacks)),
      fc.constantFrom(
        '\x1b',
        '\x1b[',
        '\x1b]',
        '\x1bP',
        '\x1b\\',
        '\x07',
        ';',
        '?',
        '52',
        '\x9b',
        '\x9d',
        '\x18',
        '$q',
        'h',
        'n',
      ),
      fc.string({ unit: 'binary', maxLength: 8 }),
    );
    await fc.assert(
      fc.asyncProperty(fc.array(piece, { maxLength: 30 }), async (pieces) => {
        const filter = new TerminalFilter(draws);
        const passed = pieces.map((each) => filter.text(each)).join('');
        assert.equal(passed, drawn(pieces.join('')));
        const { did, terminal } = await judged(passed);
        terminal.dispose();
        assert.deepEqual(did, []);
      }),
      { numRuns: 150 },
    );
  });

  it('numbers that only make work, and endless sequences, are left out', () => {
    assert.equal(drawn('a\x1b[999999999bc'), 'ac');
    assert.equal(drawn(`a\x1b[${'1;'.repeat(400)}mc`), 'ac');
    const filter = new TerminalFilter(draws);
    for (let count = 0; count < 200; count++) assert.equal(filter.text(`\x1b]${'x'.repeat(65_536)}`), '');
  });
});

describe('what drives', () => {
  it('may be any sequence of a program, but none whose number only makes work', () => {
    assert.equal(driven('a\x1b[999999999bc\x1b[3b\x1b[99999999S'), 'ac\x1b[3b');
  });

  it('programs may ask, use mouse and keys, set titles and colours, and link', () => {
    for (const text of [
      '\x1b[6n\x1b[c\x1b[>c\x1b[?2026$p\x1b[>q',
      '\x1b[?1002;1006;2004h\x1b[?1l\x1b=',
      '\x1b]0;title\x1b\\\x1b]8;;https://example.com\x1b\\x\x1b]8;;\x1b\\\x1b]11;?\x1b\\',
      '\x1b[18t\x1b[>4;2m\x1b[?u',
      '\x1bPq#0;2;0;0;0#0~~@@\x1b\\',
      'ünïcödé 漢字 🦭\x07',
    ])
      assert.equal(driven(text), text);
  });

  it('nothing reaches past the terminal, or comes back as if it was typed', () => {
    const harmful = [
      ...['clipboard write', 'clipboard read', 'clipboard by 8-bit controls', 'title report', 'icon report'],
      ...['settings report (DECRQSS)', 'terminfo report (XTGETTCAP)', 'answerback', 'checksum of the screen'],
      ...['keys defined', 'hidden in another', 'notification', 'files of iTerm', 'kitty graphics'],
      ...['window moved and resized', 'another character set'],
    ];
    for (const name of harmful) assert.equal(driven(attacks[name]!), '', name);
    assert.equal(driven(attacks.printing!), ' text ');
  });

  it('bytes are split anywhere, and a full reset leaves the user’s own settings', () => {
    const bytes = Buffer.from('ä🦭\x1b[31mb');
    const filter = new TerminalFilter(drives);
    let passed = '';
    for (const byte of bytes) passed += filter.bytes(Uint8Array.of(byte));
    assert.equal(passed, 'ä🦭\x1b[31mb');
    assert.equal(filter.text('\x1bc'), '\x1b[0m\x1b[H\x1b[2J');
  });

  it('a program moves straight down in a raw terminal, too', () => {
    const filter = new TerminalFilter(drives, 'raw');
    assert.equal(filter.text('\x1b[1;42H\x1b[K\n\x1b[K\r\n'), '\x1b[1;42H\x1b[K\v\x1b[K\r\v');
    assert.equal(driven('a\n'), 'a\n');
  });

  it('what was switched is switched back, once', () => {
    const filter = new TerminalFilter(drives);
    filter.text('\x1b[?1049h\x1b[?1000h\x1b[?25l\x1b[?7l\x1b[?7h\x1b]11;#fff\x07\x1b[>1u\x1b[4h');
    const back = filter.restore();
    for (const part of ['\x1b[?1000l', '\x1b[?25h', '\x1b]111\x1b\\', '\x1b[=0;1u', '\x1b[4l'])
      assert(back.includes(part), JSON.stringify(part));
    assert(back.endsWith('\x1b[?1049l') && !back.includes('?7'));
    assert.equal(filter.restore(), '');
  });
});
