import { setTimeout as pause } from 'node:timers/promises';
import type { ToldFlows } from '../audit/egress-events.ts';
import type { RunId } from '../model/ids.ts';
import type { Store } from '../store/store.ts';
import { controlLimits } from './limits.ts';
import type { LiveRuns } from './live-runs.ts';
import type { Logger } from './logger.ts';

export type FlowTableParts = {
  readonly store: Pick<Store, 'runs' | 'flows'>;
  readonly live: LiveRuns;
  readonly logger: Logger;
};

/** Puts into the store what the runner's stream tells of flows, for those who list, watch and simulate them. */
export class FlowTable {
  readonly #parts: FlowTableParts;

  constructor(parts: FlowTableParts) {
    this.#parts = parts;
  }

  /**
   * However long it takes, until the signal: rejects then alone. A flow that is there already stays as it is, so what was
   * kept may be told again. Runs that the store does not know, or of which it keeps no flows any more, are passed over.
   */
  async keep({ flows, ends }: ToldFlows, signal: AbortSignal): Promise<void> {
    if (flows.length + ends.length === 0) return;
    for (;;) {
      try {
        const runs = await this.#kept(new Set([...flows, ...ends].map(({ run }) => run)));
        const isKept = ({ run }: { readonly run: RunId }) => runs.has(run);
        await this.#parts.store.flows.record(flows.filter(isKept), ends.filter(isKept));
        break;
      } catch (error) {
        signal.throwIfAborted();
        this.#parts.logger.error({ error: String(error) }, 'verdicts of the gateway could not be stored');
        await pause(controlLimits.writeRetryMs, undefined, { signal });
      }
    }
    const { live } = this.#parts;
    for (const id of new Set(flows.map(({ run }) => run))) {
      const running = live.get(id);
      if (running !== null) live.reached(running);
    }
  }

  async #kept(told: ReadonlySet<RunId>): Promise<ReadonlySet<RunId>> {
    const { store, live } = this.#parts;
    const kept = new Set<RunId>();
    for (const run of told) {
      const record = live.get(run)?.record ?? (await store.runs.get(run));
      if (record !== null && !record.filesExpired) kept.add(run);
    }
    return kept;
  }
}
