import type { Clock } from '../base/clock.ts';
import type { NewEvent } from './event.ts';
import { owedLimits } from './limits.ts';

type Counted = { readonly event: NewEvent; readonly untilMs: number; repeated: number };

/**
 * Writes the first of identical denials at once and counts the rest of its window, so that a caller in a loop
 * is on record and cannot flood the log. The count follows when the window ends.
 */
export class Denials {
  readonly #clock: Clock;
  readonly #write: (event: NewEvent) => Promise<void>;
  readonly #counted = new Map<string, Counted>();
  #timer: NodeJS.Timeout | null = null;

  constructor(options: { clock: Clock; write: (event: NewEvent) => Promise<void> }) {
    this.#clock = options.clock;
    this.#write = options.write;
  }

  /** Resolves when the denial is written, or counted. */
  async record(actor: string, kind: string, event: NewEvent): Promise<void> {
    const full = this.#counted.size >= owedLimits.denialsTrackedMax;
    const exact = `${actor} ${kind}`;
    const key = full && !this.#counted.has(exact) ? `${actor} *` : exact;
    const known = this.#counted.get(key);
    const now = this.#clock.monotonic();
    if (known !== undefined && now < known.untilMs) {
      known.repeated += 1;
      return;
    }
    if (known !== undefined) this.#end(key, known);
    this.#counted.set(key, { event, untilMs: now + owedLimits.denialWindowMs, repeated: 0 });
    this.#timer ??= setInterval(() => this.#sweep(), owedLimits.denialWindowMs).unref();
    await this.#write(event);
  }

  close(): void {
    if (this.#timer !== null) clearInterval(this.#timer);
    for (const [key, counted] of this.#counted) this.#end(key, counted);
  }

  #sweep(): void {
    const now = this.#clock.monotonic();
    for (const [key, counted] of this.#counted) if (now >= counted.untilMs) this.#end(key, counted);
  }

  #end(key: string, { event, repeated }: Counted): void {
    this.#counted.delete(key);
    if (repeated === 0) return;
    const { action, actor, resource, decision } = event;
    void this.#write({
      action,
      actor,
      resource,
      decision,
      phase: 'note',
      outcome: 'denied',
      data: { repeated, windowMs: owedLimits.denialWindowMs },
    });
  }
}
