import type { Clock } from '../../base/clock.ts';
import { Rounds } from '../../base/rounds.ts';
import type { AttachCloseReason } from '../../contract/attach.ts';
import { sameRights } from '../../model/actor.ts';
import type { Caller } from '../control.ts';
import type { Logger } from '../logger.ts';
import { controlAttachLimits } from './limits.ts';

/** A connection that is decided about for as long as it lasts. */
export type Watched = {
  /** As it was when it was last decided about. */
  readonly caller: Caller;
  /** Decides again, for the caller as it is now, what the connection was let in for; rejects where that is denied. */
  still(caller: Caller): Promise<void>;
  /** From now on nothing passes, in either direction. */
  hold(): void;
  /** Whoever it is now may go on. */
  confirm(caller: Caller): void;
  cut(reason: AttachCloseReason, detail: string): void;
};

export type WatchOptions = {
  readonly renew: (caller: Caller) => Promise<Caller | null>;
  readonly onChange: (listener: () => void) => () => void;
  readonly clock: Clock;
  readonly logger: Logger;
  /** Called with every look, for what ends by itself. */
  readonly onLook: () => void;
};

/**
 * Every attached connection. With a change that may take a right away nothing passes any of them until each has been
 * decided about again; one whose caller may no longer is cut (G9). From time to time, too, for what ends by itself.
 */
export class AttachWatch {
  readonly #options: WatchOptions;
  readonly #watched = new Set<Watched>();
  readonly #timer: NodeJS.Timeout;
  readonly #forget: () => void;
  #changes = 0;
  #changedAt = Number.NEGATIVE_INFINITY;
  readonly #rounds = new Rounds(() => this.#checkAll());

  constructor(options: WatchOptions) {
    this.#options = options;
    this.#timer = setInterval(() => {
      options.onLook();
      this.#rounds.ask();
    }, controlAttachLimits.lookMs);
    this.#timer.unref();
    this.#forget = options.onChange(() => this.changed());
  }

  get size(): number {
    return this.#watched.size;
  }

  add(watched: Watched): void {
    this.#watched.add(watched);
    // Its rights may be gone since the decision that let it in.
    watched.hold();
    void this.check(watched, true);
  }

  delete(watched: Watched): void {
    this.#watched.delete(watched);
  }

  /** Something changed that connections stand on. */
  changed(): void {
    this.#changes += 1;
    this.#changedAt = this.#options.clock.monotonic();
    for (const watched of this.#watched) watched.hold();
    this.#rounds.ask();
  }

  close(): void {
    clearInterval(this.#timer);
    this.#forget();
  }

  /** Decides about one; false where it was cut. A change meanwhile leaves it held: another decision follows. */
  async check(watched: Watched, isFull: boolean): Promise<boolean> {
    const before = this.#changes;
    try {
      const now = await this.#options.renew(watched.caller);
      if (now === null) throw new Error('the credential has ended');
      if (isFull || !sameRights(watched.caller.actor, now.actor)) await watched.still(now);
      if (before === this.#changes) watched.confirm(now);
      return true;
    } catch (error) {
      // Whatever keeps it from being decided about ends it: rights that nobody can confirm are none.
      if (!this.#watched.delete(watched)) return false;
      const { actor, request } = watched.caller;
      const line = { requestId: request.id, actor: actor.id, why: String(error) };
      this.#options.logger.info(line, 'an attached connection was cut');
      watched.cut('revoked', 'The credential has ended, or no longer allows this.');
      return false;
    }
  }

  async #checkAll(): Promise<void> {
    const { settleMs, checksAtOnce } = controlAttachLimits;
    // What keeps policies in memory hears of a change when this does, and may need a moment longer to take it in.
    const isRecent = this.#options.clock.monotonic() - this.#changedAt <= settleMs;
    const rest = [...this.#watched].values();
    const lane = async () => {
      for (const watched of rest) await this.check(watched, isRecent);
    };
    await Promise.all(Array.from({ length: checksAtOnce }, lane));
  }
}
