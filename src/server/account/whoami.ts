import * as schemas from '../../contract/oauth-schemas.ts';
import { type App, callerOf, type ServerContext } from '../context.ts';
import { json, noQuery, problemResponses } from '../responses.ts';

export function whoamiRoute(app: App, { control }: ServerContext): void {
  app.route({
    method: 'GET',
    url: '/api/v1/whoami',
    config: {},
    schema: {
      operationId: 'whoami',
      summary: 'Who the caller is here, and what it may do now',
      tags: ['account'],
      querystring: noQuery,
      response: { 200: json('The caller', schemas.whoami), ...problemResponses },
    },
    handler: async (request) => await control.whoami(callerOf(request)),
  });
}
