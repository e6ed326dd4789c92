import { z } from 'zod';
import { page, pageQuery, runId, sessionId, time } from './schemas.ts';

const value = z.string().min(1).max(128);

/** What events of the audit log are chosen by; every one that is given must hold. */
export const auditFilter = z.strictObject({
  /** A beginning: `run.` finds `run.create`. */
  action: z.string().max(128).optional(),
  actor: value.optional(),
  onBehalfOf: value.optional(),
  resource: value.optional(),
  resourceKind: value.optional(),
  /** A session, and what belongs to it. */
  session: value.optional(),
  run: value.optional(),
  outcome: z.enum(['allowed', 'denied', 'succeeded', 'failed']).optional(),
  phase: z.enum(['attempt', 'outcome', 'note']).optional(),
  rule: z.string().min(1).max(160).optional(),
  address: value.optional(),
  stream: z.string().min(1).max(63).optional(),
  /** Inclusive. */
  since: time.optional(),
  /** Exclusive. */
  until: time.optional(),
  /** Words that must all occur, whole and in any order; capitals do not matter. */
  text: z.string().min(1).max(512).optional(),
});

export const auditOrder = z.enum(['newest', 'oldest']);

export const auditQuery = pageQuery.extend({ ...auditFilter.shape, order: auditOrder.optional() });

export const auditExportQuery = auditFilter.extend({
  format: z.enum(['csv', 'jsonl']),
  order: auditOrder.optional(),
});

/** What a bundle of evidence is made of: a run, a session, or everything of a time; at least one. */
export const evidenceQuery = z.strictObject({
  run: runId.optional(),
  session: sessionId.optional(),
  /** Inclusive. */
  since: time.optional(),
  /** Exclusive. */
  until: time.optional(),
});

export const auditTailQuery = auditFilter.extend({
  /** Where to go on: the id of the last event seen. `Last-Event-ID` says the same. */
  after: z.string().min(1).max(512).optional(),
});

/** `unreadable` counts lines of the log that are no events: damage, which `sealwright audit verify` explains. */
export const auditPage = page(z.record(z.string(), z.unknown())).extend({ unreadable: z.int() });

export const auditIndexView = z.object({ events: z.int(), unreadable: z.int() });

export type AuditFilterQuery = z.infer<typeof auditFilter>;
export type AuditQuery = z.infer<typeof auditQuery>;
export type AuditExportQuery = z.infer<typeof auditExportQuery>;
export type EvidenceQuery = z.infer<typeof evidenceQuery>;
export type AuditTailQuery = z.infer<typeof auditTailQuery>;
export type AuditPageView = z.infer<typeof auditPage>;
export type AuditIndexView = z.infer<typeof auditIndexView>;
