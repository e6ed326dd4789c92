import { z } from 'zod';
import * as schemas from '../../contract/flags-schemas.ts';
import { type App, callerOf, type ServerContext } from '../context.ts';
import { etagOf, requiredVersion } from '../preconditions.ts';
import { empty, ifMatchHeader, json, noQuery, problemResponses, sendEmpty } from '../responses.ts';

const params = z.strictObject({ name: schemas.flagName });
const url = '/api/v1/flags';

export function flagRoutes(app: App, context: ServerContext): void {
  readRoutes(app, context);
  changeRoutes(app, context);
}

function readRoutes(app: App, { control }: ServerContext): void {
  app.route({
    method: 'GET',
    url,
    config: { action: 'flag.list' },
    schema: {
      operationId: 'listFlags',
      summary: 'Every feature flag: what it opens, to whom, and who says so',
      tags: ['flags'],
      querystring: noQuery,
      response: { 200: json('All of them', schemas.flagList), ...problemResponses },
    },
    handler: async (request) => await control.flags.list(callerOf(request)),
  });
  app.route({
    method: 'GET',
    url: `${url}/:name`,
    config: { action: 'flag.list' },
    schema: {
      operationId: 'getFlag',
      summary: 'One feature flag; its ETag is of what was set over the API',
      tags: ['flags'],
      params,
      querystring: noQuery,
      response: { 200: json('The flag', schemas.flagView), ...problemResponses },
    },
    handler: async (request, reply) => {
      const { view, version } = await control.flags.get(callerOf(request), request.params.name);
      reply.header('etag', etagOf(version));
      return view;
    },
  });
  app.route({
    method: 'GET',
    url: `${url}/:name/explain`,
    config: { action: 'flag.explain' },
    schema: {
      operationId: 'explainFlag',
      summary: 'Whether a feature is on for an actor, and what makes it so',
      tags: ['flags'],
      params,
      querystring: schemas.flagQuery,
      response: { 200: json('The answer', schemas.flagExplanation), ...problemResponses },
    },
    handler: async (request) =>
      await control.flags.explain(callerOf(request), request.params.name, request.query.actor),
  });
}

function changeRoutes(app: App, { control }: ServerContext): void {
  app.route({
    method: 'PUT',
    url: `${url}/:name`,
    config: { rate: 'admin', action: 'flag.put' },
    schema: {
      operationId: 'putFlag',
      summary: 'Set a feature flag, with If-Match where it is set already; a flags file that names it wins',
      tags: ['flags'],
      params,
      querystring: noQuery,
      headers: ifMatchHeader,
      body: schemas.putFlag,
      response: { 200: json('The flag as it holds', schemas.flagView), ...problemResponses },
    },
    handler: async (request, reply) => {
      const { headers } = request.raw;
      const ifMatch = headers['if-match'] === undefined ? null : requiredVersion(headers);
      const { name } = request.params;
      const { view, version } = await control.flags.put(callerOf(request), name, request.body, ifMatch);
      reply.header('etag', etagOf(version));
      return view;
    },
  });
  app.route({
    method: 'DELETE',
    url: `${url}/:name`,
    config: { rate: 'admin', action: 'flag.remove' },
    schema: {
      operationId: 'removeFlag',
      summary: 'Unset a feature flag; it is off where no flags file names it',
      tags: ['flags'],
      params,
      querystring: noQuery,
      response: { 204: empty('It is unset'), ...problemResponses },
    },
    handler: async (request, reply) => {
      await control.flags.remove(callerOf(request), request.params.name);
      return sendEmpty(reply, 204);
    },
  });
}
