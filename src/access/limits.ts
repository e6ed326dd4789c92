import assert from 'node:assert/strict';

/** Bounds of access. Counts and bytes as the names say. */
export const accessLimits = {
  /** What one administrator's document may hold, and all of them together. */
  textBytesMax: 32 * 1024,
  policiesPerDocumentMax: 50,
  policiesMax: 500,
  /**
   * How deep an expression may go, as `text-shape.ts` counts. The evaluator has a stack of its own that overflows,
   * and takes every later decision with it, from about three times as deep.
   */
  depthMax: 64,
  /** `&&`, `||` and `if` in one policy. */
  branchesMax: 300,
  problemsMax: 16,
  /** Decisions that are remembered in each of two halves, of which the older is forgotten. */
  decisionsKept: 8_192,
  /** Entries of one list of client networks. */
  networksMax: 256,
} as const;

assert(accessLimits.policiesPerDocumentMax <= accessLimits.policiesMax);
