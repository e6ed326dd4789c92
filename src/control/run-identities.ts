import type { Clock } from '../base/clock.ts';
import { Fault } from '../contract/faults.ts';
import type { RunIdentity, RunSubject } from '../identity/run-identity.ts';
import type { RunSecrets } from '../redaction/run-secrets.ts';
import type { RunRecord } from '../store/store.ts';
import { controlLimits } from './limits.ts';
import type { EarlyIdentity, LiveRun, LiveRuns } from './live-runs.ts';
import type { Logger } from './logger.ts';
import { LinkLost, type RunnerLink } from './runner-link.ts';

export type RunIdentityParts = {
  readonly identity: Pick<RunIdentity, 'mint'>;
  readonly secrets: RunSecrets;
  readonly live: LiveRuns;
  readonly link: RunnerLink;
  readonly clock: Clock;
  readonly logger: Logger;
};

/** Keeps the tokens of live runs young: each starts with one, and gets another long before it is over. */
export class RunIdentities {
  readonly #parts: RunIdentityParts;
  #timer: NodeJS.Timeout | null = null;
  #renewing: Promise<void> | null = null;
  #closed = false;

  constructor(parts: RunIdentityParts) {
    this.#parts = parts;
  }

  start(): void {
    this.#timer = setInterval(() => this.renew(), controlLimits.identityLookMs);
    this.#timer.unref();
  }

  /** Signs for a run while it is being stored, so that its start does not wait; nobody has it before that. */
  early(subject: RunSubject): EarlyIdentity {
    const token = this.#mint(subject);
    // Of a run that comes to nothing nobody asks.
    token.catch(() => undefined);
    return { at: this.#parts.clock.now(), token };
  }

  /** The token that a run starts with. Throws Fault `store.unavailable`. */
  async first(live: LiveRun): Promise<string> {
    const early = live.source?.identity ?? null;
    const isUsable = early !== null && this.#isYoung(early.at);
    const { at, token } = isUsable ? early : this.early(subjectOf(live.record));
    live.identityAt = at;
    const made = await token;
    if (!live.ended) this.#parts.secrets.token(live.record.id, made);
    return made;
  }

  /** Orders another token for every hosted run whose own is not young, or was made by an earlier process. */
  renew(): void {
    if (this.#closed) return;
    this.#renewing ??= this.#renew().finally(() => {
      this.#renewing = null;
    });
  }

  async close(): Promise<void> {
    this.#closed = true;
    if (this.#timer !== null) clearInterval(this.#timer);
    await this.#renewing;
  }

  /** One after another: nothing waits for this, and orders that somebody waits for go between. */
  async #renew(): Promise<void> {
    const { live, logger } = this.#parts;
    for (const run of live.all()) {
      if (this.#closed) return;
      if (run.delivery !== 'accepted' || run.ending || this.#isYoung(run.identityAt)) continue;
      try {
        await this.#send(run);
      } catch (error) {
        // After a connection every run is looked at again.
        if (error instanceof LinkLost) return;
        logger.warn({ run: run.record.id, error: String(error) }, 'the token of a run could not be renewed');
      }
    }
  }

  async #send(live: LiveRun): Promise<void> {
    const at = this.#parts.clock.now();
    const token = await this.#mint(subjectOf(live.record));
    if (live.ending) return;
    this.#parts.secrets.token(live.record.id, token);
    await this.#parts.link.order({ order: 'identity', run: live.record.id, token });
    live.identityAt = at;
  }

  /** False for what a clock that was set back says is of the future. */
  #isYoung(at: number): boolean {
    const ageMs = this.#parts.clock.now() - at;
    return ageMs >= 0 && ageMs < controlLimits.identityRenewMs;
  }

  async #mint(subject: RunSubject): Promise<string> {
    try {
      return await this.#parts.identity.mint(subject);
    } catch (error) {
      if (error instanceof Fault) throw error;
      throw new Fault('store.unavailable', {
        detail: 'The run could not be given its identity: the keys that sign it cannot be read.',
        cause: error,
      });
    }
  }
}

function subjectOf({ id: run, session, owner }: RunRecord): RunSubject {
  return { run, session, owner };
}
