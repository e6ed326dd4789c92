import assert from 'node:assert/strict';

/** What the client waits for and takes at most. */
export const clientLimits = {
  /** To the first byte of an answer; longer than the longest wait that the server offers. */
  answerTimeoutMs: 75_000,
  jsonBytesMax: 64 * 1024 * 1024,
  /** One server-sent event; a record of 64 KiB is at most six times as long in JSON. */
  eventCharactersMax: 2 * 1024 * 1024,
  reconnectFirstMs: 200,
  reconnectLastMs: 5_000,
  /** How long a log is reconnected without getting any further. */
  reconnectForMs: 60_000,
  renameAttempts: 3,
  pageItems: 200,
} as const;

assert(clientLimits.reconnectFirstMs <= clientLimits.reconnectLastMs);
assert(clientLimits.reconnectLastMs < clientLimits.reconnectForMs);
