import * as schemas from '../../contract/agents-schemas.ts';
import { type App, callerOf, type ServerContext } from '../context.ts';
import { json, noQuery, problemResponses } from '../responses.ts';

const url = '/api/v1/authority';

/** The authority that certifies keys of agents and services. */
export function authorityRoutes(app: App, { control }: ServerContext): void {
  app.route({
    method: 'GET',
    url,
    config: { action: 'key.list' },
    schema: {
      operationId: 'getAuthority',
      summary: 'The certificates that those of agents are verified with, and which were revoked',
      tags: ['agents'],
      querystring: noQuery,
      response: { 200: json('The authority', schemas.authority), ...problemResponses },
    },
    handler: async (request) => await control.authority.get(callerOf(request)),
  });
  app.route({
    method: 'POST',
    url: `${url}/rotate`,
    config: { rate: 'admin', action: 'key.rotate' },
    schema: {
      operationId: 'rotateAuthority',
      summary: 'Sign with another key from now on; what the earlier ones signed is taken for the overlap',
      tags: ['agents'],
      querystring: noQuery,
      body: schemas.rotateAuthority,
      response: {
        200: json('The certificate that signs now', schemas.authorityCertificate),
        ...problemResponses,
      },
    },
    handler: async (request) => await control.authority.rotate(callerOf(request), request.body),
  });
}
