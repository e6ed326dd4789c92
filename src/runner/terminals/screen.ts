import { SerializeAddon } from '@xterm/addon-serialize/lib/addon-serialize.mjs';
import headless, { type IBufferCell, type IBufferLine, type Terminal } from '@xterm/headless';
import type { TerminalSize } from '../../model/terminal.ts';
import { terminalLimits } from './limits.ts';

/** Sequences that do something as often as their number says, by prefix or sign in between and last character. */
const repeating: readonly { readonly intermediates?: string; readonly final: string }[] = [
  ...['@', 'b', 'I', 'L', 'M', 'P', 'S', 'T', 'X', 'Z', '^'].map((final) => ({ final })),
  ...['@', 'A'].map((final) => ({ intermediates: ' ', final })),
  ...['}', '~'].map((final) => ({ intermediates: "'", final })),
];

/** Titles, colours, links, clipboards: nothing of them is drawn, and some of it is kept for ever. */
const unheard = [0, 1, 2, 4, 8, 10, 11, 12, 52, 104, 110, 111, 112];

/** Endless marks on one character would be one endless string. */
const marks = new RegExp(
  String.raw`([\p{M}\p{Cf}]{${terminalLimits.combiningMarksMax}})[\p{M}\p{Cf}]+`,
  'gu',
);
const beyondLatin = /[\u0300-\uffff]/;

/** A sequence that goes on: as far as the parser is in one, what it has of it is a part of what it shows. */
const unfinished =
  /^(?:\x1b[ -/]*|(?:\x1b\[|\x9b)[0-?]*[ -/]*|(?:\x1b[\]PX^_]|[\x90\x98\x9d-\x9f])[^\x07\x1b\x9c]*)$/;
const begins = /[\x1b\x90\x98\x9b\x9d-\x9f](?=[^\x1b\x90\x98\x9b\x9d-\x9f]*$)/;
const unfinishedCharactersMax = 4_096;

type Inside = {
  readonly _core: { readonly buffer: { readonly scrollTop: number; readonly scrollBottom: number } };
};

/** Leaves the second screen, resets modes and colours, and empties the screen. */
export const redrawStart = '\x1b[?1049l\x1b[!p\x1b[?6l\x1b[r\x1b[m\x1b[H\x1b[2J';

/**
 * What a terminal shows, of untrusted output: bounded in memory whatever comes, and in time for each few bytes. It
 * answers nothing that programs ask a terminal, because nobody listens to what it would answer.
 */
export class Screen {
  readonly #terminal: Terminal;
  readonly #serialize = new SerializeAddon();
  readonly #decoder = new TextDecoder('utf-8', { ignoreBOM: true });
  #unfinished = '';
  #partOfCharacter: Buffer = Buffer.alloc(0);

  constructor(size: TerminalSize) {
    const { scrollbackLinesMax, scrollbackCellsMax } = terminalLimits;
    this.#terminal = new headless.Terminal({
      cols: size.columns,
      rows: size.rows,
      scrollback: Math.min(scrollbackLinesMax, Math.floor(scrollbackCellsMax / size.columns)),
      allowProposedApi: true,
      logLevel: 'off',
    });
    this.#terminal.loadAddon(this.#serialize);
    const { parser } = this.#terminal;
    for (const id of repeating)
      parser.registerCsiHandler(id, (params) => {
        const [count] = params;
        return typeof count === 'number' && count > terminalLimits.repetitionsMax;
      });
    for (const number of unheard) parser.registerOscHandler(number, () => true);
  }

  /** Calls back once the bytes are drawn. */
  write(bytes: Uint8Array, drawn: () => void): void {
    const text = this.#decoder.decode(bytes, { stream: true });
    this.#partOfCharacter = partOfCharacter(Buffer.concat([this.#partOfCharacter, bytes]));
    this.#unfinished = unfinishedIn(this.#unfinished + text);
    this.#terminal.write(beyondLatin.test(text) ? text.replace(marks, '$1') : text, drawn);
  }

  resize({ columns, rows }: TerminalSize): void {
    this.#terminal.resize(columns, rows);
  }

  /** What makes an empty terminal of the same size show the same, and continue in the same way. */
  snapshot(): Uint8Array {
    // The second screen would be filled with the colours that are set at its beginning.
    const content = this.#serialize.serialize().replace('\x1b[?1049h', '\x1b[m\x1b[?1049h');
    const drawn = redrawStart + content + blanks(this.#terminal) + this.#scrollRegion();
    return Buffer.concat([Buffer.from(drawn + this.#unfinished), this.#partOfCharacter]);
  }

  /** Which the addon leaves out, and no public member tells. Setting it moves the cursor. */
  #scrollRegion(): string {
    const { scrollTop, scrollBottom } = (this.#terminal as unknown as Inside)._core.buffer;
    const { rows, modes, buffer } = this.#terminal;
    if (scrollTop === 0 && scrollBottom === rows - 1) return '';
    const { cursorX, cursorY } = buffer.active;
    const row = cursorY + 1 - (modes.originMode ? scrollTop : 0);
    return `\x1b[${scrollTop + 1};${scrollBottom + 1}r\x1b[${row};${cursorX + 1}H`;
  }

  close(): void {
    this.#terminal.dispose();
  }
}

/** Blanks that were erased in a colour, which the addon leaves out where nothing else is on their line. */
function blanks({ buffer: { active }, rows, cols, modes }: Terminal): string {
  if (modes.originMode) return '';
  let text = '';
  const cell = active.getNullCell();
  for (let row = 0; row < rows; row += 1) {
    const line = active.getLine(active.baseY + row);
    for (let column = 0; column < cols; column += 1) {
      line?.getCell(column, cell);
      const next = cell.getCode() === 0 && cell.getWidth() === 1 ? background(cell) : '';
      if (next !== '') {
        const from = column;
        while (column + 1 < cols && isSameBlank(line, column + 1, cell, next)) column += 1;
        text += `\x1b[${row + 1};${from + 1}H\x1b[${next}m\x1b[${column + 1 - from}X`;
      }
    }
  }
  return text === '' ? '' : `\x1b7\x1b[m${text}\x1b8`;
}

function isSameBlank(
  line: IBufferLine | undefined,
  column: number,
  cell: IBufferCell,
  colour: string,
): boolean {
  line?.getCell(column, cell);
  return cell.getCode() === 0 && cell.getWidth() === 1 && background(cell) === colour;
}

/** As SGR has it; empty for the default. */
function background(cell: IBufferCell): string {
  const colour = cell.getBgColor();
  if (cell.isBgRGB()) return `48;2;${colour >> 16};${(colour >> 8) & 255};${colour & 255}`;
  return cell.isBgPalette() ? `48;5;${colour}` : '';
}

function unfinishedIn(text: string): string {
  const at = begins.exec(text.slice(-unfinishedCharactersMax));
  const last = at === null ? '' : at.input.slice(at.index);
  return unfinished.test(last) ? last : '';
}

/** The bytes at the end that a character of UTF-8 begins with whose others are not there. */
function partOfCharacter(bytes: Buffer): Buffer {
  for (let length = 1; length <= Math.min(3, bytes.length); length += 1) {
    const byte = bytes[bytes.length - length]!;
    if (byte < 0x80) break;
    if (byte < 0xc0) continue;
    const whole = byte >= 0xf0 ? 4 : byte >= 0xe0 ? 3 : 2;
    return length < whole ? Buffer.from(bytes.subarray(-length)) : Buffer.alloc(0);
  }
  return Buffer.alloc(0);
}
