import type { AuditLog } from '../audit/log.ts';
import type { Clock } from '../base/clock.ts';
import type { RunnerStatus } from '../contract/runner.ts';
import type { Store } from '../store/store.ts';
import type { Readiness } from './control.ts';
import type { Gate } from './gate.ts';
import { controlLimits } from './limits.ts';
import { runnerStatus } from './runner-frames.ts';
import type { RunnerLink } from './runner-link.ts';

type Check = { readonly ok: boolean; readonly detail?: string };
type Parts = {
  readonly store: Store;
  readonly audit: AuditLog;
  readonly gate: Gate;
  readonly link: RunnerLink;
  readonly clock: Clock;
};

/** Whether the parts that every request needs really answer. */
export class Readings {
  readonly #parts: Parts;
  #at = Number.NEGATIVE_INFINITY;
  #readiness: Promise<Readiness> | null = null;
  #status: RunnerStatus | null = null;

  constructor(parts: Parts) {
    this.#parts = parts;
  }

  /** A good answer is given for `readinessFreshMs`, another only to those who ask while it is being made. */
  readiness(): Promise<Readiness> {
    const now = this.#parts.clock.monotonic();
    if (this.#readiness !== null && now - this.#at < controlLimits.readinessFreshMs) return this.#readiness;
    this.#at = now;
    const looking = this.#look();
    this.#readiness = looking;
    void looking.then(({ ready }) => {
      if (!ready && this.#readiness === looking) this.#readiness = null;
    });
    return looking;
  }

  /** What the runner last said about itself; null where it did not answer. */
  async runner(): Promise<RunnerStatus | null> {
    await this.readiness();
    return this.#status;
  }

  async #look(): Promise<Readiness> {
    const [store, audit, runner] = await Promise.all([this.#store(), this.#audit(), this.#runner()]);
    return { ready: store.ok && audit.ok && runner.ok, checks: { store, audit, runner } };
  }

  async #store(): Promise<Check> {
    return await this.#parts.store.check().then(
      () => ({ ok: true }),
      () => ({ ok: false, detail: 'the store cannot be read and written' }),
    );
  }

  async #audit(): Promise<Check> {
    const health = await this.#parts.audit.probe();
    return health.ok ? this.#parts.gate.health() : { ok: false, detail: 'the audit log cannot be written' };
  }

  async #runner(): Promise<Check> {
    const { link } = this.#parts;
    try {
      const answer = await link.order({ order: 'status' }, controlLimits.statusTimeoutMs);
      this.#status = runnerStatus.parse(answer);
      return link.connected ? { ok: true } : { ok: false, detail: 'the runner is being reconciled with' };
    } catch {
      this.#status = null;
      return { ok: false, detail: 'the runner does not answer' };
    }
  }
}
