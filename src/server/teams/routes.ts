import { z } from 'zod';
import * as schemas from '../../contract/access-schemas.ts';
import { page, pageQuery } from '../../contract/schemas.ts';
import { type App, callerOf, type ServerContext } from '../context.ts';
import { askedVersion, etagOf } from '../preconditions.ts';
import { empty, ifMatchHeader, json, noQuery, problemResponses, sendEmpty } from '../responses.ts';

const params = z.strictObject({ name: schemas.teamName });
const memberParams = params.extend({ actor: schemas.actorId });
const url = '/api/v1/teams';

export function teamRoutes(app: App, context: ServerContext): void {
  readRoutes(app, context);
  changeRoutes(app, context);
  memberRoutes(app, context);
}

function readRoutes(app: App, { control }: ServerContext): void {
  app.route({
    method: 'GET',
    url,
    config: { action: 'team.list' },
    schema: {
      operationId: 'listTeams',
      summary: 'The teams by name, with their members',
      tags: ['access'],
      querystring: pageQuery,
      response: { 200: json('A page', page(schemas.team)), ...problemResponses },
    },
    handler: async (request) => {
      const { items, nextCursor } = await control.teams.list(callerOf(request), request.query);
      return { items: [...items], nextCursor };
    },
  });
  app.route({
    method: 'GET',
    url: `${url}/:name`,
    config: { action: 'team.read' },
    schema: {
      operationId: 'getTeam',
      summary: 'One team',
      tags: ['access'],
      params,
      querystring: noQuery,
      response: { 200: json('The team', schemas.team), ...problemResponses },
    },
    handler: async (request, reply) => {
      const { view, version } = await control.teams.get(callerOf(request), request.params.name);
      reply.header('etag', etagOf(version));
      return view;
    },
  });
}

function changeRoutes(app: App, { control }: ServerContext): void {
  app.route({
    method: 'PUT',
    url: `${url}/:name`,
    config: { rate: 'admin', action: 'team.put' },
    schema: {
      operationId: 'putTeam',
      summary: 'Make a team, or with If-Match replace its members',
      tags: ['access'],
      params,
      querystring: noQuery,
      headers: ifMatchHeader,
      body: schemas.putTeam,
      response: { 200: json('The team', schemas.team), ...problemResponses },
    },
    handler: async (request, reply) => {
      const { name } = request.params;
      const ifMatch = askedVersion(request.raw.headers);
      const { view, version } = await control.teams.put(callerOf(request), name, request.body, ifMatch);
      reply.header('etag', etagOf(version));
      return view;
    },
  });
  app.route({
    method: 'DELETE',
    url: `${url}/:name`,
    config: { rate: 'admin', action: 'team.remove' },
    schema: {
      operationId: 'removeTeam',
      summary: 'Remove a team; what it shared stays its owners’',
      tags: ['access'],
      params,
      querystring: noQuery,
      response: { 204: empty('It is gone'), ...problemResponses },
    },
    handler: async (request, reply) => {
      await control.teams.remove(callerOf(request), request.params.name);
      return sendEmpty(reply, 204);
    },
  });
}

function memberRoutes(app: App, { control }: ServerContext): void {
  app.route({
    method: 'PUT',
    url: `${url}/:name/members/:actor`,
    config: { rate: 'admin', action: 'team.put' },
    schema: {
      operationId: 'addTeamMember',
      summary: 'Make somebody a member of a team',
      tags: ['access'],
      params: memberParams,
      querystring: noQuery,
      response: { 200: json('The team', schemas.team), ...problemResponses },
    },
    handler: async (request) => {
      const { name, actor } = request.params;
      return await control.teams.addMember(callerOf(request), name, actor);
    },
  });
  app.route({
    method: 'DELETE',
    url: `${url}/:name/members/:actor`,
    config: { rate: 'admin', action: 'team.put' },
    schema: {
      operationId: 'removeTeamMember',
      summary: 'Take somebody out of a team',
      tags: ['access'],
      params: memberParams,
      querystring: noQuery,
      response: { 200: json('The team', schemas.team), ...problemResponses },
    },
    handler: async (request) => {
      const { name, actor } = request.params;
      return await control.teams.removeMember(callerOf(request), name, actor);
    },
  });
}
