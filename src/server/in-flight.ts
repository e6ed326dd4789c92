/** Work begun for callers, who may have left: what it works on is closed only once it has ended. */
export type InFlight = {
  /** Answers with the work itself. */
  track<T>(work: Promise<T>): Promise<T>;
  /** Resolves once all work has ended, whatever came of it, and at the latest after `mostMs`. */
  settled(mostMs: number): Promise<void>;
};

export function openInFlight(): InFlight {
  const works = new Set<Promise<unknown>>();
  return {
    track(work) {
      works.add(work);
      const done = () => works.delete(work);
      work.then(done, done);
      return work;
    },
    async settled(mostMs) {
      const late = new AbortController();
      const over = new Promise((resolve) => late.signal.addEventListener('abort', resolve));
      const timer = setTimeout(() => late.abort(), mostMs);
      while (works.size > 0 && !late.signal.aborted) await Promise.race([over, Promise.allSettled(works)]);
      clearTimeout(timer);
    },
  };
}
