import type { Change } from '../store/identity-store.ts';

/**
 * What changed in the store, whoever changed it: this process or another on the same store. Everything that identity
 * and access keep in memory is dropped by it, and live streams are authorized again.
 */
export type ChangeFeed = {
  /** Whether what is kept in memory may be believed: the last look at the store was a moment ago. */
  readonly isFresh: boolean;
  /** Listeners are called in the order of the changes, and must not throw. */
  on(listener: (change: Change) => void): () => void;
  /** Looks now. After a write of this process, its listeners have run when this resolves. */
  look(): Promise<void>;
  close(): Promise<void>;
};
