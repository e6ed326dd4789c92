/** Columns of the table: a class for each character that words are made of, and one for all others. */
const classes = 64;
const classBits = 6;
const wordCharacters = 'abcdefghijklmnopqrstuvwxyz0123456789_-.:/ =+@';
const otherCharacters = 0;

const classOf = (() => {
  const table = new Uint8Array(128);
  for (const [index, character] of [...wordCharacters].entries()) {
    table[character.charCodeAt(0)] = index + 1;
    table[character.toUpperCase().charCodeAt(0)] = index + 1;
  }
  return table;
})();

/**
 * Finds every occurrence of many words in one pass whose cost per character does not depend on how many there are
 * (Aho and Corasick, 1975). Case is ignored; words are of `wordCharacters`.
 */
export class TriggerAutomaton {
  readonly #next: Uint16Array;
  /** By state: the words that end there; null where none does. */
  readonly #ends: readonly (readonly number[] | null)[];
  readonly #accepts: Uint8Array;

  constructor(words: readonly string[]) {
    const { next, ends } = build(words);
    this.#next = next;
    this.#ends = ends;
    this.#accepts = Uint8Array.from(ends, (found) => (found === null ? 0 : 1));
  }

  /**
   * Calls `found` with the index of a word and where its occurrence ends. What that returns is where to go on: a match
   * reaches to there, so nothing inside it is told.
   */
  scan(text: string, found: (word: number, end: number) => number): void {
    const next = this.#next;
    const accepts = this.#accepts;
    let state = 0;
    for (let at = 0; at < text.length; at += 1) {
      const code = text.charCodeAt(at);
      state = next[(state << classBits) | (code < 128 ? classOf[code]! : otherCharacters)]!;
      if (accepts[state] === 0) continue;
      const end = at + 1;
      const onward = this.#tell(state, end, found);
      if (onward <= end) continue;
      at = onward - 1;
      state = 0;
    }
  }

  #tell(state: number, end: number, found: (word: number, end: number) => number): number {
    for (const word of this.#ends[state]!) {
      const onward = found(word, end);
      if (onward > end) return onward;
    }
    return end;
  }
}

function build(words: readonly string[]): { next: Uint16Array; ends: (number[] | null)[] } {
  const rows: Uint16Array[] = [new Uint16Array(classes)];
  const ends: (number[] | null)[] = [null];
  for (const [index, word] of words.entries()) {
    let state = 0;
    for (const character of word) {
      const column = classOf[character.charCodeAt(0)] ?? otherCharacters;
      if (column === otherCharacters) throw new TypeError(`${character} is no character of a trigger`);
      if (rows[state]![column] === 0) {
        rows[state]![column] = rows.length;
        rows.push(new Uint16Array(classes));
        ends.push(null);
      }
      state = rows[state]![column]!;
    }
    ends[state] = [...(ends[state] ?? []), index];
  }
  complete(rows, ends);
  const next = new Uint16Array(rows.length * classes);
  for (const [state, row] of rows.entries()) next.set(row, state * classes);
  return { next, ends };
}

/** Makes of the tree of words an automaton without failures, level by level. */
function complete(rows: readonly Uint16Array[], ends: (number[] | null)[]): void {
  const fallbacks = new Uint16Array(rows.length);
  const queue: number[] = [...rows[0]!].filter((state) => state !== 0);
  for (const state of queue) {
    const fallback = fallbacks[state]!;
    const shorter = ends[fallback];
    if (shorter != null) ends[state] = [...(ends[state] ?? []), ...shorter];
    for (let column = 0; column < classes; column += 1) {
      const child = rows[state]![column]!;
      const elsewhere = rows[fallback]![column]!;
      if (child === 0) rows[state]![column] = elsewhere;
      else {
        fallbacks[child] = elsewhere;
        queue.push(child);
      }
    }
  }
}
