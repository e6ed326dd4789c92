import assert from 'node:assert/strict';
import { auditLimits } from '../../audit/limits.ts';
import { apiLimits } from '../../contract/limits.ts';
import { auditIndexLimits } from '../../store/limits.ts';

/** Bounds of the search over the audit log. Counts, characters, bytes and milliseconds as the names say. */
export const searchLimits = {
  /** Events that one commit of the index carries, and lines that are read of a stream for it. */
  stepEventsMax: 1_024,
  /** How often the folder of the streams is looked at without being told. */
  pollMs: 1_000,
  /** After this a step that failed is tried again. */
  retryMs: 1_000,
  /** How long a question waits for the index to hold what the log held when it was asked. */
  catchUpMs: 2_000,
  streamsMax: 1_024,
  /** What is nested deeper is no event. */
  depthMax: 32,
  /** Different words that an event is found by. */
  wordsMax: 2_000,
  cursorCharactersMax: 512,
  /** Lines of one segment that lie this near each other are read together. */
  lineBlockBytes: 256 * 1024,
  /** What one page of a tail or an export asks for. */
  pageEvents: 500,
} as const;

assert(searchLimits.depthMax > auditLimits.dataDepthMax, 'every event that can be written is found');
assert(searchLimits.pageEvents <= auditIndexLimits.pageEventsMax);
assert(apiLimits.pageMax <= auditIndexLimits.pageEventsMax);
