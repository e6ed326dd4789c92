import { StringDecoder } from 'node:string_decoder';
import { PlainLines } from '../../base/plain-lines.ts';
import type { TerminalMatch } from '../../contract/attach-schemas.ts';
import { controlAttachLimits } from './limits.ts';

/** Looks for a text in an asciicast (version 2) as its bytes come. What is in it is the sandbox's: untrusted. */
export class RecordingSearch {
  readonly #text: string;
  readonly #limit: number;
  readonly #decoder = new StringDecoder('utf8');
  /** What was drawn over was shown, too: nobody hides anything by that. */
  readonly #lines = new PlainLines(
    { drawnOver: 'kept', charactersMax: controlAttachLimits.searchTextCharactersMax },
    (line, at) => this.#look(line, at),
  );
  readonly matches: TerminalMatch[] = [];
  #rest = '';
  #isHeader = true;
  /** Of a line that is longer than any that the runner writes. */
  #skips = false;

  constructor(text: string, limit: number) {
    this.#text = text.toLowerCase();
    this.#limit = limit;
  }

  get isFull(): boolean {
    return this.matches.length >= this.#limit;
  }

  push(bytes: Buffer): void {
    const lines = (this.#rest + this.#decoder.write(bytes)).split('\n');
    this.#rest = lines.pop() ?? '';
    for (const line of lines) {
      if (!this.#skips) this.#line(line);
      this.#skips = false;
    }
    if (this.#rest.length <= controlAttachLimits.searchLineCharactersMax) return;
    this.#rest = '';
    this.#skips = true;
  }

  /** What was on the last line. */
  end(): void {
    this.#lines.end();
  }

  #line(line: string): void {
    if (this.#isHeader || this.isFull) {
      this.#isHeader = false;
      return;
    }
    const event = eventOf(line);
    if (event !== null && event.kind === 'o') this.#lines.push(event.text, event.at);
  }

  #look(line: string, at: number): void {
    if (!this.isFull && line.toLowerCase().includes(this.#text)) this.matches.push({ at, line });
  }
}

/** An event of an asciicast; null for what is none, such as the end of a line that was cut off. */
function eventOf(line: string): { at: number; kind: string; text: string } | null {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch {
    return null;
  }
  if (!Array.isArray(value)) return null;
  const [at, kind, text] = value as unknown[];
  if (typeof at !== 'number' || typeof kind !== 'string' || typeof text !== 'string') return null;
  return { at, kind, text };
}
