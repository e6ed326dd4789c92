/** The only source of time. Tests pass their own. */
export type Clock = {
  /** Milliseconds since the Unix epoch; may jump with the system's clock. */
  now(): number;
  /** Milliseconds from an arbitrary start; never goes back. */
  monotonic(): number;
};

export const systemClock: Clock = {
  now: () => Date.now(),
  monotonic: () => performance.now(),
};
