import type { Clock } from '../base/clock.ts';
import type { UploadId } from '../model/ids.ts';
import type { Store } from '../store/store.ts';
import type { Gate } from './gate.ts';
import { controlLimits } from './limits.ts';
import type { Logger } from './logger.ts';
import type { RunnerLink } from './runner-link.ts';
import type { SessionCloser } from './session-closer.ts';

export type SweeperConfig = {
  /**
   * Logs, artifacts and flows of a finished run are kept this long, and so is the workspace of a session without a name
   * that nobody uses; their records are kept.
   */
  readonly runFilesTtlMs: number;
  /** An upload that no session uses is kept this long. */
  readonly uploadTtlMs: number;
  readonly sweepEveryMs: number;
};

type SweeperParts = {
  readonly store: Store;
  readonly link: RunnerLink;
  readonly closer: SessionCloser;
  readonly gate: Gate;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly arriving: ReadonlySet<UploadId>;
};

/**
 * Removes what has had its time and finishes what a crash left half done. The runner forgets first and the
 * store afterwards, so that nothing is lost sight of in between.
 */
export class Sweeper {
  readonly #parts: SweeperParts;
  readonly #config: SweeperConfig;
  #timer: NodeJS.Timeout | null = null;
  #sweeping: Promise<void> | null = null;
  #closed = false;

  constructor(parts: SweeperParts, config: SweeperConfig) {
    this.#parts = parts;
    this.#config = config;
  }

  start(): void {
    this.#timer = setInterval(() => void this.sweep(), this.#config.sweepEveryMs).unref();
  }

  /** One sweep, shared with one that is going on. Never rejects: what fails is left to the next. */
  sweep(): Promise<void> {
    this.#sweeping ??= this.#sweepAll().finally(() => {
      this.#sweeping = null;
    });
    return this.#sweeping;
  }

  async close(): Promise<void> {
    this.#closed = true;
    if (this.#timer !== null) clearInterval(this.#timer);
    await this.#sweeping;
  }

  async #sweepAll(): Promise<void> {
    const steps = {
      claims: () => this.#forgetClaims(),
      runs: () => this.#expireRunFiles(),
      uploads: () => this.#removeUploads(),
      idle: () => this.#endIdleSessions(),
      sessions: () => this.#parts.closer.resume(),
      elevations: () => this.#endElevations(),
      identity: () => this.#forgetIdentity(),
    };
    for (const [step, act] of Object.entries(steps))
      await act().catch((error: unknown) => {
        this.#parts.logger.warn({ step, error: String(error) }, 'a sweep is to be continued');
      });
  }

  async #forgetClaims(): Promise<void> {
    const { store, clock } = this.#parts;
    await store.idempotency.forgetBefore(clock.now() - controlLimits.idempotencyKeptMs);
  }

  /** What can be used no more. Sign-ins stay a while, so that their refresh tokens are still known for what they were. */
  async #forgetIdentity(): Promise<void> {
    const { store, clock } = this.#parts;
    const { oneTimes, attempts, signIns, changes } = store.identity;
    const now = clock.now();
    await oneTimes.forgetBefore(now);
    await attempts.forgetBefore(now);
    await signIns.forgetBefore(now - controlLimits.endedSignInsKeptMs);
    await changes.forgetBefore(now - controlLimits.changesKeptMs);
  }

  /** They gave nothing from their time on; here that is put on the record. */
  async #endElevations(): Promise<void> {
    const { store, clock, gate } = this.#parts;
    const { elevations } = store.identity;
    const active = await elevations.list({ state: 'active' }, { after: null, limit: 200 });
    for (const { id, user, role, expiresAt } of active.records) {
      if (expiresAt === null || expiresAt > clock.now()) continue;
      if ((await elevations.move(id, 'active', { state: 'ended' })) === null) continue;
      gate.note({
        action: 'elevation.end',
        actor: { id: 'system:control' },
        resource: { kind: 'elevation', id, owner: user },
        outcome: 'succeeded',
        rule: 'elevation:over',
        data: { role },
      });
    }
  }

  async #expireRunFiles(): Promise<void> {
    const { store, link, clock, gate } = this.#parts;
    const before = clock.now() - this.#config.runFilesTtlMs;
    while (link.connected) {
      const runs = await store.runs.finishedBefore(before, controlLimits.sweepRunsMax);
      if (runs.length === 0) return;
      // Recordings go with them: who misses one finds here that it was not taken away by anybody.
      await Promise.all(
        runs.map((id) =>
          gate.record({
            action: 'run.expire',
            actor: { id: 'system:control' },
            resource: { kind: 'run', id },
            outcome: 'succeeded',
            rule: 'run:kept-long-enough',
          }),
        ),
      );
      await link.order({ order: 'forget', runs });
      for (const run of runs)
        while (await store.flows.remove(run, controlLimits.sweepFlowsMax)) if (this.#closed) return;
      await store.runs.markFilesExpired(runs);
    }
  }

  /** Only their end begins here; the closer takes them from there. */
  async #endIdleSessions(): Promise<void> {
    const { store, clock, gate } = this.#parts;
    const before = clock.now() - this.#config.runFilesTtlMs;
    for (const { id, owner } of await store.sessions.terminateIdle(before, controlLimits.sweepSessionsMax))
      gate.note({
        action: 'session.close',
        actor: { id: 'system:control' },
        resource: { kind: 'session', id, owner },
        outcome: 'succeeded',
        rule: 'session:idle',
      });
  }

  async #removeUploads(): Promise<void> {
    const { store, link, clock, arriving } = this.#parts;
    if (!link.connected) return;
    const before = clock.now() - this.#config.uploadTtlMs;
    for (const { id } of await store.uploads.unusedBefore(before, controlLimits.sweepUploadsMax)) {
      if (arriving.has(id)) continue;
      await link.order({ order: 'remove-upload', upload: id });
      await store.uploads.remove(id);
    }
  }
}
