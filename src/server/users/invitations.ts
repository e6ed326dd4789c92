import { z } from 'zod';
import { page, pageQuery } from '../../contract/schemas.ts';
import * as schemas from '../../contract/user-schemas.ts';
import { type App, callerOf, type ServerContext } from '../context.ts';
import { empty, json, noQuery, problemResponses, sendEmpty } from '../responses.ts';

const url = '/api/v1/invitations';

export function invitationRoutes(app: App, { control: { invitations } }: ServerContext): void {
  app.route({
    method: 'POST',
    url,
    config: { rate: 'admin', action: 'invitation.create' },
    schema: {
      operationId: 'createInvitation',
      summary: 'Invite somebody; the answer is the only place where the link is ever shown',
      tags: ['users'],
      querystring: noQuery,
      body: schemas.createInvitation,
      response: { 201: json('The invitation and its link', schemas.createdInvitation), ...problemResponses },
    },
    handler: async (request, reply) => {
      const created = await invitations.create(callerOf(request), request.body);
      reply.code(201).header('location', `${url}/${created.id}`);
      return created;
    },
  });
  app.route({
    method: 'GET',
    url,
    config: { rate: 'admin', action: 'invitation.list' },
    schema: {
      operationId: 'listInvitations',
      summary: 'The invitations that can still be accepted',
      tags: ['users'],
      querystring: pageQuery,
      response: { 200: json('A page', page(schemas.invitation)), ...problemResponses },
    },
    handler: async (request) => {
      const { items, nextCursor } = await invitations.list(callerOf(request), request.query);
      return { items: [...items], nextCursor };
    },
  });
  app.route({
    method: 'DELETE',
    url: `${url}/:id`,
    config: { rate: 'admin', action: 'invitation.revoke' },
    schema: {
      operationId: 'revokeInvitation',
      summary: 'Revoke an invitation',
      tags: ['users'],
      params: z.strictObject({ id: schemas.invitationId }),
      querystring: noQuery,
      response: { 204: empty('It is revoked'), ...problemResponses },
    },
    handler: async (request, reply) => {
      await invitations.revoke(callerOf(request), request.params.id);
      return sendEmpty(reply, 204);
    },
  });
}
