import assert from 'node:assert/strict';

/** What one HTTP/1.1 message may hold outside its payload, which has no bound here and is never kept. */
export const httpLimits = {
  /** From the first byte up to and including the blank line. */
  headBytesMax: 16 * 1024,
  headersMax: 100,
  methodCharactersMax: 32,
  pathCharactersMax: 8_192,
  hostCharactersMax: 255,
  /** Of a Content-Length and of one chunk: what a number holds exactly, 2^53 - 1. */
  lengthBytesMax: Number.MAX_SAFE_INTEGER,
  chunkSizeDigitsMax: 16,
  chunkExtensionBytesMax: 256,
  /** All trailer lines and the blank line after them. */
  trailerBytesMax: 8 * 1024,
} as const;

assert(httpLimits.pathCharactersMax < httpLimits.headBytesMax);
assert(16 ** httpLimits.chunkSizeDigitsMax > httpLimits.lengthBytesMax);
