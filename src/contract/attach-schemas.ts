import { z } from 'zod';
import { attachRoles } from '../model/terminal.ts';
import { terminalSizeSchema } from './attach-frames.ts';
import { attachChoice } from './attach-settings.ts';
import { command, cwd, environment, id, reason, runId, sessionId, time } from './schemas.ts';

/** Of one search in a recording. */
const searchTextCharactersMax = 256;
const searchMatchesMax = 1_000;

/** Shapes of the requests and answers about attaching; the WebSocket's own frames are in `attach.ts`. */

export const terminalId = id('terminal', 'trm_01kamcq5r8v0x4m2e7hj9n3tzb');

export const putAttachSettings = attachChoice.extend({ reason: reason.optional() });

export const createAttachTicket = z.strictObject({
  role: z.enum(attachRoles).optional().meta({ description: 'viewer where absent' }),
  terminal: terminalId.optional().meta({ description: 'The run’s own where absent' }),
});

export const createExec = z.strictObject({
  command,
  env: environment.optional(),
  cwd: cwd.optional(),
  terminal: terminalSizeSchema
    .optional()
    .meta({ description: 'Runs in a terminal of this size; where absent it has pipes' }),
});

export const createPortForward = z.strictObject({ port: z.int().min(1).max(65_535) });

/** Secret, for one use within `expiresAt`; it opens the WebSocket at `path`. Never put it into a URL. */
export const attachTicket = z.object({
  ticket: z.string(),
  expiresAt: time,
  path: z.string().meta({ example: '/api/v1/runs/run_01kamcq5r8v0x4m2e7hj9n3tzb/attach' }),
  protocol: z.string(),
  terminal: terminalId.nullable(),
});

/** A terminal of a run, alive or ended, with what is recorded of it. */
export const terminal = z.object({
  id: terminalId,
  run: runId,
  session: sessionId,
  kind: z.enum(['run', 'exec']),
  /** Who started it. */
  actor: z.string(),
  command: z.array(z.string()),
  size: terminalSizeSchema,
  openedAt: time,
  endedAt: time.nullable(),
  exitCode: z.int().nullable(),
  recording: z.object({
    bytes: z.int(),
    seconds: z.number(),
    /** Whether parts in the middle were dropped to stay within the limit. */
    complete: z.boolean(),
  }),
});

export const terminalMatch = z.object({
  /** Seconds from the beginning. */
  at: z.number(),
  line: z.string().meta({ description: 'Untrusted text of the sandbox, without control characters' }),
});

export const terminalMatches = z.object({ items: z.array(terminalMatch) });

export const searchQuery = z.strictObject({
  text: z.string().min(1).max(searchTextCharactersMax).meta({ description: 'As it was shown, in any case' }),
  limit: z.coerce.number().int().min(1).max(searchMatchesMax).default(100),
});

export type PutAttachSettings = z.infer<typeof putAttachSettings>;
export type CreateAttachTicket = z.infer<typeof createAttachTicket>;
export type CreateExec = z.infer<typeof createExec>;
export type CreatePortForward = z.infer<typeof createPortForward>;
export type AttachTicketView = z.infer<typeof attachTicket>;
export type TerminalView = z.infer<typeof terminal>;
export type TerminalMatch = z.infer<typeof terminalMatch>;
