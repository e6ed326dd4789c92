import { EscapeParser, type Sequence } from './escape-parser.ts';

export type PlainLinesOptions = {
  /**
   * What becomes of what is drawn over in its line: it is `gone`, as for whoever looks at the screen at the end, or it is
   * `kept` as a line of its own, for whoever asks what was ever to be seen.
   */
  readonly drawnOver: 'gone' | 'kept';
  /** A line that is longer is broken there. */
  readonly charactersMax: number;
};

type Control = Extract<Sequence, { kind: 'csi' }>;

/** Control sequences that put what follows on another line, or clear the screen. */
const moves = new Set('ABEFHJSTdf');
/** Those that stay in their line. */
const movesInLine = new Set('CDG');
const alternateScreens = new Set(['47', '1047', '1049']);
const lineEnds = new Set('\n\v\f\u0085');

/**
 * Lines of text as somebody who looked on would have read them, one after another: without escape sequences and control
 * characters, in memory that does not grow with what is sent. A line counts from when its first character came.
 */
export class PlainLines {
  readonly #options: PlainLinesOptions;
  readonly #onLine: (line: string, at: number) => void;
  readonly #parser = new EscapeParser(0, (sequence) => this.#take(sequence));
  /** One for each column; combining characters are with the one that they belong to. */
  #cells: string[] = [];
  #characters = 0;
  #column = 0;
  #at = 0;
  #now = 0;
  /** With `kept`: what is drawn next begins a line. */
  #moved = false;
  /** How many columns the terminal has, where that is known: a carriage return goes back to where its row begins. */
  columns = Number.POSITIVE_INFINITY;

  constructor(options: PlainLinesOptions, onLine: (line: string, at: number) => void) {
    this.#options = options;
    this.#onLine = onLine;
  }

  push(text: string, at: number): void {
    this.#now = at;
    this.#parser.push(text);
  }

  /** The line that has no end yet, where it holds anything. */
  end(): void {
    this.#break();
  }

  #take(sequence: Sequence): void {
    if (sequence.kind === 'text') {
      for (const character of sequence.text)
        if (!isInvisible(character.codePointAt(0)!)) this.#draw(character);
    } else if (sequence.kind === 'control') this.#control(sequence.character);
    else if (sequence.kind === 'escape' && sequence.intermediates === '') {
      if ('DEMc78'.includes(sequence.final)) this.#break();
    } else if (sequence.kind === 'csi') this.#sequence(sequence);
  }

  #control(character: string): void {
    const { drawnOver } = this.#options;
    if (lineEnds.has(character)) this.#endLine();
    else if (character === '\t') this.#draw(drawnOver === 'gone' ? '\t' : ' ');
    else if (character === '\r') this.#goTo(this.#rowStart());
    else if (character === '\b' && drawnOver === 'gone') this.#goTo(this.#column - 1);
    else if (character === '\b') this.#erase(this.#cells.length - 1, 1);
  }

  #sequence(sequence: Control): void {
    const { prefix, parameters, intermediates, final } = sequence;
    if (intermediates !== '') return;
    if (prefix === '?' && (final === 'h' || final === 'l')) {
      if (parameters.split(';').some((mode) => alternateScreens.has(mode))) this.#break();
    }
    if (prefix !== '') return;
    const count = Number(/^\d{1,6}/.exec(parameters)?.[0] ?? 0);
    if (movesInLine.has(final)) this.#moveInLine(final, Math.max(1, count));
    else if (this.#options.drawnOver === 'gone' && 'KJP@X'.includes(final) && !(final === 'J' && count > 1))
      this.#edit(final, count);
    else if (moves.has(final)) this.#break();
  }

  #moveInLine(final: string, count: number): void {
    if (final === 'G') this.#goTo(this.#rowStart() + count - 1);
    else this.#goTo(this.#column + (final === 'C' ? count : -count));
  }

  /** What editors of command lines and progress bars do to the line that they are in. */
  #edit(final: string, count: number): void {
    const times = Math.min(Math.max(1, count), this.#options.charactersMax);
    if (final === 'P') this.#erase(this.#column, times);
    else if (final === '@') this.#insert(times);
    else if (final === 'X') this.#blank(this.#column, this.#column + times);
    else {
      if (count === 1) this.#blank(this.#rowStart(), this.#column + 1);
      else this.#erase(count === 0 ? this.#column : this.#rowStart(), this.#cells.length);
    }
  }

  #draw(character: string): void {
    if (this.#moved) this.#break();
    if (this.#cells.length === 0) this.#at = this.#now;
    const isMark = this.#column > 0 && /^\p{Mn}$/u.test(character);
    const column = isMark ? this.#column - 1 : this.#column;
    while (this.#cells.length < column) this.#put(this.#cells.length, ' ');
    this.#put(column, isMark ? `${this.#cells[column] ?? ''}${character}` : character);
    this.#column = column + 1;
    if (this.#characters >= this.#options.charactersMax) this.#break();
  }

  #put(column: number, text: string): void {
    this.#characters += text.length - (this.#cells[column]?.length ?? 0);
    this.#cells[column] = text;
  }

  #erase(column: number, count: number): void {
    for (const text of this.#cells.splice(Math.max(0, column), count)) this.#characters -= text.length;
    if (this.#options.drawnOver === 'kept') this.#column = this.#cells.length;
  }

  #insert(count: number): void {
    const { length } = this.#cells;
    if (this.#column >= length) return;
    const added = Math.min(count, this.#options.charactersMax - length);
    this.#cells.splice(this.#column, 0, ...Array<string>(Math.max(0, added)).fill(' '));
    this.#characters += Math.max(0, added);
  }

  #blank(from: number, to: number): void {
    for (let column = from; column < Math.min(to, this.#cells.length); column += 1) this.#put(column, ' ');
  }

  #goTo(column: number): void {
    const last = Math.min(this.#rowStart() + this.columns, this.#options.charactersMax) - 1;
    if (this.#options.drawnOver === 'kept') this.#moved = true;
    else this.#column = Math.min(Math.max(0, column), last);
  }

  /** A line that is longer than the terminal is wide goes on in the next row; a full row is left by what is drawn next. */
  #rowStart(): number {
    const { columns } = this;
    return Number.isFinite(columns) ? Math.floor(Math.max(0, this.#column - 1) / columns) * columns : 0;
  }

  #endLine(): void {
    if (this.#cells.length === 0) this.#onLine('', this.#now);
    this.#break();
  }

  #break(): void {
    const line = this.#cells.join('');
    this.#cells = [];
    this.#characters = 0;
    this.#column = 0;
    this.#moved = false;
    if (line !== '') this.#onLine(line, this.#at);
  }
}

/** Control characters, and what changes the direction or the look of what is around it without being seen. */
function isInvisible(code: number): boolean {
  if (code < 0x20 || (code >= 0x7f && code <= 0x9f)) return true;
  if (code >= 0x200b && code <= 0x200f) return true;
  if (code >= 0x2028 && code <= 0x202e) return true;
  return (code >= 0x2060 && code <= 0x206f) || code === 0xfeff || (code >= 0xd800 && code <= 0xdfff);
}
