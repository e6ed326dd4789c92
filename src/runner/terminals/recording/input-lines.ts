import type { ActorId } from '../../../model/actor.ts';
import type { Redactor } from '../../../redaction/redactor.ts';
import { recordingLimits } from './limits.ts';

const lineEnd = /[\r\n\x03\x04]/;

/**
 * What is typed, line by line, so that a secret which is typed letter by letter is found. What a terminal does not show is
 * not kept: a marker says that something was typed.
 */
export class InputLines {
  readonly #redactor: Redactor;
  readonly #write: (text: string) => void;
  readonly #decoder = new TextDecoder('utf-8', { ignoreBOM: true });
  #line = '';
  #author: ActorId | null = null;
  #isHidden = false;
  #timer: NodeJS.Timeout | null = null;

  constructor(options: { readonly redactor: Redactor; readonly write: (text: string) => void }) {
    this.#redactor = options.redactor;
    this.#write = options.write;
  }

  take(bytes: Buffer, by: ActorId, isHidden: boolean, mark: (marker: string) => void): void {
    if (by !== this.#author || isHidden !== this.#isHidden) {
      this.flush();
      // Half a character of one author is none of the next one's.
      this.#decoder.decode();
      if (by !== this.#author) mark(`input: ${by}`);
      if (isHidden) mark('input: hidden');
    }
    this.#author = by;
    this.#isHidden = isHidden;
    if (isHidden) return;
    this.#line += this.#decoder.decode(bytes, { stream: true });
    const isWhole = lineEnd.test(this.#line.slice(-1));
    if (isWhole || this.#line.length > recordingLimits.inputCharactersMax) this.flush();
    else this.#timer ??= setTimeout(() => this.flush(), recordingLimits.inputMs).unref();
  }

  flush(): void {
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
    const line = this.#line;
    this.#line = '';
    if (line !== '') this.#write(this.#redactor.text(line));
  }
}
