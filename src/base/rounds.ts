/** Work that goes over everything, one round at a time; what is asked for during a round makes one more, which sees it. */
export class Rounds {
  readonly #work: () => Promise<void>;
  #isRunning = false;
  #again = false;

  /** `work` must not reject. */
  constructor(work: () => Promise<void>) {
    this.#work = work;
  }

  ask(): void {
    if (this.#isRunning) this.#again = true;
    else void this.#run();
  }

  async #run(): Promise<void> {
    this.#isRunning = true;
    do {
      this.#again = false;
      await this.#work();
    } while (this.#again);
    this.#isRunning = false;
  }
}
