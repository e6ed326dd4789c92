import { z } from 'zod';
import { rotateToken } from '../../contract/oauth-schemas.ts';
import * as schemas from '../../contract/schemas.ts';
import { type App, callerOf, type ServerContext } from '../context.ts';
import { idempotencyKey } from '../preconditions.ts';
import { empty, idempotencyHeader, json, noQuery, problemResponses, sendEmpty } from '../responses.ts';

const url = '/api/v1/tokens';

export function tokenRoutes(app: App, context: ServerContext): void {
  const { control } = context;
  rotateRoute(app, context);
  app.route({
    method: 'POST',
    url,
    config: { rate: 'admin', action: 'token.create' },
    schema: {
      operationId: 'createToken',
      summary: 'Make an API token; the answer is the only place where its secret is ever shown',
      tags: ['tokens'],
      querystring: noQuery,
      headers: idempotencyHeader,
      body: schemas.createToken,
      response: { 201: json('The token and its secret', schemas.createdToken), ...problemResponses },
    },
    handler: async (request, reply) => {
      const created = await control.tokens.create(callerOf(request), {
        request: request.body,
        idempotencyKey: idempotencyKey(request.raw.headers),
      });
      reply.code(201).header('location', `${url}/${created.id}`);
      return created;
    },
  });
  app.route({
    method: 'GET',
    url,
    config: { rate: 'admin', action: 'token.list' },
    schema: {
      operationId: 'listTokens',
      summary: 'The tokens that the caller may see, without their secrets',
      tags: ['tokens'],
      querystring: schemas.pageQuery,
      response: { 200: json('A page', schemas.page(schemas.token)), ...problemResponses },
    },
    handler: async (request) => {
      const { items, nextCursor } = await control.tokens.list(callerOf(request), request.query);
      return { items: [...items], nextCursor };
    },
  });
  app.route({
    method: 'DELETE',
    url: `${url}/:id`,
    config: { rate: 'admin', action: 'token.revoke' },
    schema: {
      operationId: 'revokeToken',
      summary: 'Revoke a token, everywhere and at once',
      tags: ['tokens'],
      params: z.strictObject({ id: schemas.tokenId }),
      querystring: noQuery,
      response: { 204: empty('It is revoked'), ...problemResponses },
    },
    handler: async (request, reply) => {
      await control.tokens.revoke(callerOf(request), request.params.id);
      return sendEmpty(reply, 204);
    },
  });
}

function rotateRoute(app: App, { control }: ServerContext): void {
  app.route({
    method: 'POST',
    url: `${url}/:id/rotate`,
    config: { rate: 'admin', action: 'token.rotate' },
    schema: {
      operationId: 'rotateToken',
      summary: 'Put another secret in the place of a token’s; the answer is the only place that shows it',
      tags: ['tokens'],
      params: z.strictObject({ id: schemas.tokenId }),
      querystring: noQuery,
      body: rotateToken.optional(),
      response: { 201: json('The token and its secret', schemas.createdToken), ...problemResponses },
    },
    handler: async (request, reply) => {
      const made = await control.tokens.rotate(callerOf(request), request.params.id, request.body ?? {});
      reply.code(201).header('location', `${url}/${made.id}`);
      return made;
    },
  });
}
