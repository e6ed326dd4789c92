import type { EgressBatch } from '../contract/runner.ts';
import type { RunId } from '../model/ids.ts';

export type Verdicts = Pick<EgressBatch, 'flows' | 'ends'>;
type Owed = { readonly batch: EgressBatch; recorded: () => void };

/**
 * Carries verdicts from the gateway to control, in order, and keeps each batch until control has it in its store: a
 * control that was started anew is told again. The gateway has few batches on their way at a time that are not
 * durable, and control few that are not in its store, so no more is kept while there is no control.
 */
export class EgressRelay {
  readonly #owed = new Map<number, Owed>();
  #listener: (batch: EgressBatch) => void = () => undefined;
  readonly #known = new Map<RunId, { nextFlow: number; bytesOut: number }>();
  readonly #followers = new Map<RunId, (content: Verdicts) => void>();
  #next = 1;

  onBatch(listener: (batch: EgressBatch) => void): void {
    this.#listener = listener;
  }

  /** `recorded` is called once the batch is durable. */
  send(content: Verdicts, recorded: () => void): void {
    const batch: EgressBatch = { event: 'egress', batch: this.#next++, ...content };
    this.#owed.set(batch.batch, { batch, recorded });
    this.#learn(content);
    for (const [run, follower] of this.#followers) follower(ofRun(run, content));
    this.#listener(batch);
  }

  /**
   * Where a run's flows go on: their numbers, which are unique in it, and what those that ended have sent, over all of
   * its sandboxes and whichever gateway told.
   */
  known(run: RunId): { readonly nextFlow: number; readonly bytesOut: number } {
    return this.#known.get(run) ?? { nextFlow: 1, bytesOut: 0 };
  }

  /** Every verdict of a run from now on, until the returned function is called. One at a time follows a run. */
  follow(run: RunId, follower: (content: Verdicts) => void): () => void {
    this.#followers.set(run, follower);
    return () => this.#followers.delete(run);
  }

  /** The run is over: it has no more flows. */
  forget(run: RunId): void {
    this.#known.delete(run);
  }

  #learn({ flows, ends }: Verdicts): void {
    for (const { run, id } of flows) {
      const { nextFlow, bytesOut } = this.known(run);
      this.#known.set(run, { nextFlow: Math.max(nextFlow, id + 1), bytesOut });
    }
    for (const { run, bytesOut: sent } of ends) {
      const { nextFlow, bytesOut } = this.known(run);
      this.#known.set(run, { nextFlow, bytesOut: bytesOut + sent });
    }
  }

  recorded(batch: number): void {
    const owed = this.#owed.get(batch);
    if (owed === undefined) return;
    const { recorded } = owed;
    owed.recorded = () => undefined;
    recorded();
  }

  kept(batch: number): void {
    this.#owed.delete(batch);
  }

  owed(): EgressBatch[] {
    return [...this.#owed.values()].map(({ batch }) => batch);
  }
}

function ofRun(run: RunId, { flows, ends }: Verdicts): Verdicts {
  return { flows: flows.filter((flow) => flow.run === run), ends: ends.filter((end) => end.run === run) };
}
