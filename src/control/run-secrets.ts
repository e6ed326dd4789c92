import type { RunId } from '../model/ids.ts';
import { isSecretName } from '../redaction/secret-names.ts';
import type { SecretValues } from '../redaction/secret-values.ts';
import type { Logger } from './logger.ts';

/**
 * What a run was given that must be on no record while it lives: variables whose names say that they are secret, and
 * the tokens that it proves itself with, the newest and the one before. Only hashes of them stay here. Variables of a
 * run that an earlier process started are unknown: the store forgot them when the run started.
 */
export class RunSecrets {
  readonly #values: SecretValues;
  readonly #logger: Logger;
  /** How many tokens each run has had. */
  readonly #tokens = new Map<RunId, number>();

  constructor(values: SecretValues, logger: Logger) {
    this.#values = values;
    this.#logger = logger;
  }

  /** To be called before anything of the run is recorded. */
  environment(run: RunId, env: Readonly<Record<string, string>>): void {
    this.#values.letGo(run);
    for (const [name, value] of Object.entries(env)) {
      if (!isSecretName(name) || this.#values.hold(run, 'run-environment', value) !== 'full') continue;
      this.#logger.warn({ run }, 'not every secret variable of a run can be looked for: there are too many');
      return;
    }
  }

  /** To be called before the token leaves this process. */
  token(run: RunId, token: string): void {
    const count = this.#tokens.get(run) ?? 0;
    const holder = holderOf(run, count);
    this.#values.letGo(holder);
    if (this.#values.hold(holder, 'run-identity', token) === 'full')
      this.#logger.warn({ run }, 'the token of a run is found by its shape alone: there are too many values');
    this.#tokens.set(run, count + 1);
  }

  /** The run came to nothing, or its end is recorded. */
  ended(run: RunId): void {
    this.#values.letGo(run);
    if (!this.#tokens.delete(run)) return;
    for (const slot of [0, 1]) this.#values.letGo(holderOf(run, slot));
  }
}

function holderOf(run: RunId, count: number): string {
  return `${run} token ${count % 2}`;
}
