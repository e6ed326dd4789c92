import type { SignedAuditLog } from '../../audit/log.ts';
import { dropOldEvents } from '../../audit/retention.ts';
import type { Sinks } from '../../audit/sinks/sinks.ts';
import type { Clock } from '../../base/clock.ts';
import type { Gate } from '../gate.ts';
import type { Logger } from '../logger.ts';
import type { KnownStream } from './proofs.ts';
import type { AuditSearch } from './search-types.ts';

/** How long events stay in the log, and where they are copied to before they go. */
export type AuditRetentionConfig = {
  readonly keptMs: number;
  readonly archive: string;
  readonly everyMs: number;
};

export type AuditRetentionParts = {
  readonly config: AuditRetentionConfig;
  readonly audit: Pick<SignedAuditLog, 'signer'>;
  readonly knownStreams: () => readonly KnownStream[];
  readonly sinks: Pick<Sinks, 'status'>;
  readonly gate: Pick<Gate, 'record'>;
  readonly search: Pick<AuditSearch, 'rebuild'>;
  readonly clock: Clock;
  readonly logger: Logger;
};

/** Drops old events from time to time. What cannot be archived, sent or recorded stays, and is tried again. */
export class AuditRetention {
  readonly #parts: AuditRetentionParts;
  #timer: NodeJS.Timeout | null = null;
  #dropping: Promise<void> | null = null;

  constructor(parts: AuditRetentionParts) {
    this.#parts = parts;
  }

  start(): void {
    this.#timer = setInterval(() => void this.drop(), this.#parts.config.everyMs).unref();
    void this.drop();
  }

  /** One look, shared with one that is going on. Never rejects. */
  drop(): Promise<void> {
    this.#dropping ??= this.#drop().finally(() => {
      this.#dropping = null;
    });
    return this.#dropping;
  }

  async close(): Promise<void> {
    if (this.#timer !== null) clearInterval(this.#timer);
    await this.#dropping;
  }

  async #drop(): Promise<void> {
    const { config, audit, knownStreams, sinks, gate, clock, logger } = this.#parts;
    let dropped = 0;
    try {
      const sent = await sinks.status();
      await dropOldEvents({
        ...config,
        clock,
        streams: knownStreams,
        signer: () => audit.signer(),
        sentThrough: async (stream) => {
          const seqs = sent.map(({ streams }) => streams.find((one) => one.stream === stream)?.sentSeq ?? 0);
          return seqs.length === 0 ? null : Math.min(...seqs);
        },
        record: async ({ stream, from, through }) => {
          dropped += 1;
          await gate.record({
            action: 'audit.dropped',
            actor: { id: 'system:audit' },
            resource: { kind: 'audit', id: stream },
            outcome: 'succeeded',
            rule: 'audit:retention',
            data: { stream, from, through },
          });
        },
      });
    } catch (error) {
      logger.warn({ error: String(error) }, 'old events of the audit log could not be dropped');
    }
    if (dropped > 0) this.#forget();
  }

  /** Their words leave the index, too, which takes as long as it takes. */
  #forget(): void {
    const { search, logger } = this.#parts;
    search.rebuild().catch((error: unknown) => {
      logger.warn({ error: String(error) }, 'what was dropped of the audit log is still in its index');
    });
  }
}
