import type { TerminalOpening, TerminalTold } from '../../contract/runner-terminals.ts';
import { terminalLimits } from './limits.ts';
import type { OutputWindow } from './output-window.ts';

export type SubscriptionItem = { readonly bytes: Buffer } | { readonly told: TerminalTold };

type Parts = {
  readonly opening: TerminalOpening;
  readonly snapshot: Buffer | null;
  readonly window: OutputWindow;
  readonly onClose: () => void;
};

/**
 * One reader's place in a terminal's output. It pulls, and keeps nothing of its own: whoever falls behind the window has
 * lost its place.
 */
export class Subscription {
  readonly opening: TerminalOpening;
  readonly snapshot: Buffer | null;
  readonly #window: OutputWindow;
  readonly #onClose: () => void;
  /** What it is to be told, each behind a byte of output. */
  readonly #told: { readonly at: number; readonly told: TerminalTold }[] = [];
  #place: number;
  #state: 'open' | 'ended' | 'closed' = 'open';
  #wake: (() => void) | null = null;

  constructor({ opening, snapshot, window, onClose }: Parts) {
    this.opening = opening;
    this.snapshot = snapshot;
    this.#window = window;
    this.#onClose = onClose;
    this.#place = opening.offset;
  }

  /** The next of output and changes, in their order; null at the end, and where it fell behind. */
  async next(): Promise<SubscriptionItem | null> {
    for (;;) {
      if (this.#state !== 'open' || this.#place < this.#window.start) return null;
      const item = this.#take();
      if (item !== null) return item;
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }

  /** There may be more. */
  wake(): void {
    const wake = this.#wake;
    this.#wake = null;
    wake?.();
  }

  /** Once everything before it was read. */
  tell(told: TerminalTold): void {
    this.#told.push({ at: this.#window.end, told });
    if (this.#told.length > terminalLimits.toldWaitingMax) this.close();
    this.wake();
  }

  close(): void {
    if (this.#state === 'closed') return;
    this.#state = 'closed';
    this.#onClose();
    this.wake();
  }

  #take(): SubscriptionItem | null {
    const [next] = this.#told;
    if (next !== undefined && next.at <= this.#place) {
      this.#told.shift();
      if (next.told.told === 'ended') this.#state = 'ended';
      return { told: next.told };
    }
    const end = next?.at ?? this.#window.end;
    if (this.#place === end) return null;
    const bytes = this.#window.read(this.#place, Math.min(end - this.#place, terminalLimits.readBytesMax));
    this.#place += bytes.length;
    return { bytes };
  }
}
