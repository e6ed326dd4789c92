import { setTimeout as pause } from 'node:timers/promises';
import type { Affected } from '../store/store.ts';
import type { EgressPolicies } from './egress-policies.ts';
import { controlLimits } from './limits.ts';
import type { LiveRun, LiveRuns } from './live-runs.ts';
import type { Logger } from './logger.ts';
import { LinkLost, type RunnerLink } from './runner-link.ts';

export type EgressOrderParts = {
  readonly egressPolicies: EgressPolicies;
  readonly live: LiveRuns;
  readonly link: RunnerLink;
  readonly logger: Logger;
};

/**
 * Tells the runner what live runs may reach from now on. Orders are compiled and sent one after another, so that
 * the last one sent for a run holds the policies as they are.
 */
export class EgressOrders {
  readonly #parts: EgressOrderParts;
  readonly #stopped = new AbortController();
  #last: Promise<void> = Promise.resolve();

  constructor(parts: EgressOrderParts) {
    this.#parts = parts;
  }

  /** A change that is durable. Runs that have not been started yet are started with it. */
  changed(affected: Affected): void {
    for (const { run, generation } of affected) {
      const live = this.#parts.live.get(run);
      if (live === null) continue;
      live.egressGeneration = Math.max(live.egressGeneration, generation);
      if (live.delivery === 'accepted' || live.delivery === 'unknown') this.send(live);
    }
  }

  /** Orders the policy as it is when the order's turn comes. */
  send(live: LiveRun): void {
    this.#last = this.#last.then(() => this.#send(live));
  }

  async close(): Promise<void> {
    this.#stopped.abort();
    await this.#last;
  }

  async #send(live: LiveRun): Promise<void> {
    const { egressPolicies, link, logger } = this.#parts;
    const run = live.record.id;
    while (!this.#stopped.signal.aborted && !live.ending) {
      try {
        // The generation first: rules that are newer than it says are ordered again with the next one.
        const egress = { names: live.record.egress.names, generation: live.egressGeneration };
        const { policy, unenforced } = await egressPolicies.compile(egress);
        for (const reason of unenforced) logger.error({ run, reason }, 'a policy is not enforced as written');
        void link.order({ order: 'egress', run, egress: policy }).catch((error: unknown) => {
          logger.warn({ run, error: String(error) }, 'a policy is to be ordered again');
          // What the runner did with it is unknown; on a new connection it is ordered again.
          if (error instanceof LinkLost) link.reset();
        });
        return;
      } catch (error) {
        logger.error({ run, error: String(error) }, 'a policy could not be read');
        await pause(controlLimits.writeRetryMs, undefined, { signal: this.#stopped.signal }).catch(() => {});
      }
    }
  }
}
