import { z } from 'zod';
import * as schemas from '../../contract/access-schemas.ts';
import { page, pageQuery } from '../../contract/schemas.ts';
import { type App, callerOf, type ServerContext } from '../context.ts';
import { askedVersion, etagOf } from '../preconditions.ts';
import { empty, ifMatchHeader, json, noQuery, problemResponses, sendEmpty } from '../responses.ts';

const params = z.strictObject({ name: schemas.accessPolicyName });
const url = '/api/v1/access/policies';

export function accessRoutes(app: App, context: ServerContext): void {
  listRoutes(app, context);
  readRoutes(app, context);
  changeRoutes(app, context);
  explainRoute(app, context);
}

function listRoutes(app: App, { control }: ServerContext): void {
  app.route({
    method: 'GET',
    url,
    config: { action: 'access-policy.list' },
    schema: {
      operationId: 'listAccessPolicies',
      summary: 'Administrators’ access policies by name, without their texts',
      tags: ['access'],
      querystring: noQuery,
      response: { 200: json('All of them', page(schemas.accessPolicySummary)), ...problemResponses },
    },
    handler: async (request) => ({
      items: [...(await control.accessPolicies.list(callerOf(request)))],
      nextCursor: null,
    }),
  });
  app.route({
    method: 'GET',
    url: '/api/v1/access/shipped',
    config: { action: 'access-policy.list' },
    schema: {
      operationId: 'getShippedAccess',
      summary: 'The access policies that ship, and the schema that all are checked against, as Cedar text',
      tags: ['access'],
      querystring: noQuery,
      response: { 200: json('Both texts', schemas.shippedAccess), ...problemResponses },
    },
    handler: async (request) => await control.accessPolicies.shipped(callerOf(request)),
  });
}

function readRoutes(app: App, { control }: ServerContext): void {
  app.route({
    method: 'GET',
    url: `${url}/:name`,
    config: { action: 'access-policy.read' },
    schema: {
      operationId: 'getAccessPolicy',
      summary: 'One access policy as it is, or one generation of it',
      tags: ['access'],
      params,
      querystring: schemas.accessPolicyQuery,
      response: { 200: json('The access policy', schemas.accessPolicy), ...problemResponses },
    },
    handler: async (request, reply) => {
      const { name } = request.params;
      const { generation } = request.query;
      const { view, version } = await control.accessPolicies.get(callerOf(request), name, generation);
      reply.header('etag', etagOf(version));
      return view;
    },
  });
  app.route({
    method: 'GET',
    url: `${url}/:name/history`,
    config: { action: 'access-policy.read' },
    schema: {
      operationId: 'listAccessPolicyHistory',
      summary: 'Every generation of an access policy, newest first, removals too',
      tags: ['access'],
      params,
      querystring: pageQuery,
      response: { 200: json('A page', page(schemas.accessPolicySummary)), ...problemResponses },
    },
    handler: async (request) => {
      const { name } = request.params;
      const listed = await control.accessPolicies.history(callerOf(request), name, request.query);
      return { items: [...listed.items], nextCursor: listed.nextCursor };
    },
  });
}

function changeRoutes(app: App, { control }: ServerContext): void {
  app.route({
    method: 'PUT',
    url: `${url}/:name`,
    config: { rate: 'admin', action: 'access-policy.put' },
    schema: {
      operationId: 'putAccessPolicy',
      summary: 'Make an access policy, or with If-Match its next generation; it is in force with the answer',
      tags: ['access'],
      params,
      querystring: noQuery,
      headers: ifMatchHeader,
      body: schemas.putAccessPolicy,
      response: { 200: json('The access policy', schemas.accessPolicy), ...problemResponses },
    },
    handler: async (request, reply) => {
      const { name } = request.params;
      const ifMatch = askedVersion(request.raw.headers);
      const made = await control.accessPolicies.put(callerOf(request), name, request.body, ifMatch);
      reply.header('etag', etagOf(made.version));
      return made.view;
    },
  });
  app.route({
    method: 'DELETE',
    url: `${url}/:name`,
    config: { rate: 'admin', action: 'access-policy.remove' },
    schema: {
      operationId: 'removeAccessPolicy',
      summary: 'Remove an access policy; what it forbade it forbids no more, and its history stays',
      tags: ['access'],
      params,
      querystring: noQuery,
      response: { 204: empty('It is gone'), ...problemResponses },
    },
    handler: async (request, reply) => {
      await control.accessPolicies.remove(callerOf(request), request.params.name);
      return sendEmpty(reply, 204);
    },
  });
}

function explainRoute(app: App, { control }: ServerContext): void {
  app.route({
    method: 'POST',
    url: '/api/v1/access/explain',
    schema: {
      operationId: 'explainAccess',
      summary:
        'Why somebody may do something or may not, by which policies, and what is missing; about others with identity:read',
      tags: ['access'],
      querystring: noQuery,
      body: schemas.explainAccess,
      response: { 200: json('The explanation', schemas.accessExplanation), ...problemResponses },
    },
    handler: async (request) => await control.explainAccess(callerOf(request), request.body),
  });
}
