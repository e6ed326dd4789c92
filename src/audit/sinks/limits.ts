import assert from 'node:assert/strict';
import { auditLimits, readLimits } from '../limits.ts';

/** Bounds of what goes out. Counts, bytes and milliseconds as the names say. */
export const sinkLimits = {
  /** Events of one request; their bytes are bounded by a block of the reader. */
  batchEventsMax: 500,
  /** So many at a time mean that more wait, and nothing has to gather. */
  behindEvents: 100,
  /** What is left to everybody else in this process between two such batches. */
  behindMs: 10,
  /** How long events gather before the next request, so that a busy log costs few of them. */
  lingerMs: 200,
  /** How long a stream of which nobody tells is left alone. */
  pollMs: 1_000,
  /** Of one request with its answer. */
  sendMs: 30_000,
  /** Of an answer; more is not read. */
  answerBytesMax: 64 * 1024,
  answerHeaderBytesMax: 16 * 1024,
  reasonCharactersMax: 200,
  firstRetryMs: 1_000,
  mostRetryMs: 60_000,
  /** What a receiver may ask for with Retry-After. */
  retryAfterMs: 3_600_000,
  deadLettersMax: 10_000,
  /** How long one call to send dead letters again may take. */
  redeliverMs: 20_000,
  /** Each has a file open for every sink. */
  streamsMax: 256,
  /** A cursor's file; more is not one. */
  cursorBytesMax: 64 * 1024,
  webhookKeyBytesMin: 24,
  fileRotateMebibytes: 100,
  fileKept: 10,
  /** Log audit (RFC 5424 §6.2.1). */
  syslogFacility: 13,
  /** Longer than what was written travels. */
  syslogSettleMs: 100,
} as const;

assert(sinkLimits.firstRetryMs <= sinkLimits.mostRetryMs);
assert(sinkLimits.mostRetryMs <= sinkLimits.retryAfterMs);
assert(readLimits.blockBytes >= auditLimits.lineBytesMax, 'a batch holds at least one event');
