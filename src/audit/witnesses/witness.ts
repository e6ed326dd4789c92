import type { WitnessSettings } from '../../contract/witnesses.ts';
import type { SignedCheckpoint } from '../checkpoint.ts';
import type { StreamTree } from '../stream-tree.ts';

/** A checkpoint on its way out, and the tree that it is of. */
export type Pushed = {
  readonly stream: string;
  readonly checkpoint: SignedCheckpoint;
  /** May have grown past the checkpoint. */
  readonly tree: Pick<StreamTree, 'rootAt' | 'consistency'>;
};

/**
 * What came of a push. `kept`: the witness has this checkpoint and nothing that contradicts it; `cosigned` is the note with
 * its own signature, verified. `conflict`: what it holds of this stream and what this server holds cannot both be one log
 * that only grew. `later`: nothing is known, and the same may work another time. Reasons are for operators: one bounded
 * line without control characters and without the secret.
 */
export type PushResult =
  | { readonly kind: 'kept'; readonly cosigned?: string }
  | { readonly kind: 'conflict'; readonly reason: string }
  | { readonly kind: 'later'; readonly reason: string; readonly retryAfterMs?: number };

/**
 * A place where checkpoints are kept out of this server's reach. Never called twice at a time for one stream. Nothing that it
 * has is ever replaced. The same push again is kept again.
 */
export type Witness = {
  /** Resolves, and never rejects; what it called `kept` survives a crash of this process. */
  push(pushed: Pushed, signal: AbortSignal): Promise<PushResult>;
  close(): void;
};

/** What a witness is made of; effects come with it. */
export type WitnessParts = {
  readonly settings: WitnessSettings;
  readonly version: string;
  readonly now: () => number;
  /** How long one request may take, its answer included. */
  readonly sendMs: number;
};
