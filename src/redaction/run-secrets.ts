import { isSecretName } from './secret-names.ts';
import type { SecretValues } from './secret-values.ts';

/**
 * What a run was given that must be written nowhere while it lives: variables whose names say that they are secret, and
 * the tokens that it proves itself with, the newest and the one before. Only hashes of them stay. `onFull` is told the
 * run of which not everything can be looked for.
 */
export class RunSecrets {
  readonly #values: SecretValues;
  readonly #onFull: (run: string) => void;
  /** How many tokens each run has had. */
  readonly #tokens = new Map<string, number>();

  constructor(values: SecretValues, onFull: (run: string) => void) {
    this.#values = values;
    this.#onFull = onFull;
  }

  /** To be called before anything of the run is written. Takes the place of what was held of it. */
  environment(run: string, env: Readonly<Record<string, string>>): void {
    this.#values.letGo(run);
    this.moreEnvironment(run, env);
  }

  /** The same of a command beside the run's own; held until the run has ended. */
  moreEnvironment(run: string, env: Readonly<Record<string, string>>): void {
    for (const [name, value] of Object.entries(env)) {
      if (!isSecretName(name) || this.#values.hold(run, 'run-environment', value) !== 'full') continue;
      this.#onFull(run);
      return;
    }
  }

  /** To be called before the token is given to anybody. */
  token(run: string, token: string): void {
    const count = this.#tokens.get(run) ?? 0;
    const holder = holderOf(run, count);
    this.#values.letGo(holder);
    if (this.#values.hold(holder, 'run-identity', token) === 'full') this.#onFull(run);
    this.#tokens.set(run, count + 1);
  }

  /** The run came to nothing, or the last was written of it. */
  ended(run: string): void {
    this.#values.letGo(run);
    if (!this.#tokens.delete(run)) return;
    for (const slot of [0, 1]) this.#values.letGo(holderOf(run, slot));
  }
}

function holderOf(run: string, count: number): string {
  return `${run} token ${count % 2}`;
}
