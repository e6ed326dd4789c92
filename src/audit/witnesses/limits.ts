import assert from 'node:assert/strict';
import { noteBytesMax } from '../signed-note.ts';

/** Bounds of what goes to witnesses. Counts, bytes and milliseconds as the names say. */
export const witnessLimits = {
  /** Of one request with its answer. */
  sendMs: 30_000,
  /** Of one push, which may take several requests. */
  pushMs: 120_000,
  /** Of an answer; more is not read. */
  answerBytesMax: 64 * 1024,
  answerHeaderBytesMax: 16 * 1024,
  /** How often what is due is looked for. */
  tickMs: 1_000,
  firstRetryMs: 1_000,
  mostRetryMs: 60_000,
  /** A witness that has had nothing for longer is told of, unless it is asked more seldom. */
  staleMs: 300_000,
  /** Lines of a consistency proof (C2SP tlog-witness). */
  proofLinesMax: 63,
  /** Digits of a size in the name of a file or an object. */
  sizeDigits: 16,
  /** Sizes in one folder of a file witness. */
  folderSizes: 65_536,
} as const;

assert(witnessLimits.answerBytesMax >= noteBytesMax, 'a note that was kept can be read again');
assert(witnessLimits.firstRetryMs <= witnessLimits.mostRetryMs);
assert(witnessLimits.sendMs <= witnessLimits.pushMs);
assert(witnessLimits.mostRetryMs < witnessLimits.staleMs, 'it is tried again before it is told of');
