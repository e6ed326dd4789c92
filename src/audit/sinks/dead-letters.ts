import { constants } from 'node:fs';
import { open } from 'node:fs/promises';
import { sinkLimits } from './limits.ts';
import { readState, writeState } from './state-file.ts';

/**
 * An event that a receiver refused for good. It names the event and does not copy it: the event itself stays in the log,
 * where it can be looked at, and whatever is redacted there is redacted here.
 */
export type DeadLetter = {
  readonly stream: string;
  readonly seq: number;
  readonly id: string;
  readonly action: string;
  readonly reason: string;
  /** When it was refused. */
  readonly at: string;
};

const lineBytesMax = 2 * 1024;
const fileBytesMax = 2 * sinkLimits.deadLettersMax * lineBytesMax;

/** The dead letters of a sink: lines of JSON in a file of mode 0600, each event once. */
export class DeadLetters {
  readonly #path: string;
  readonly #letters: Map<string, DeadLetter>;

  private constructor(path: string, letters: Map<string, DeadLetter>) {
    this.#path = path;
    this.#letters = letters;
  }

  /** A last line that a crash cut off is no letter: its event is refused once more. Throws where the file cannot be read. */
  static async open(path: string): Promise<DeadLetters> {
    const text = (await readState(path, fileBytesMax)) ?? '';
    const lines = text.split('\n').filter((line) => line !== '');
    const letters = lines.flatMap((line) => parse(line) ?? []);
    const dead = new DeadLetters(path, new Map(letters.map((letter) => [keyOf(letter), letter])));
    if (letters.length < lines.length || !/(^|\n)$/.test(text)) await dead.replace(letters);
    return dead;
  }

  get size(): number {
    return this.#letters.size;
  }

  /** Whether the next refused event must wait. */
  get isFull(): boolean {
    return this.#letters.size >= sinkLimits.deadLettersMax;
  }

  /** In the order of their streams. */
  all(): DeadLetter[] {
    return [...this.#letters.values()].sort((a, b) =>
      a.stream === b.stream ? a.seq - b.seq : a.stream < b.stream ? -1 : 1,
    );
  }

  /** Resolves once they would survive a crash. */
  async add(letters: readonly DeadLetter[]): Promise<void> {
    if (letters.length === 0) return;
    const flags = constants.O_WRONLY | constants.O_APPEND | constants.O_CREAT | constants.O_NOFOLLOW;
    const handle = await open(this.#path, flags, 0o600);
    try {
      await handle.appendFile(letters.map((letter) => `${JSON.stringify(letter)}\n`).join(''));
      await handle.datasync();
    } finally {
      await handle.close();
    }
    for (const letter of letters) this.#letters.set(keyOf(letter), letter);
  }

  /** Leaves just these. */
  async replace(letters: readonly DeadLetter[]): Promise<void> {
    await writeState(this.#path, letters.map((letter) => `${JSON.stringify(letter)}\n`).join(''));
    this.#letters.clear();
    for (const letter of letters) this.#letters.set(keyOf(letter), letter);
  }
}

function keyOf({ stream, seq }: DeadLetter): string {
  return `${stream} ${seq}`;
}

function parse(line: string): DeadLetter | null {
  try {
    const letter = JSON.parse(line) as DeadLetter;
    return typeof letter.stream === 'string' && Number.isSafeInteger(letter.seq) ? letter : null;
  } catch {
    return null;
  }
}
