import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import type { Clock } from '../base/clock.ts';
import type { RunFinished } from '../contract/runner.ts';
import { parseId, type RunId } from '../model/ids.ts';
import type { Folders } from './folders.ts';

/**
 * What the runner owes control: a run's folder exists from acceptance on, its result from its end on, and the
 * result is owed until control has acknowledged it. Files hold this, so it survives the end of either; only what
 * a full disk keeps from being written is held in memory meanwhile.
 */
export class Results {
  readonly #folders: Folders;
  readonly #unwritten = new Map<RunId, RunFinished>();

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

  /** Written beside and renamed: a result is there whole or not at all. Owed even when writing it throws. */
  finish(result: RunFinished): void {
    const path = this.#folders.result(result.run);
    this.#unwritten.set(result.run, result);
    writeFileSync(`${path}.new`, JSON.stringify(result), { mode: 0o600 });
    renameSync(`${path}.new`, path);
    this.#unwritten.delete(result.run);
  }

  acknowledge(run: RunId): void {
    const unwritten = this.#unwritten.get(run);
    if (unwritten !== undefined) this.finish(unwritten);
    if (existsSync(this.#folders.result(run)))
      renameSync(this.#folders.result(run), this.#folders.acknowledged(run));
  }

  owed(): RunFinished[] {
    const written = this.#runs()
      .filter((run) => existsSync(this.#folders.result(run)))
      .map((run) => JSON.parse(readFileSync(this.#folders.result(run), 'utf8')) as RunFinished);
    return [...written, ...this.#unwritten.values()];
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
