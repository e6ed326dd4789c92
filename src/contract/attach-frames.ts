import assert from 'node:assert/strict';
import { z } from 'zod';
import { type ConnectionId, parseId } from '../model/ids.ts';
import { terminalBounds } from '../model/terminal.ts';
import { attachLimits, type ClientFrame } from './attach.ts';

/** What clients say in the attach protocol, as the server reads it. */

export const terminalSizeSchema = z.strictObject({
  columns: z.int().min(1).max(terminalBounds.columnsMax),
  rows: z.int().min(1).max(terminalBounds.rowsMax),
});

export const connectionId = z
  .string()
  .refine((text): text is ConnectionId => parseId('connection', text) !== null);

const clientFrame: z.ZodType<ClientFrame> = z.discriminatedUnion('type', [
  z.strictObject({ type: z.literal('resize'), size: terminalSizeSchema }),
  z.strictObject({ type: z.literal('drive'), takeover: z.boolean().optional() }),
  z.strictObject({ type: z.literal('release') }),
  z.strictObject({ type: z.literal('hand-over'), to: connectionId }),
  z.strictObject({ type: z.literal('keep-alive') }),
  z.strictObject({ type: z.literal('end-input') }),
]);

/** The frame that a text message holds, or null where it is none; nothing about its sender is verified by that. */
export function parseClientFrame(text: string): ClientFrame | null {
  if (Buffer.byteLength(text) > attachLimits.controlBytesMax) return null;
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return null;
  }
  const { success, data } = clientFrame.safeParse(value);
  return success ? data : null;
}

assert(attachLimits.outputBytesMax < attachLimits.frameBytesMax);
assert(attachLimits.pingMs < attachLimits.pongMs);
