import type { NewEvent } from '../audit/event.ts';
import type { AuditLog } from '../audit/log.ts';
import type { JsonObject } from '../base/canonical-json.ts';
import type { Clock } from '../base/clock.ts';
import { controlLimits } from './limits.ts';
import type { Logger } from './logger.ts';

/**
 * Events whose effect has happened: outcomes, denials, containment. One that cannot be written is kept, at most
 * `owedEventsMax`, and written with the time it belongs to as soon as the log can be written again; what did
 * not fit is counted in a note of its own.
 */
export class OwedEvents {
  readonly #audit: AuditLog;
  readonly #clock: Clock;
  readonly #logger: Logger;
  readonly #pending = new Set<Promise<void>>();
  #owed: NewEvent[] = [];
  #lost = 0;
  #retryMs: number = controlLimits.owedRetryMinMs;
  #timer: NodeJS.Timeout | null = null;
  #closed = false;

  constructor(options: { audit: AuditLog; clock: Clock; logger: Logger }) {
    this.#audit = options.audit;
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
    if (this.#owed.length < controlLimits.owedEventsMax) this.#owed.push({ ...event, data: late });
    else this.#lost += 1;
    this.#logger.error({ action: event.action, owed: this.size }, 'an audit event is owed');
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
        this.#retryMs = Math.min(this.#retryMs * 2, controlLimits.owedRetryMaxMs);
        return;
      }
      if (this.#owed.length > 0) this.#owed.shift();
      else this.#lost = 0;
    }
    this.#retryMs = controlLimits.owedRetryMinMs;
  }

  #lostNote(): NewEvent {
    return {
      action: 'audit.lost',
      actor: { id: 'system:control', kind: 'system' },
      resource: { kind: 'audit' },
      decision: { allow: true, rule: 'containment' },
      phase: 'note',
      outcome: 'failed',
      data: { events: this.#lost },
    };
  }
}
