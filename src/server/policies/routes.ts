import { z } from 'zod';
import { policyName } from '../../contract/policy.ts';
import * as schemas from '../../contract/schemas.ts';
import { type App, callerOf, type ServerContext } from '../context.ts';
import { etagOf, requiredVersion, unchanged } from '../preconditions.ts';
import { empty, ifMatchHeader, json, noQuery, problemResponses, sendEmpty } from '../responses.ts';

const params = z.strictObject({ name: policyName });
const url = '/api/v1/policies';

export function policyRoutes(app: App, context: ServerContext): void {
  readRoutes(app, context);
  listRoutes(app, context);
  changeRoutes(app, context);
  simulateRoute(app, context);
}

function readRoutes(app: App, { control }: ServerContext): void {
  app.route({
    method: 'GET',
    url: `${url}/:name`,
    config: { action: 'policy.read' },
    schema: {
      operationId: 'getPolicy',
      summary: 'One egress policy as it is, or one generation of it',
      tags: ['policies'],
      params,
      querystring: schemas.policyQuery,
      response: {
        200: json('The policy', schemas.policy),
        304: empty('It is what If-None-Match names'),
        ...problemResponses,
      },
    },
    handler: async (request, reply) => {
      const { name } = request.params;
      const { view, version } = await control.policies.get(callerOf(request), name, request.query.generation);
      const etag = etagOf(version);
      reply.header('etag', etag);
      if (unchanged(request.raw.headers, etag)) return sendEmpty(reply, 304);
      return view;
    },
  });
  app.route({
    method: 'GET',
    url: '/api/v1/presets',
    config: { action: 'policy.list' },
    schema: {
      operationId: 'listPresets',
      summary: 'The presets that runs and policies may name, and their rules',
      tags: ['policies'],
      querystring: noQuery,
      response: { 200: json('All of them', schemas.page(schemas.preset)), ...problemResponses },
    },
    handler: async (request) => ({
      items: [...(await control.policies.presets(callerOf(request)))],
      nextCursor: null,
    }),
  });
}

function listRoutes(app: App, { control }: ServerContext): void {
  app.route({
    method: 'GET',
    url,
    config: { action: 'policy.list' },
    schema: {
      operationId: 'listPolicies',
      summary: 'The egress policies by name, without their documents',
      tags: ['policies'],
      querystring: schemas.pageQuery,
      response: { 200: json('A page', schemas.page(schemas.policySummary)), ...problemResponses },
    },
    handler: async (request) => {
      const { items, nextCursor } = await control.policies.list(callerOf(request), request.query);
      return { items: [...items], nextCursor };
    },
  });
  app.route({
    method: 'GET',
    url: `${url}/:name/history`,
    config: { action: 'policy.read' },
    schema: {
      operationId: 'listPolicyHistory',
      summary: 'Every generation of a policy, newest first, removals too',
      tags: ['policies'],
      params,
      querystring: schemas.pageQuery,
      response: { 200: json('A page', schemas.page(schemas.policySummary)), ...problemResponses },
    },
    handler: async (request) => {
      const { name } = request.params;
      const { items, nextCursor } = await control.policies.history(callerOf(request), name, request.query);
      return { items: [...items], nextCursor };
    },
  });
}

function changeRoutes(app: App, { control }: ServerContext): void {
  app.route({
    method: 'PUT',
    url: `${url}/:name`,
    config: { rate: 'admin', action: 'policy.put' },
    schema: {
      operationId: 'putPolicy',
      summary: 'Make an egress policy, or with If-Match its next generation; live runs that name it follow',
      tags: ['policies'],
      params,
      querystring: noQuery,
      headers: ifMatchHeader,
      body: schemas.putPolicy,
      response: { 200: json('The policy', schemas.policy), ...problemResponses },
    },
    handler: async (request, reply) => {
      const { headers } = request.raw;
      const ifMatch = headers['if-match'] === undefined ? null : requiredVersion(headers);
      const { name } = request.params;
      const { view, version } = await control.policies.put(callerOf(request), name, request.body, ifMatch);
      reply.header('etag', etagOf(version));
      return view;
    },
  });
  app.route({
    method: 'DELETE',
    url: `${url}/:name`,
    config: { rate: 'admin', action: 'policy.remove' },
    schema: {
      operationId: 'removePolicy',
      summary: 'Remove an egress policy; its history stays, and live runs that name it lose its rules',
      tags: ['policies'],
      params,
      querystring: noQuery,
      response: { 204: empty('It is gone'), ...problemResponses },
    },
    handler: async (request, reply) => {
      await control.policies.remove(callerOf(request), request.params.name);
      return sendEmpty(reply, 204);
    },
  });
}

function simulateRoute(app: App, { control, streams }: ServerContext): void {
  app.route({
    method: 'POST',
    url: '/api/v1/egress/simulations',
    config: { rate: 'admin', action: 'egress.simulate' },
    schema: {
      operationId: 'simulateEgress',
      summary:
        'What policies would say to recorded flows that the caller may see: what changes, nothing is changed',
      tags: ['policies'],
      querystring: noQuery,
      body: schemas.simulateEgress,
      response: { 200: json('What would change', schemas.egressSimulation), ...problemResponses },
    },
    handler: async (request, reply) => {
      const gone = new AbortController();
      reply.raw.once('close', () => gone.abort());
      const caller = callerOf(request);
      // It decides about every flow by itself; what it needs besides is that the caller still is somebody.
      const end = () => gone.abort();
      streams.add({ answer: reply.raw, caller, still: async () => undefined, end });
      return await control.policies.simulate(caller, request.body, gone.signal);
    },
  });
}
