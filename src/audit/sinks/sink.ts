import type { SinkSettings } from '../../contract/sinks.ts';
import type { AuditEvent } from '../event.ts';

/** One event on its way out: as it stands in the log, and as the sink's format writes it. */
export type Outgoing = {
  readonly event: AuditEvent;
  /** What the receiver gets: the event's own line, or an OCSF object; one line of JSON. */
  readonly text: string;
};

/**
 * What came of a send. `taken`: the receiver has them all, but for those whose place in the batch `refused` names, which
 * it will never take. `refused`: it will never take this batch, for one event of it or for its size; nothing is known to
 * have been taken. `later`: nothing is known to have been taken and the same may work another time. Reasons are for
 * operators: one bounded line without control characters and without the secret.
 */
export type SendResult =
  | { readonly kind: 'taken'; readonly refused?: readonly Refusal[] }
  | { readonly kind: 'refused'; readonly reason: string }
  | { readonly kind: 'later'; readonly reason: string; readonly retryAfterMs?: number };

export type Refusal = { readonly index: number; readonly reason: string };

/**
 * A way out of the log. Never called twice at a time. A batch has at least one event, all of one stream and in its order.
 */
export type Sink = {
  /**
   * Resolves, and never rejects, once the receiver has answered, or `sendMs` are over, or `signal` is aborted.
   * What it called `taken` survives a crash of this process.
   */
  send(batch: readonly Outgoing[], signal: AbortSignal): Promise<SendResult>;
  close(): Promise<void>;
};

/** What a sink is made of; effects come with it. */
export type SinkParts = {
  readonly settings: SinkSettings;
  /** This machine's name, where a format asks for one. */
  readonly hostname: string;
  readonly version: string;
  readonly now: () => number;
  /** How long a send may take, its answer included. */
  readonly sendMs: number;
};
