import type { EgressBatch } from '../contract/runner.ts';
import type { RunId } from '../model/ids.ts';

export type Verdicts = Pick<EgressBatch, 'flows' | 'ends'>;
type Owed = { readonly batch: EgressBatch; readonly recorded: () => void };

/**
 * Carries verdicts from the gateway to control, in order, and keeps each batch until control says that it is
 * durable: a control that was started anew is told again. The gateway has few batches on their way at a time, so
 * no more is kept while there is no control.
 */
export class EgressRelay {
  readonly #owed = new Map<number, Owed>();
  #listener: (batch: EgressBatch) => void = () => undefined;
  readonly #nextFlows = new Map<RunId, number>();
  readonly #followers = new Map<RunId, (content: Verdicts) => void>();
  #next = 1;

  onBatch(listener: (batch: EgressBatch) => void): void {
    this.#listener = listener;
  }

  /** `recorded` is called once the batch is durable. */
  send(content: Verdicts, recorded: () => void): void {
    const batch: EgressBatch = { event: 'egress', batch: this.#next++, ...content };
    this.#owed.set(batch.batch, { batch, recorded });
    for (const { run, id } of content.flows) this.#nextFlows.set(run, Math.max(this.nextFlow(run), id + 1));
    for (const [run, follower] of this.#followers) follower(ofRun(run, content));
    this.#listener(batch);
  }

  /** Numbers of flows are unique in a run, whichever of its sandboxes they are of and whichever gateway gave them. */
  nextFlow(run: RunId): number {
    return this.#nextFlows.get(run) ?? 1;
  }

  /** Every verdict of a run from now on, until the returned function is called. One at a time follows a run. */
  follow(run: RunId, follower: (content: Verdicts) => void): () => void {
    this.#followers.set(run, follower);
    return () => this.#followers.delete(run);
  }

  /** The run is over: it has no more flows. */
  forget(run: RunId): void {
    this.#nextFlows.delete(run);
  }

  recorded(batch: number): void {
    const owed = this.#owed.get(batch);
    this.#owed.delete(batch);
    owed?.recorded();
  }

  owed(): EgressBatch[] {
    return [...this.#owed.values()].map(({ batch }) => batch);
  }
}

function ofRun(run: RunId, { flows, ends }: Verdicts): Verdicts {
  return { flows: flows.filter((flow) => flow.run === run), ends: ends.filter((end) => end.run === run) };
}
