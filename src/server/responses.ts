import type { FastifyReply } from 'fastify';
import { z } from 'zod';
import { problem } from '../contract/schemas.ts';
import { problemMediaType } from './problem.ts';

/** What each route may answer besides success, in the shape that fastify and the OpenAPI document share. */
export const problemResponses = {
  default: {
    description: 'A problem (RFC 9457). `code` is stable; `errors` lists every field that does not fit.',
    content: { [problemMediaType]: { schema: problem } },
  },
} as const;

export function json<T extends z.ZodType>(description: string, schema: T) {
  return { description, content: { 'application/json': { schema } } };
}

/** An answer without a body. */
export function empty(description: string) {
  return z.null().describe(description);
}

/** Ends an answer that `empty` documents. */
export function sendEmpty(reply: object, status: 202 | 204 | 304): void {
  (reply as FastifyReply).code(status).send();
}

/** Bytes of one of these media types, streamed. */
export function bytes(description: string, ...mediaTypes: string[]) {
  return {
    description,
    content: Object.fromEntries(mediaTypes.map((type) => [type, { schema: z.string() }])),
  };
}

export const noQuery = z.strictObject({});
export const ifMatchHeader = z.looseObject({
  'if-match': z.string().optional().describe('The ETag that was read; 428 where absent, 412 where outdated'),
});
export const idempotencyHeader = z.looseObject({
  'idempotency-key': z
    .string()
    .optional()
    .describe('The same key and request answer with the resource that the first one made'),
});
