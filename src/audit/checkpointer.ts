import { join } from 'node:path';
import type { Clock } from '../base/clock.ts';
import { checkpointFile, type SignedCheckpoint, signCheckpoint } from './checkpoint.ts';
import type { AuditDisk } from './disk.ts';
import { replaceFile } from './folders.ts';
import { auditLimits } from './limits.ts';
import type { NoteSigner } from './signed-note.ts';
import type { StreamTree } from './stream-tree.ts';

export type CheckpointerOptions = {
  readonly disk: AuditDisk;
  readonly folder: string;
  readonly clock: Clock;
  readonly tree: StreamTree;
  readonly signer: NoteSigner;
  /** The one in the stream's folder; null in a new stream. */
  readonly newest: SignedCheckpoint | null;
  /** Where a copy goes as well. */
  readonly keptCheckpoint?: string;
  readonly onFailed: (error: unknown) => void;
};

/**
 * Signs what is on the disk: `checkpointEveryMs` after the first event that no checkpoint holds, or as soon as there are
 * `checkpointEventsMax` of them. One at a time: where the disk is slower than events come, the next one holds more.
 */
export class Checkpointer {
  readonly #options: CheckpointerOptions;
  readonly #listeners = new Set<(checkpoint: SignedCheckpoint) => void>();
  #signer: NoteSigner;
  #newest: SignedCheckpoint | null;
  /** Who signed the newest; null where another run of the writer did. */
  #newestBy: NoteSigner | null = null;
  /** When the last that was asked for is done, however it ends: they are written one after the other. */
  #written: Promise<void> = Promise.resolve();
  /** One was begun by itself. */
  #started = false;
  #pause: Promise<void> | null = null;
  #timer: NodeJS.Timeout | null = null;
  #stopped = false;

  constructor(options: CheckpointerOptions) {
    this.#options = options;
    this.#signer = options.signer;
    this.#newest = options.newest;
  }

  get signer(): NoteSigner {
    return this.#signer;
  }

  get newest(): SignedCheckpoint | null {
    return this.#newest;
  }

  onCheckpoint(listener: (checkpoint: SignedCheckpoint) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Checkpoints are by this key from what `announce` writes on: none is signed by either meanwhile. One change at a time. */
  async changeSigner(signer: NoteSigner, announce: () => Promise<unknown>): Promise<void> {
    const pause = Promise.withResolvers<void>();
    this.#pause = pause.promise;
    try {
      await this.#written;
      await announce();
      this.#signer = signer;
    } finally {
      this.#pause = null;
      pause.resolve();
      this.grown();
    }
  }

  /** The tree has grown. */
  grown(): void {
    const events = this.#options.tree.size - (this.#newest?.size ?? 0);
    if (this.#stopped || this.#pause !== null || events === 0) return;
    if (events >= auditLimits.checkpointEventsMax) this.#start();
    else this.#timer ??= setTimeout(() => this.#start(), auditLimits.checkpointEveryMs).unref();
  }

  /** Resolves once a checkpoint of everything that is in the tree now is on the disk; rejects where it cannot be. */
  async write(): Promise<void> {
    await this.#pause;
    await this.writeBefore();
  }

  /** As `write`, for what is about to append: also while a key that is not yet announced takes another's place. */
  async writeBefore(): Promise<void> {
    const written = this.#written.then(() => this.#write());
    this.#written = written.catch(() => undefined);
    await written;
  }

  /** No more are written by themselves. */
  async stop(): Promise<void> {
    this.#stopped = true;
    this.#disarm();
    await this.#written;
  }

  #start(): void {
    this.#disarm();
    if (this.#started || this.#pause !== null) return;
    this.#started = true;
    const end = () => {
      this.#started = false;
    };
    this.writeBefore().then(
      () => {
        end();
        this.grown();
      },
      (error: unknown) => {
        end();
        this.#options.onFailed(error);
      },
    );
  }

  #disarm(): void {
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
  }

  async #write(): Promise<void> {
    const { disk, folder, keptCheckpoint, tree } = this.#options;
    const signer = this.#signer;
    const { size, root } = tree;
    if (this.#newest?.size === size && this.#newestBy === signer) return;
    const checkpoint = signCheckpoint({ origin: signer.name, size, root, extensions: [] }, signer);
    await replaceFile(disk, join(folder, checkpointFile), Buffer.from(checkpoint.note));
    if (keptCheckpoint !== undefined) await replaceFile(disk, keptCheckpoint, Buffer.from(checkpoint.note));
    this.#newest = checkpoint;
    this.#newestBy = signer;
    for (const listener of this.#listeners) listener(checkpoint);
  }
}
