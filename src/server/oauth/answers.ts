import type { FastifyReply, FastifyRequest } from 'fastify';
import { z } from 'zod';
import { OAuthFault } from '../../contract/oauth.ts';
import { hasBody } from '../admission.ts';
import type { ServerContext } from '../context.ts';
import { problemOf } from '../problem.ts';
import { problemResponses } from '../responses.ts';

const oauthError = z.object({ error: z.string(), error_description: z.string() });

/** What the OAuth routes may answer besides success. */
export const oauthResponses = {
  default: {
    description: 'An error in the form of RFC 6749 §5.2; in front of the route, a problem.',
    content: { 'application/json': { schema: oauthError }, ...problemResponses.default.content },
  },
} as const;

/** Failures in the form that OAuth clients read. What the protocol has no word for keeps its status. */
export function answerOAuthFault(
  failure: unknown,
  request: FastifyRequest,
  reply: FastifyReply,
  { logger }: ServerContext,
): void {
  if (hasBody(request) && !request.raw.complete) reply.header('connection', 'close');
  reply.header('content-type', 'application/json');
  if (failure instanceof OAuthFault) {
    const { error, description, status } = failure;
    if (error === 'invalid_client') reply.header('www-authenticate', 'Basic realm="sealwright"');
    reply.code(status).send(Buffer.from(JSON.stringify({ error, error_description: description })));
    return;
  }
  const { status, headers, body, unexpected } = problemOf(failure, request.id);
  if (unexpected) logger.error({ err: failure, requestId: request.id }, 'a request failed inside');
  const text = JSON.stringify({ error: wordFor(status), error_description: body.detail });
  reply.code(status).headers(headers).header('content-type', 'application/json').send(Buffer.from(text));
}

function wordFor(status: number): string {
  if (status === 503 || status === 429 || status === 507) return 'temporarily_unavailable';
  if (status === 403) return 'insufficient_scope';
  return status >= 500 ? 'server_error' : 'invalid_request';
}
