import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import type { Clock } from '../base/clock.ts';
import type { RunFinished } from '../contract/runner.ts';
import { parseId, type RunId } from '../model/ids.ts';
import type { Folders } from './folders.ts';

/**
 * What the runner owes control: a run's folder exists from acceptance on, its result from its end on, and the
 * result is owed until control has acknowledged it. Files alone hold this, so it survives the end of either.
 */
export class Results {
  readonly #folders: Folders;

  constructor(folders: Folders) {
    this.#folders = folders;
  }

  /** False when the run was accepted before: a repeated order starts nothing twice. */
  accept(run: RunId): boolean {
    try {
      mkdirSync(this.#folders.run(run), { mode: 0o700 });
      return true;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false;
      throw error;
    }
  }

  /** Written beside and renamed: a result is there whole or not at all. */
  finish(result: RunFinished): void {
    const path = this.#folders.result(result.run);
    writeFileSync(`${path}.new`, JSON.stringify(result), { mode: 0o600 });
    renameSync(`${path}.new`, path);
  }

  acknowledge(run: RunId): void {
    if (existsSync(this.#folders.result(run)))
      renameSync(this.#folders.result(run), this.#folders.acknowledged(run));
  }

  owed(): RunFinished[] {
    return this.#runs()
      .filter((run) => existsSync(this.#folders.result(run)))
      .map((run) => JSON.parse(readFileSync(this.#folders.result(run), 'utf8')) as RunFinished);
  }

  /** Runs that an earlier runner accepted and did not finish: their sandboxes died with it. */
  loseUnfinished(clock: Clock): void {
    for (const run of this.#runs()) {
      if (existsSync(this.#folders.result(run)) || existsSync(this.#folders.acknowledged(run))) continue;
      this.finish({
        event: 'finished',
        run,
        at: clock.now(),
        runningAt: null,
        heldBy: null,
        usage: null,
        artifacts: [],
        ending: {
          phase: 'failed',
          cause: 'runner-lost',
          reason: 'The runner ended while the run was live.',
          exit: { code: null, signal: null },
        },
      });
    }
  }

  #runs(): RunId[] {
    return readdirSync(this.#folders.runs).flatMap((name) => parseId('run', name) ?? []);
  }
}
