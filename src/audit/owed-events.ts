import type { JsonObject } from '../base/canonical-json.ts';
import type { Clock } from '../base/clock.ts';
import type { NewEvent } from './event.ts';
import { owedLimits } from './limits.ts';
import type { AuditLog } from './log.ts';

/** What is said to operators of an event that is owed. */
type OwedLog = { warn(facts: Record<string, unknown>, message: string): void };

/**
 * Events whose effect has happened: outcomes, denials, containment. One that cannot be written is kept, at most
 * `eventsMax`, and written with the time it belongs to as soon as the log can be written again; what did
 * not fit is counted in a note of its own.
 */
export class OwedEvents {
  readonly #audit: Pick<AuditLog, 'append'>;
  readonly #clock: Clock;
  readonly #logger: OwedLog;
  readonly #writer: `system:${string}`;
  readonly #pending = new Set<Promise<void>>();
  #owed: NewEvent[] = [];
  #lost = 0;
  #retryMs: number = owedLimits.retryMinMs;
  #timer: NodeJS.Timeout | null = null;
  #closed = false;

  /** `writer` is who says how many were lost. */
  constructor(options: {
    audit: Pick<AuditLog, 'append'>;
    clock: Clock;
    logger: OwedLog;
    writer: `system:${string}`;
  }) {
    this.#audit = options.audit;
    this.#writer = options.writer;
    this.#clock = options.clock;
    this.#logger = options.logger;
  }

  get size(): number {
    return this.#owed.length + this.#lost;
  }

  get pending(): number {
    return this.#pending.size;
  }

  /** Never rejects: an event that cannot be written now is owed. */
  append(event: NewEvent): Promise<void> {
    const written = this.#audit.append(event).then(
      () => undefined,
      () => this.keep(event),
    );
    this.#pending.add(written);
    void written.finally(() => this.#pending.delete(written));
    return written;
  }

  keep(event: NewEvent): void {
    const late: JsonObject = {
      ...event.data,
      late: true,
      happenedAt: new Date(this.#clock.now()).toISOString(),
    };
    if (this.#owed.length < owedLimits.eventsMax) this.#owed.push({ ...event, data: late });
    else this.#lost += 1;
    this.#logger.warn({ action: event.action, owed: this.size }, 'an audit event is owed');
    this.#schedule();
  }

  async settled(): Promise<void> {
    while (this.#pending.size > 0) await Promise.all(this.#pending);
  }

  async close(): Promise<void> {
    await this.settled();
    this.#closed = true;
    if (this.#timer !== null) clearTimeout(this.#timer);
    await this.#pay();
  }

  #schedule(): void {
    if (this.#timer !== null || this.#closed || this.size === 0) return;
    this.#timer = setTimeout(() => {
      this.#timer = null;
      void this.#pay().then(() => this.#schedule());
    }, this.#retryMs);
    this.#timer.unref();
  }

  async #pay(): Promise<void> {
    while (this.size > 0) {
      const next = this.#owed[0] ?? this.#lostNote();
      try {
        await this.#audit.append(next);
      } catch {
        this.#retryMs = Math.min(this.#retryMs * 2, owedLimits.retryMaxMs);
        return;
      }
      if (this.#owed.length > 0) this.#owed.shift();
      else this.#lost = 0;
    }
    this.#retryMs = owedLimits.retryMinMs;
  }

  #lostNote(): NewEvent {
    return {
      action: 'audit.lost',
      actor: { id: this.#writer, kind: 'system' },
      resource: { kind: 'audit' },
      decision: { allow: true, rule: 'containment' },
      phase: 'note',
      outcome: 'failed',
      data: { events: this.#lost },
    };
  }
}
