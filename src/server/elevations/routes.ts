import { z } from 'zod';
import * as schemas from '../../contract/access-schemas.ts';
import { page, pageQuery } from '../../contract/schemas.ts';
import { type App, callerOf, type ServerContext } from '../context.ts';
import { json, noQuery, problemResponses } from '../responses.ts';

const params = z.strictObject({ id: schemas.elevationId });
const url = '/api/v1/elevations';

export function elevationRoutes(app: App, context: ServerContext): void {
  ownRoutes(app, context);
  listRoute(app, context);
  decideRoutes(app, context);
}

function ownRoutes(app: App, { control }: ServerContext): void {
  app.route({
    method: 'POST',
    url,
    config: { rate: 'write', action: 'account.elevation.request' },
    schema: {
      operationId: 'requestElevation',
      summary:
        'Take a role for a time, one that the caller may be elevated to; or ask for it, where somebody must approve',
      tags: ['access'],
      querystring: noQuery,
      body: schemas.requestElevation,
      response: { 201: json('The elevation', schemas.elevation), ...problemResponses },
    },
    handler: async (request, reply) => {
      const made = await control.elevations.request(callerOf(request), request.body);
      reply.code(201);
      return made;
    },
  });
  app.route({
    method: 'GET',
    url: '/api/v1/account/elevations',
    config: { action: 'account.read' },
    schema: {
      operationId: 'listOwnElevations',
      summary: 'The caller’s own elevations, newest first',
      tags: ['access'],
      querystring: pageQuery,
      response: { 200: json('A page', page(schemas.elevation)), ...problemResponses },
    },
    handler: async (request) => {
      const { items, nextCursor } = await control.elevations.listOwn(callerOf(request), request.query);
      return { items: [...items], nextCursor };
    },
  });
}

function listRoute(app: App, { control }: ServerContext): void {
  app.route({
    method: 'GET',
    url,
    config: { action: 'elevation.list' },
    schema: {
      operationId: 'listElevations',
      summary: 'Everybody’s elevations, newest first',
      tags: ['access'],
      querystring: schemas.elevationQuery,
      response: { 200: json('A page', page(schemas.elevation)), ...problemResponses },
    },
    handler: async (request) => {
      const { items, nextCursor } = await control.elevations.list(callerOf(request), request.query);
      return { items: [...items], nextCursor };
    },
  });
}

function decideRoutes(app: App, { control }: ServerContext): void {
  const { elevations } = control;
  const routes = [
    ['approve', 'elevation.decide', 'Approve an elevation that somebody else asked for', elevations.approve],
    ['deny', 'elevation.decide', 'Deny an elevation that somebody asked for', elevations.deny],
    ['end', 'elevation.end', 'End an elevation: anybody’s, or without a scope one’s own', elevations.end],
  ] as const;
  for (const [verb, action, summary, decide] of routes)
    app.route({
      method: 'POST',
      url: `${url}/:id/${verb}`,
      config: { rate: 'admin', action },
      schema: {
        operationId: `${verb}Elevation`,
        summary,
        tags: ['access'],
        params,
        querystring: noQuery,
        response: { 200: json('The elevation', schemas.elevation), ...problemResponses },
      },
      handler: async (request) => await decide(callerOf(request), request.params.id),
    });
}
