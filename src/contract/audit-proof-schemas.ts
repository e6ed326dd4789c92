import { z } from 'zod';

const count = z.int().min(0);
const hash = z.string().describe('32 bytes in base64');

/** A stream of the audit log: the lines of one writer. */
export const auditStream = z.object({
  stream: z.string(),
  origin: z.string().describe('What the log is called in its checkpoints'),
  key: z
    .string()
    .nullable()
    .describe('The key that signs it now, as NAME+ID+BASE64; null where it is not known here'),
  events: count.describe('How many events it has, dropped ones included'),
  head: z.string().describe('Hash of the last one as a leaf of the tree, as hex'),
  checkpoint: z.object({
    size: count,
    root: hash,
    note: z.string().describe('The signed note (https://c2sp.org/tlog-checkpoint)'),
  }),
});
export type AuditStreamView = z.infer<typeof auditStream>;

export const auditStreams = z.object({ items: z.array(auditStream) });

/** `size` is that of the newest checkpoint where absent. */
export const inclusionQuery = z.strictObject({
  seq: z.coerce.number().int().min(1),
  size: z.coerce.number().int().min(1).optional(),
});
export const consistencyQuery = z.strictObject({
  first: z.coerce.number().int().min(0),
  size: z.coerce.number().int().min(0).optional(),
});

/** RFC 9162, 2.1.3: that the leaf `index` (from 0: the event `index` + 1) is in the tree of `size` events with this root. */
export const inclusionProof = z.object({
  origin: z.string(),
  index: count,
  leaf: hash,
  size: count,
  root: hash,
  proof: z.array(hash),
});
export type InclusionProofView = z.infer<typeof inclusionProof>;

/** RFC 9162, 2.1.4: that the tree of `size` events begins with that of `first` events. */
export const consistencyProof = z.object({
  origin: z.string(),
  first: count,
  firstRoot: hash,
  size: count,
  root: hash,
  proof: z.array(hash),
});
export type ConsistencyProofView = z.infer<typeof consistencyProof>;

export const checkpointQuery = z.strictObject({ stream: z.string().max(63).optional() });
export const auditKey = z.object({ origin: z.string(), key: z.string() });
export type AuditKeyView = z.infer<typeof auditKey>;
