import { setTimeout as pause } from 'node:timers/promises';
import type { JsonObject } from '../base/canonical-json.ts';
import type { CheckpointClaim } from '../contract/runner.ts';
import type { NewEvent } from './event.ts';
import { auditLimits } from './limits.ts';
import type { AuditLog } from './log.ts';

export type HeartbeatParts = {
  readonly log: Pick<AuditLog, 'append'>;
  readonly stream: string;
  /** The newest that the writer knows of each other stream. */
  readonly others: () => readonly CheckpointClaim[];
  readonly everyMs?: number;
};

/**
 * A writer's sign of life in its own stream, every `heartbeatMs`: where a stream says nothing for longer, its writer was
 * gone or kept from writing, unless the last thing it said is `audit.closed`. Each beat holds the newest checkpoint of
 * every other stream that the writer knows, so that no stream can be rewritten without the others telling.
 */
export class Heartbeat {
  readonly #parts: HeartbeatParts;
  readonly #stopped = new AbortController();
  readonly #beating: Promise<void>;

  constructor(parts: HeartbeatParts) {
    this.#parts = parts;
    this.#beating = this.#beatForever();
  }

  /** The last word: the silence that follows is meant. Never rejects. */
  async close(): Promise<void> {
    this.#stopped.abort();
    await this.#beating;
    await this.#note('audit.closed');
  }

  async #beatForever(): Promise<void> {
    const { everyMs = auditLimits.heartbeatMs } = this.#parts;
    const { signal } = this.#stopped;
    for (;;) {
      const late = await pause(everyMs, true, { signal, ref: false }).catch(() => false);
      if (!late) return;
      await this.#note('audit.heartbeat');
    }
  }

  /** Where it cannot be written the log itself tells of the gap. */
  async #note(action: string): Promise<void> {
    const { log, stream, others } = this.#parts;
    const checkpoints = others().map(({ stream: other, origin, size, root }): JsonObject => {
      return { stream: other, origin, size, root };
    });
    const note: NewEvent = {
      action,
      phase: 'note',
      actor: { id: 'system:audit', kind: 'system' },
      resource: { kind: 'audit', id: stream },
      decision: { allow: true, rule: 'audit:self' },
      outcome: 'succeeded',
      data: { checkpoints },
    };
    await log.append(note).catch(() => undefined);
  }
}
