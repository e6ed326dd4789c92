import assert from 'node:assert/strict';

/** Bounds of a recording. Bytes are of its files. */
export const recordingLimits = {
  bytesMax: 256 * 1024 ** 2,
  segmentBytesMax: 4 * 1024 ** 2,
  /** Share of a recording's bytes that is its beginning; the rest is its end. */
  headShare: 0.25,
  /** A terminal whose run has recorded as much is not opened. */
  runBytesMax: 1024 ** 3,
  /** How much is recorded, and how long it may take, before its hash is put on the record. */
  rangeBytes: 1024 ** 2,
  rangeMs: 10_000,
  /** A terminal that says nothing for so long is written down to its last word, and after a while with it. */
  settleMs: 100,
  wordMs: 10_000,
  /** While all that came is held back, something is written so often, to learn whether it can be. */
  probeMs: 500,
  /** How soon a recording that could not be written is tried again. */
  retryMs: 500,
  /** Input is written line by line; what is no line for so long, or is longer, without its end. */
  inputMs: 30_000,
  inputCharactersMax: 4 * 1024,
  commandCharactersMax: 4 * 1024,
  readBytes: 256 * 1024,
  /** Of a recording whose runner was killed, from its end: what is looked at for a torn line. */
  tailBytesMax: 1024 ** 2,
} as const;

assert(recordingLimits.rangeBytes <= recordingLimits.segmentBytesMax);
assert(recordingLimits.segmentBytesMax * 8 <= recordingLimits.bytesMax);
