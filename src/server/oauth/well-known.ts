import type { FastifyReply } from 'fastify';
import { z } from 'zod';
import { oauthPaths } from '../../contract/oauth.ts';
import type { App, ServerContext } from '../context.ts';
import { serverLimits } from '../limits.ts';
import { json, noQuery, problemResponses } from '../responses.ts';

/** What relying parties and clients read before they know anything else. Public, and theirs to keep for a while. */
export function wellKnownRoutes(app: App, { control }: ServerContext): void {
  const { oauth } = control;
  const documents = [
    [oauthPaths.jwks, 'jwks', 'The keys that signatures of this server verify by (RFC 7517)'],
    [oauthPaths.metadata, 'oauthMetadata', 'Where OAuth is spoken here (RFC 8414)'],
    [oauthPaths.openidConfiguration, 'openidConfiguration', 'The same for relying parties of run identities'],
  ] as const;
  for (const [url, operationId, summary] of documents)
    app.route({
      method: 'GET',
      url,
      config: { open: true },
      schema: {
        operationId,
        summary,
        tags: ['oauth'],
        querystring: noQuery,
        security: [],
        response: { 200: json(summary, z.looseObject({})), ...problemResponses },
      },
      handler: async (_request, reply) => {
        (reply as FastifyReply).header('cache-control', `public, max-age=${serverLimits.wellKnownSeconds}`);
        return operationId === 'jwks' ? await oauth.jwks() : oauth.metadata();
      },
    });
}
