import { UsageFailure } from '../failure.ts';

export const defaultDetachKeys = 'ctrl-p,ctrl-q';

/** Behind what the keys that leave begin with, this one asks who is to drive. */
const wheelKey = 0x14;
const wheelKeyName = 'ctrl-t';

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

/** The keys that leave, for people. */
export function showKeys(keys: string): string {
  return keys.replaceAll(',', ' ');
}

/** The keys that ask who is to drive, for people; null where nothing is before the last key that leaves, or it is the same. */
export function showWheelKeys(keys: string): string | null {
  if (!hasWheelKey(parseDetachKeys(keys))) return null;
  return showKeys([...keys.split(',').slice(0, -1), wheelKeyName].join(','));
}

function hasWheelKey(keys: readonly number[]): boolean {
  return keys.length > 1 && keys.at(-1) !== wheelKey;
}

export type Taken = {
  /** What is to be typed. */
  readonly bytes: Uint8Array;
  /** What the keys behind that ask for, where there are any. */
  readonly act: 'leave' | 'wheel' | null;
  /** What was typed behind them. */
  readonly rest: Uint8Array;
};

/**
 * Finds the keys in what is typed that are not for the program. A beginning of them is held back until it is clear what it
 * is; everything else is passed on as it was typed.
 */
export class DetachKeys {
  readonly #keys: readonly number[];
  readonly #hasWheelKey: boolean;
  #matched = 0;

  constructor(keys: readonly number[]) {
    this.#keys = keys;
    this.#hasWheelKey = hasWheelKey(keys);
  }

  /** The keys that ask who is to drive, as a program gets them that they are meant for. */
  get wheel(): Uint8Array {
    return Uint8Array.from([...this.#keys.slice(0, -1), wheelKey]);
  }

  take(typed: Uint8Array): Taken {
    const none = new Uint8Array();
    if (this.#keys.length === 0) return { bytes: typed, act: null, rest: none };
    const bytes: number[] = [];
    for (const [at, byte] of typed.entries()) {
      const act = this.#actOf(byte);
      if (act !== null) {
        this.#matched = 0;
        return { bytes: Uint8Array.from(bytes), act, rest: typed.subarray(at + 1) };
      }
      if (byte !== this.#keys[this.#matched]) {
        // The keys may begin again within what was held back, as in ctrl-p ctrl-p ctrl-q.
        bytes.push(...this.#fallBack(byte));
        if (byte !== this.#keys[this.#matched]) {
          bytes.push(byte);
          continue;
        }
      }
      this.#matched += 1;
    }
    return { bytes: Uint8Array.from(bytes), act: null, rest: none };
  }

  #actOf(byte: number): Taken['act'] {
    if (this.#matched !== this.#keys.length - 1) return null;
    if (byte === this.#keys[this.#matched]) return 'leave';
    return this.#hasWheelKey && byte === wheelKey ? 'wheel' : null;
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
