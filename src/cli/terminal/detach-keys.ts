import { UsageFailure } from '../failure.ts';

export const defaultDetachKeys = 'ctrl-p,ctrl-q';

/** The bytes of keys such as `ctrl-p,ctrl-q` or `ctrl-],d`, as docker writes them; `none` for none. Throws UsageFailure. */
export function parseDetachKeys(text: string): readonly number[] {
  if (text === 'none') return [];
  return text.split(',').map((key) => {
    const control = /^ctrl-([a-z@[\]\\^_])$/i.exec(key)?.[1];
    if (control !== undefined) return control.toUpperCase().charCodeAt(0) & 0x1f;
    if (/^[!-~]$/.test(key)) return key.charCodeAt(0);
    throw new UsageFailure(
      `--detach-keys takes keys such as ctrl-p,ctrl-q or ctrl-],d, not "${text}"`,
      'A key is one character or ctrl- and one of a-z @ [ ] \\ ^ _; none switches it off.',
    );
  });
}

/** Finds the keys in what is typed. A beginning of them is held back until it is clear what it is. */
export class DetachKeys {
  readonly #keys: readonly number[];
  #matched = 0;

  constructor(keys: readonly number[]) {
    this.#keys = keys;
  }

  /** What is to be typed, up to the keys where they are there; what follows them is dropped. */
  take(typed: Uint8Array): { readonly bytes: Uint8Array; readonly detach: boolean } {
    if (this.#keys.length === 0) return { bytes: typed, detach: false };
    const bytes: number[] = [];
    for (const byte of typed) {
      if (byte !== this.#keys[this.#matched]) {
        // The keys may begin again within what was held back, as in ctrl-p ctrl-p ctrl-q.
        bytes.push(...this.#fallBack(byte));
        if (byte !== this.#keys[this.#matched]) {
          bytes.push(byte);
          continue;
        }
      }
      this.#matched += 1;
      if (this.#matched === this.#keys.length) return { bytes: Uint8Array.from(bytes), detach: true };
    }
    return { bytes: Uint8Array.from(bytes), detach: false };
  }

  /** Gives up as much of what was held back as it takes for `byte` to follow the rest. */
  #fallBack(byte: number): number[] {
    const held = this.#keys.slice(0, this.#matched);
    for (let from = 1; from <= held.length; from++) {
      const rest = held.slice(from);
      const fits = rest.every((key, at) => key === this.#keys[at]) && this.#keys[rest.length] === byte;
      if (!fits) continue;
      this.#matched = rest.length;
      return held.slice(0, from);
    }
    this.#matched = 0;
    return held;
  }
}
