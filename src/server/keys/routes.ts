import * as schemas from '../../contract/oauth-schemas.ts';
import { type App, callerOf, type ServerContext } from '../context.ts';
import { json, noQuery, problemResponses } from '../responses.ts';

const url = '/api/v1/keys';

export function keyRoutes(app: App, { control }: ServerContext): void {
  app.route({
    method: 'GET',
    url,
    config: { rate: 'admin', action: 'key.list' },
    schema: {
      operationId: 'listKeys',
      summary: 'The keys that sign and verify access tokens, the newest first',
      tags: ['keys'],
      querystring: noQuery,
      response: { 200: json('All of them', schemas.signingKeys), ...problemResponses },
    },
    handler: async (request) => ({ items: [...(await control.keys.list(callerOf(request)))] }),
  });
  app.route({
    method: 'POST',
    url: `${url}/rotate`,
    config: { rate: 'admin', action: 'key.rotate' },
    schema: {
      operationId: 'rotateKeys',
      summary: 'Sign with another key from now on; the one before verifies until what it signed is over',
      tags: ['keys'],
      querystring: noQuery,
      body: schemas.rotateKeys.optional(),
      response: { 201: json('The key that signs now', schemas.signingKey), ...problemResponses },
    },
    handler: async (request, reply) => {
      reply.code(201);
      return await control.keys.rotate(callerOf(request), request.body ?? {});
    },
  });
}
