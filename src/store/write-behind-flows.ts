import type { EgressFlow, EgressFlowEnd } from '../model/egress.ts';
import { storeLimits } from './limits.ts';
import type { FlowStore } from './store.ts';

type Held = {
  readonly flows: EgressFlow[];
  readonly ends: EgressFlowEnd[];
  readonly kept: PromiseWithResolvers<void>;
};

/**
 * Flows of a moment in one commit, and the end of a short one with its verdict: commits cost more than what is in
 * them. `record` resolves when its flows are durable. Whoever reads sees all that was recorded before.
 */
export class WriteBehindFlows implements FlowStore {
  readonly #flows: FlowStore;
  #held: Held | null = null;
  #timer: NodeJS.Timeout | null = null;
  #writing: Promise<void> = Promise.resolve();

  constructor(flows: FlowStore) {
    this.#flows = flows;
  }

  record(flows: readonly EgressFlow[], ends: readonly EgressFlowEnd[]): Promise<void> {
    this.#held ??= { flows: [], ends: [], kept: Promise.withResolvers() };
    this.#held.flows.push(...flows);
    this.#held.ends.push(...ends);
    const { kept } = this.#held;
    if (this.#held.flows.length + this.#held.ends.length >= storeLimits.flowsHeldMax) void this.settled();
    else this.#timer ??= setTimeout(() => void this.settled(), storeLimits.flowsHeldMs);
    return kept.promise;
  }

  /** Resolves when nothing that was recorded before waits to be written, whether it could be or not. */
  settled(): Promise<void> {
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
    const held = this.#held;
    this.#held = null;
    if (held !== null) this.#writing = this.#writing.then(() => this.#write(held));
    return this.#writing;
  }

  async #write({ flows, ends, kept }: Held): Promise<void> {
    await this.#flows.record(flows, ends).then(kept.resolve, kept.reject);
  }

  async known(...words: Parameters<FlowStore['known']>): ReturnType<FlowStore['known']> {
    await this.settled();
    return await this.#flows.known(...words);
  }

  async list(...words: Parameters<FlowStore['list']>): ReturnType<FlowStore['list']> {
    await this.settled();
    return await this.#flows.list(...words);
  }

  async newest(...words: Parameters<FlowStore['newest']>): ReturnType<FlowStore['newest']> {
    await this.settled();
    return await this.#flows.newest(...words);
  }

  async runsSince(...words: Parameters<FlowStore['runsSince']>): ReturnType<FlowStore['runsSince']> {
    await this.settled();
    return await this.#flows.runsSince(...words);
  }

  async countsOf(...words: Parameters<FlowStore['countsOf']>): ReturnType<FlowStore['countsOf']> {
    await this.settled();
    return await this.#flows.countsOf(...words);
  }

  async remove(...words: Parameters<FlowStore['remove']>): ReturnType<FlowStore['remove']> {
    await this.settled();
    return await this.#flows.remove(...words);
  }
}
