import { z } from 'zod';
import * as schemas from '../../contract/identity-schemas.ts';
import { userName } from '../../contract/sign-in-schemas.ts';
import { type App, callerOf, type ServerContext } from '../context.ts';
import { empty, json, noQuery, problemResponses, sendEmpty } from '../responses.ts';

const url = '/api/v1/users/:name/identities';
const params = z.strictObject({ name: userName });

function described(operationId: string, summary: string) {
  return { operationId, summary, tags: ['users'], querystring: noQuery };
}

export function userIdentityRoutes(app: App, { control: { userIdentities } }: ServerContext): void {
  app.route({
    method: 'GET',
    url,
    config: { action: 'user.read' },
    schema: {
      ...described('listUserIdentities', 'Which persons of other providers a user is'),
      params,
      response: { 200: json('All of them', schemas.linkedIdentities), ...problemResponses },
    },
    handler: async (request) => {
      const items = await userIdentities.list(callerOf(request), request.params.name);
      return { items: [...items] };
    },
  });
  app.route({
    method: 'POST',
    url,
    config: { rate: 'admin', action: 'user.link' },
    schema: {
      ...described('linkUserIdentity', 'Say that a person of another provider is this user'),
      params,
      body: schemas.linkIdentity,
      response: { 201: json('It is linked', schemas.linkedIdentity), ...problemResponses },
    },
    handler: async (request, reply) => {
      const linked = await userIdentities.link(callerOf(request), request.params.name, request.body);
      reply.code(201);
      return linked;
    },
  });
  app.route({
    method: 'DELETE',
    url: `${url}/:provider/:subject`,
    config: { rate: 'admin', action: 'user.unlink' },
    schema: {
      ...described('unlinkUserIdentity', 'Take it back, and end what the user signed in to there'),
      params: schemas.identityParams,
      response: { 204: empty('It is linked no more'), ...problemResponses },
    },
    handler: async (request, reply) => {
      const { name, ...identity } = request.params;
      await userIdentities.unlink(callerOf(request), name, identity);
      return sendEmpty(reply, 204);
    },
  });
}
