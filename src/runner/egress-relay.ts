import type { EgressBatch } from '../contract/runner.ts';

type Owed = { readonly batch: EgressBatch; readonly recorded: () => void };

/**
 * Carries verdicts from the gateway to control, in order, and keeps each batch until control says that it is
 * durable: a control that was started anew is told again. The gateway has few batches on their way at a time, so
 * no more is kept while there is no control.
 */
export class EgressRelay {
  readonly #owed = new Map<number, Owed>();
  #listener: (batch: EgressBatch) => void = () => undefined;
  #next = 1;

  onBatch(listener: (batch: EgressBatch) => void): void {
    this.#listener = listener;
  }

  /** `recorded` is called once the batch is durable. */
  send(content: Pick<EgressBatch, 'flows' | 'ends'>, recorded: () => void): void {
    const batch: EgressBatch = { event: 'egress', batch: this.#next++, ...content };
    this.#owed.set(batch.batch, { batch, recorded });
    this.#listener(batch);
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
