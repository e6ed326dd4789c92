import { z } from 'zod';
import * as schemas from '../../contract/agents-schemas.ts';
import { page } from '../../contract/schemas.ts';
import { type App, callerOf, type ServerContext } from '../context.ts';
import { etagOf, requiredVersion } from '../preconditions.ts';
import { empty, ifMatchHeader, json, noQuery, problemResponses, sendEmpty } from '../responses.ts';
import { authorityRoutes } from './authority.ts';
import { credentialRoutes } from './credentials.ts';

const params = z.strictObject({ id: schemas.agentId });
const url = '/api/v1/agents';

export function agentRoutes(app: App, context: ServerContext): void {
  createRoute(app, context);
  readRoutes(app, context);
  changeRoutes(app, context);
  phaseRoutes(app, context);
  credentialRoutes(app, context);
  authorityRoutes(app, context);
}

function createRoute(app: App, { control }: ServerContext): void {
  app.route({
    method: 'POST',
    url,
    config: { rate: 'admin', action: 'agent.create' },
    schema: {
      operationId: 'createAgent',
      summary: 'Make an agent or service; it proves itself with the credentials that it is given next',
      tags: ['agents'],
      querystring: noQuery,
      body: schemas.createAgent,
      response: { 201: json('The agent', schemas.agent), ...problemResponses },
    },
    handler: async (request, reply) => {
      const { view, version } = await control.agents.create(callerOf(request), request.body);
      reply.code(201).header('location', `${url}/${view.id}`).header('etag', etagOf(version));
      return view;
    },
  });
}

function readRoutes(app: App, { control }: ServerContext): void {
  app.route({
    method: 'GET',
    url,
    config: { rate: 'admin', action: 'agent.list' },
    schema: {
      operationId: 'listAgents',
      summary: 'The agents and services that the caller may see',
      tags: ['agents'],
      querystring: schemas.agentQuery,
      response: { 200: json('A page', page(schemas.agent)), ...problemResponses },
    },
    handler: async (request) => {
      const { items, nextCursor } = await control.agents.list(callerOf(request), request.query);
      return { items: [...items], nextCursor };
    },
  });
  app.route({
    method: 'GET',
    url: `${url}/:id`,
    config: { action: 'agent.read' },
    schema: {
      operationId: 'getAgent',
      summary: 'One agent or service',
      tags: ['agents'],
      params,
      querystring: noQuery,
      response: { 200: json('The agent', schemas.agent), ...problemResponses },
    },
    handler: async (request, reply) => {
      const { view, version } = await control.agents.get(callerOf(request), request.params.id);
      reply.header('etag', etagOf(version));
      return view;
    },
  });
}

function changeRoutes(app: App, { control }: ServerContext): void {
  app.route({
    method: 'PATCH',
    url: `${url}/:id`,
    config: { rate: 'admin', action: 'agent.update' },
    schema: {
      operationId: 'updateAgent',
      summary: 'Change whose an agent is, what it may do, or how people call it',
      tags: ['agents'],
      params,
      querystring: noQuery,
      headers: ifMatchHeader,
      body: schemas.updateAgent,
      response: { 200: json('The agent', schemas.agent), ...problemResponses },
    },
    handler: async (request, reply) => {
      const ifMatch = requiredVersion(request.raw.headers);
      const { id } = request.params;
      const { view, version } = await control.agents.update(callerOf(request), id, request.body, ifMatch);
      reply.header('etag', etagOf(version));
      return view;
    },
  });
  app.route({
    method: 'DELETE',
    url: `${url}/:id`,
    config: { rate: 'admin', action: 'agent.remove' },
    schema: {
      operationId: 'removeAgent',
      summary: 'Remove an agent with all that it could prove itself with; its name is never given again',
      tags: ['agents'],
      params,
      querystring: noQuery,
      response: { 204: empty('It is gone'), ...problemResponses },
    },
    handler: async (request, reply) => {
      await control.agents.remove(callerOf(request), request.params.id);
      return sendEmpty(reply, 204);
    },
  });
}

function phaseRoutes(app: App, { control }: ServerContext): void {
  app.route({
    method: 'POST',
    url: `${url}/:id/disable`,
    config: { rate: 'admin', action: 'agent.disable' },
    schema: {
      operationId: 'disableAgent',
      summary: 'Stop an agent at once: nothing that it has works any more',
      tags: ['agents'],
      params,
      querystring: noQuery,
      response: { 200: json('The agent', schemas.agent), ...problemResponses },
    },
    handler: async (request) => await control.agents.disable(callerOf(request), request.params.id),
  });
  app.route({
    method: 'POST',
    url: `${url}/:id/enable`,
    config: { rate: 'admin', action: 'agent.update' },
    schema: {
      operationId: 'enableAgent',
      summary: 'Let a disabled agent act again, with the credentials that it had',
      tags: ['agents'],
      params,
      querystring: noQuery,
      response: { 200: json('The agent', schemas.agent), ...problemResponses },
    },
    handler: async (request) => await control.agents.enable(callerOf(request), request.params.id),
  });
}
