import type { Prepared } from './prepared.ts';

/** Starts kept ready. Each is used once; one that died meanwhile is never handed out. */
export class PreparedPool {
  readonly #make: () => Promise<Prepared>;
  readonly #size: number;
  readonly #ready: Prepared[] = [];
  readonly #making = new Set<Promise<void>>();
  #closed = false;

  constructor(make: () => Promise<Prepared>, size: number) {
    this.#make = make;
    this.#size = size;
  }

  /** Rejects when a start cannot be prepared, with the reason. */
  async take(): Promise<Prepared> {
    for (let next = this.#ready.shift(); next !== undefined; next = this.#ready.shift()) {
      if (next.process.exitCode === null && next.process.signalCode === null) {
        this.#refill();
        return next;
      }
      await next.discard();
    }
    const made = await this.#make();
    this.#refill();
    return made;
  }

  async close(): Promise<void> {
    this.#closed = true;
    await Promise.all(this.#making);
    await Promise.all(this.#ready.splice(0).map((prepared) => prepared.discard()));
  }

  /** One at a time, so that preparing never crowds out what is asked for now. */
  #refill(): void {
    if (this.#closed || this.#making.size > 0 || this.#ready.length >= this.#size) return;
    const making = this.#make()
      .then(
        (prepared) => {
          this.#ready.push(prepared);
          return true;
        },
        () => false,
      )
      .then((again) => {
        this.#making.delete(making);
        if (again) setImmediate(() => this.#refill());
      });
    this.#making.add(making);
  }
}
