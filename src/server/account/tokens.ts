import { z } from 'zod';
import * as schemas from '../../contract/oauth-schemas.ts';
import { createdToken, page, pageQuery, token, tokenId } from '../../contract/schemas.ts';
import { type App, callerOf, type ServerContext } from '../context.ts';
import { idempotencyKey } from '../preconditions.ts';
import { empty, idempotencyHeader, json, noQuery, problemResponses, sendEmpty } from '../responses.ts';

const url = '/api/v1/account/tokens';

export function ownTokenRoutes(app: App, context: ServerContext): void {
  createRoute(app, context);
  const { control } = context;
  app.route({
    method: 'GET',
    url,
    config: { action: 'account.token.list' },
    schema: {
      operationId: 'listOwnTokens',
      summary: 'Your own API tokens, without their secrets',
      tags: ['account'],
      querystring: pageQuery,
      response: { 200: json('A page', page(token)), ...problemResponses },
    },
    handler: async (request) => {
      const { items, nextCursor } = await control.ownTokens.list(callerOf(request), request.query);
      return { items: [...items], nextCursor };
    },
  });
  app.route({
    method: 'POST',
    url: `${url}/:id/rotate`,
    config: { rate: 'admin', action: 'account.token.rotate' },
    schema: {
      operationId: 'rotateOwnToken',
      summary: 'Put another secret in the place of one of your own tokens’',
      tags: ['account'],
      params: z.strictObject({ id: tokenId }),
      querystring: noQuery,
      body: schemas.rotateToken.optional(),
      response: { 201: json('The token and its secret', createdToken), ...problemResponses },
    },
    handler: async (request, reply) => {
      const { id } = request.params;
      const made = await control.ownTokens.rotate(callerOf(request), id, request.body ?? {});
      reply.code(201).header('location', `${url}/${made.id}`);
      return made;
    },
  });
  app.route({
    method: 'DELETE',
    url: `${url}/:id`,
    config: { rate: 'admin', action: 'account.token.revoke' },
    schema: {
      operationId: 'revokeOwnToken',
      summary: 'Revoke one of your own tokens, everywhere and at once',
      tags: ['account'],
      params: z.strictObject({ id: tokenId }),
      querystring: noQuery,
      response: { 204: empty('It is revoked'), ...problemResponses },
    },
    handler: async (request, reply) => {
      await control.ownTokens.revoke(callerOf(request), request.params.id);
      return sendEmpty(reply, 204);
    },
  });
}

function createRoute(app: App, { control }: ServerContext): void {
  app.route({
    method: 'POST',
    url,
    config: { rate: 'admin', action: 'account.token.create' },
    schema: {
      operationId: 'createOwnToken',
      summary: 'Make an API token of your own, which may do no more than you; its secret is shown once',
      tags: ['account'],
      querystring: noQuery,
      headers: idempotencyHeader,
      body: schemas.createOwnToken,
      response: { 201: json('The token and its secret', createdToken), ...problemResponses },
    },
    handler: async (request, reply) => {
      const created = await control.ownTokens.create(callerOf(request), {
        request: request.body,
        idempotencyKey: idempotencyKey(request.raw.headers),
      });
      reply.code(201).header('location', `${url}/${created.id}`);
      return created;
    },
  });
}
