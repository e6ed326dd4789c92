import { randomInt } from 'node:crypto';

/** Random choices that a printed seed repeats. */
export type Seeded = {
  readonly seed: number;
  /** From 0 to below 1. */
  fraction(): number;
  /** A whole number from `min` to `max`, both included. */
  between(min: number, max: number): number;
  pick<T>(choices: readonly T[]): T;
  shuffle<T>(items: readonly T[]): T[];
};

/** `SEALWRIGHT_SEED` repeats an earlier run of a test. */
export function seeded(seed = Number(process.env.SEALWRIGHT_SEED ?? randomInt(2 ** 31))): Seeded {
  let state = seed >>> 0;
  /** mulberry32: 32 bits of state are plenty for choosing moments. */
  const fraction = () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
  const between = (min: number, max: number) => min + Math.floor(fraction() * (max - min + 1));
  return {
    seed,
    fraction,
    between,
    pick: (choices) => choices[between(0, choices.length - 1)]!,
    shuffle: (items) => {
      const left = [...items];
      return items.map(() => left.splice(between(0, left.length - 1), 1)[0]!);
    },
  };
}
