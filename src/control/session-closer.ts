import { setTimeout as pause } from 'node:timers/promises';
import type { Clock } from '../base/clock.ts';
import type { SessionId } from '../model/ids.ts';
import type { Store } from '../store/store.ts';
import { controlLimits } from './limits.ts';
import type { LiveRun, LiveRuns } from './live-runs.ts';
import type { Logger } from './logger.ts';
import type { RunnerLink } from './runner-link.ts';

type CloserParts = {
  readonly store: Store;
  readonly link: RunnerLink;
  readonly live: LiveRuns;
  readonly clock: Clock;
  readonly logger: Logger;
};

/**
 * Takes terminating sessions to their end: the runner stops their runs and removes the workspace, the ends
 * become durable, then the session is closed. A step that fails leaves the session terminating, and
 * `resume` takes it up again: after each connection, at each sweep, after a crash.
 */
export class SessionCloser {
  readonly #parts: CloserParts;
  readonly #closing = new Map<SessionId, Promise<void>>();
  readonly #stopped = new AbortController();

  constructor(parts: CloserParts) {
    this.#parts = parts;
  }

  /** Resolves when the session is closed, when that takes long, or at once while there is no runner. */
  async closeSoon(id: SessionId): Promise<void> {
    if (!this.#parts.link.connected) return;
    const waited = new AbortController();
    const late = pause(controlLimits.closeWaitMs, undefined, { signal: waited.signal, ref: false });
    await Promise.race([this.#close(id), late.catch(() => undefined)]);
    waited.abort();
  }

  async resume(): Promise<void> {
    if (!this.#parts.link.connected) return;
    for (const { id } of await this.#parts.store.sessions.terminating()) await this.#close(id);
  }

  async close(): Promise<void> {
    this.#stopped.abort();
    await Promise.all(this.#closing.values());
  }

  /** Never rejects. */
  #close(id: SessionId): Promise<void> {
    const going = this.#closing.get(id);
    if (going !== undefined) return going;
    const closing = this.#steps(id)
      .catch((error: unknown) => {
        if (!this.#stopped.signal.aborted)
          this.#parts.logger.warn(
            { session: id, error: String(error) },
            'closing a session is to be continued',
          );
      })
      .finally(() => this.#closing.delete(id));
    this.#closing.set(id, closing);
    return closing;
  }

  async #steps(id: SessionId): Promise<void> {
    const { store, link, live, clock } = this.#parts;
    const session = await store.sessions.get(id);
    if (session === null || session.phase !== 'terminating') return;
    for (const run of live.of(id)) run.stopRequested = true;
    await link.order({ order: 'remove-session', session: id }, controlLimits.removeSessionTimeoutMs);
    await Promise.all(live.of(id).map((run) => this.#ended(run)));
    const upload = session.repo !== null && 'upload' in session.repo ? session.repo.upload : null;
    if (upload !== null) await link.order({ order: 'remove-upload', upload });
    await store.sessions.close(id, clock.now());
    if (upload !== null) await store.uploads.remove(upload);
  }

  async #ended(run: LiveRun): Promise<void> {
    await this.#parts.live.until(run, () => run.ended, this.#stopped.signal);
  }
}
