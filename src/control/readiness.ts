import type { AuditLog } from '../audit/log.ts';
import type { Witnesses } from '../audit/witnesses/pusher.ts';
import type { Clock } from '../base/clock.ts';
import type { RunnerStatus } from '../contract/runner.ts';
import type { Flags } from '../flags/flags.ts';
import type { Store } from '../store/store.ts';
import type { Readiness } from './control.ts';
import type { Gate } from './gate.ts';
import type { AccessSet } from './identity/access-set.ts';
import { controlLimits } from './limits.ts';
import type { RecordIntake } from './record-intake.ts';
import { runnerStatus } from './runner-frames.ts';
import type { RunnerLink } from './runner-link.ts';

type Check = { readonly ok: boolean; readonly detail?: string };
type Looked = { readonly store: Check; readonly runner: Check };
type Parts = {
  readonly store: Store;
  readonly audit: AuditLog;
  readonly access: Pick<AccessSet, 'health'>;
  readonly gate: Gate;
  readonly link: RunnerLink;
  readonly intake: Pick<RecordIntake, 'health'>;
  readonly flags: Pick<Flags, 'problems'>;
  readonly witnesses: Pick<Witnesses, 'health'>;
  readonly clock: Clock;
};

/** Whether the parts that every request needs really answer. */
export class Readings {
  readonly #parts: Parts;
  #at = Number.NEGATIVE_INFINITY;
  #looking: Promise<Looked> | null = null;
  #status: RunnerStatus | null = null;

  constructor(parts: Parts) {
    this.#parts = parts;
  }

  /**
   * A good answer of store and runner is given for `readinessFreshMs`, another only to those who ask while it
   * is being made. The audit log keeps such a time itself.
   */
  async readiness(): Promise<Readiness> {
    const [{ store, runner }, audit] = await Promise.all([this.#look(), this.#audit()]);
    // Flags that are not understood are off: that is worth a word, and no reason to take requests elsewhere.
    const flags = this.#flags();
    const access = this.#parts.access.health();
    const witnesses = this.#parts.witnesses.health();
    const ready = store.ok && audit.ok && access.ok && runner.ok && witnesses.ok;
    return { ready, checks: { store, audit, access, runner, flags, witnesses } };
  }

  /** What the runner last said about itself; null where it did not answer. */
  async runner(): Promise<RunnerStatus | null> {
    await this.#look();
    return this.#status;
  }

  #look(): Promise<Looked> {
    const now = this.#parts.clock.monotonic();
    if (this.#looking !== null && now - this.#at < controlLimits.readinessFreshMs) return this.#looking;
    this.#at = now;
    const looking = Promise.all([this.#store(), this.#runner()]).then(([store, runner]) => {
      if (!(store.ok && runner.ok) && this.#looking === looking) this.#looking = null;
      return { store, runner };
    });
    this.#looking = looking;
    return looking;
  }

  #flags(): Check {
    if (this.#parts.flags.problems().length === 0) return { ok: true };
    return { ok: false, detail: 'flags are off because something is wrong: see sealwright flags ls' };
  }

  async #store(): Promise<Check> {
    return await this.#parts.store.check().then(
      () => ({ ok: true }),
      () => ({ ok: false, detail: 'the store cannot be read and written' }),
    );
  }

  async #audit(): Promise<Check> {
    const { audit, gate, intake } = this.#parts;
    const health = await audit.probe();
    if (!health.ok) return { ok: false, detail: 'the audit log cannot be written' };
    const own = gate.health();
    return own.ok ? intake.health() : own;
  }

  async #runner(): Promise<Check> {
    const { link } = this.#parts;
    try {
      const answer = await link.order({ order: 'status' }, controlLimits.statusTimeoutMs);
      this.#status = runnerStatus.parse(answer);
      if (!this.#status.record.ok) return { ok: false, detail: 'the runner cannot write its record' };
      return link.connected ? { ok: true } : { ok: false, detail: 'the runner is being reconciled with' };
    } catch {
      this.#status = null;
      return { ok: false, detail: 'the runner does not answer' };
    }
  }
}
