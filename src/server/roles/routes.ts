import { z } from 'zod';
import * as schemas from '../../contract/access-schemas.ts';
import { page } from '../../contract/schemas.ts';
import { type App, callerOf, type ServerContext } from '../context.ts';
import { askedVersion, etagOf } from '../preconditions.ts';
import { empty, ifMatchHeader, json, noQuery, problemResponses, sendEmpty } from '../responses.ts';

const params = z.strictObject({ name: schemas.roleName });
const url = '/api/v1/roles';

export function roleRoutes(app: App, context: ServerContext): void {
  readRoutes(app, context);
  changeRoutes(app, context);
}

function readRoutes(app: App, { control }: ServerContext): void {
  app.route({
    method: 'GET',
    url,
    config: { action: 'role.list' },
    schema: {
      operationId: 'listRoles',
      summary: 'Every role: those that ship, and administrators’ own',
      tags: ['access'],
      querystring: noQuery,
      response: { 200: json('All of them', page(schemas.role)), ...problemResponses },
    },
    handler: async (request) => ({
      items: [...(await control.roles.list(callerOf(request)))],
      nextCursor: null,
    }),
  });
  app.route({
    method: 'GET',
    url: `${url}/:name`,
    config: { action: 'role.list' },
    schema: {
      operationId: 'getRole',
      summary: 'One role',
      tags: ['access'],
      params,
      querystring: noQuery,
      response: { 200: json('The role', schemas.role), ...problemResponses },
    },
    handler: async (request, reply) => {
      const { view, version } = await control.roles.get(callerOf(request), request.params.name);
      reply.header('etag', etagOf(version));
      return view;
    },
  });
}

function changeRoutes(app: App, { control }: ServerContext): void {
  app.route({
    method: 'PUT',
    url: `${url}/:name`,
    config: { rate: 'admin', action: 'role.put' },
    schema: {
      operationId: 'putRole',
      summary:
        'Make a role, or with If-Match change it for everybody who has it; it holds no more than the caller',
      tags: ['access'],
      params,
      querystring: noQuery,
      headers: ifMatchHeader,
      body: schemas.putRole,
      response: { 200: json('The role', schemas.role), ...problemResponses },
    },
    handler: async (request, reply) => {
      const { name } = request.params;
      const ifMatch = askedVersion(request.raw.headers);
      const { view, version } = await control.roles.put(callerOf(request), name, request.body, ifMatch);
      reply.header('etag', etagOf(version));
      return view;
    },
  });
  app.route({
    method: 'DELETE',
    url: `${url}/:name`,
    config: { rate: 'admin', action: 'role.remove' },
    schema: {
      operationId: 'removeRole',
      summary: 'Remove a role that nobody has',
      tags: ['access'],
      params,
      querystring: noQuery,
      response: { 204: empty('It is gone'), ...problemResponses },
    },
    handler: async (request, reply) => {
      await control.roles.remove(callerOf(request), request.params.name);
      return sendEmpty(reply, 204);
    },
  });
}
