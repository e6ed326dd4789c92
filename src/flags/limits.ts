/** Bounds of feature flags. Bytes, counts and milliseconds as the names say. */
export const flagsLimits = {
  fileBytesMax: 64 * 1024,
  /** Aliases may stand for much more than the file holds. */
  aliasesMax: 100,
  /** How long a change of the file may go unseen, and how soon a failed look at the store is repeated. */
  lookEveryMs: 1_000,
  problemsShown: 8,
} as const;
