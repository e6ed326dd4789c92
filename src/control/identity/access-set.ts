import type { AccessDocument, AccessEngine, DocumentProblem } from '../../access/engine.ts';
import type { ChangeFeed } from '../../identity/change-feed.ts';
import type { AccessPolicyStore } from '../../store/identity-store.ts';
import { controlLimits } from '../limits.ts';
import type { Logger } from '../logger.ts';

export type AccessSetOptions = {
  readonly engine: AccessEngine;
  readonly store: AccessPolicyStore;
  readonly changes: Pick<ChangeFeed, 'on'>;
  readonly logger: Logger;
};

/**
 * The administrators' policies of the store, in force in this process. A change of any process is in force here as
 * soon as the feed tells it. While the stored ones cannot be read or used, the last that could be stay in force.
 */
export type AccessSet = {
  readonly engine: AccessEngine;
  /** Resolves once what is stored now is in force, or `health` says why not. Never throws. */
  reload(): Promise<void>;
  health(): { readonly ok: boolean; readonly detail?: string };
  /** Tells when another set is in force, however long after the change that was. Answers how to stop listening. */
  onReplaced(listener: () => void): () => void;
  close(): void;
};

/** Throws where the stored policies cannot be in force: without their forbids nothing may be decided. */
export async function openAccessSet(options: AccessSetOptions): Promise<AccessSet> {
  const problems = options.engine.replace(await documentsOf(options.store));
  if (problems.length > 0)
    throw new Error(
      `The stored access policies cannot be used: ${problemText(problems)}. Start the version of Sealwright that took them, ` +
        'mend or remove what is named here with `sealwright access policies`, then start this one.',
    );
  return new StoredAccessSet(options);
}

class StoredAccessSet implements AccessSet {
  readonly engine: AccessEngine;
  readonly #options: AccessSetOptions;
  readonly #forget: () => void;
  #failure: string | null = null;
  #loading: Promise<void> | null = null;
  /** Something changed since the load under way asked the store. */
  #isStale = false;
  #retry: NodeJS.Timeout | null = null;
  readonly #listeners = new Set<() => void>();

  constructor(options: AccessSetOptions) {
    this.engine = options.engine;
    this.#options = options;
    this.#forget = options.changes.on(({ kind }) => {
      if (kind === 'access-policy') void this.reload();
    });
  }

  reload(): Promise<void> {
    this.#isStale = true;
    this.#loading ??= this.#loadAll();
    return this.#loading;
  }

  health(): { ok: boolean; detail?: string } {
    if (this.#failure === null) return { ok: true };
    return { ok: false, detail: `the access policies before the last change are in force: ${this.#failure}` };
  }

  onReplaced(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  close(): void {
    this.#forget();
    if (this.#retry !== null) clearTimeout(this.#retry);
  }

  async #loadAll(): Promise<void> {
    while (this.#isStale) {
      this.#isStale = false;
      const failure = await this.#load();
      if (failure !== null && failure !== this.#failure)
        this.#options.logger.error({ failure }, 'access policies could not be loaded; the old ones stay');
      this.#failure = failure;
    }
    // In the same turn as the last look at #isStale, or a change in between would be nobody's.
    this.#loading = null;
    if (this.#retry !== null) clearTimeout(this.#retry);
    this.#retry = null;
    if (this.#failure === null) return;
    this.#retry = setTimeout(() => void this.reload(), controlLimits.accessRetryMs);
    this.#retry.unref();
  }

  async #load(): Promise<string | null> {
    try {
      const problems = this.engine.replace(await documentsOf(this.#options.store));
      if (problems.length > 0) return problemText(problems);
      for (const listener of this.#listeners) listener();
      return null;
    } catch (error) {
      this.#options.logger.warn({ error: String(error) }, 'the stored access policies could not be read');
      return 'the stored ones cannot be read';
    }
  }
}

async function documentsOf(store: AccessPolicyStore): Promise<AccessDocument[]> {
  const records = await store.all();
  return records.map(({ name, text }) => ({ name, text: text ?? '' }));
}

/** Which document, where and what; never its text. */
export function problemText(problems: readonly DocumentProblem[]): string {
  const [first] = problems;
  if (first === undefined) return '';
  const more = problems.length > 1 ? ` (and ${problems.length - 1} more)` : '';
  return `${first.document}, line ${first.line}, column ${first.column}: ${first.message}${more}`;
}
