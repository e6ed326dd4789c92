import { z } from 'zod';
import * as schemas from '../../contract/schemas.ts';
import { type App, callerOf, type ServerContext } from '../context.ts';
import { etagOf, idempotencyKey, requiredVersion, unchanged } from '../preconditions.ts';
import {
  empty,
  idempotencyHeader,
  ifMatchHeader,
  json,
  noQuery,
  problemResponses,
  sendEmpty,
} from '../responses.ts';

const params = z.strictObject({ id: schemas.sessionId });
const url = '/api/v1/sessions';

export function sessionRoutes(app: App, context: ServerContext): void {
  createRoute(app, context);
  readRoutes(app, context);
  changeRoutes(app, context);
}

function createRoute(app: App, { control }: ServerContext): void {
  app.route({
    method: 'POST',
    url,
    config: { rate: 'write', action: 'session.create' },
    schema: {
      operationId: 'createSession',
      summary: 'Make a session: a durable workspace, empty, from an uploaded repository or from one to clone',
      tags: ['sessions'],
      querystring: noQuery,
      headers: idempotencyHeader,
      body: schemas.createSession,
      response: { 201: json('The session', schemas.session), ...problemResponses },
    },
    handler: async (request, reply) => {
      const { view, version } = await control.sessions.create(callerOf(request), {
        request: request.body,
        idempotencyKey: idempotencyKey(request.raw.headers),
      });
      reply.code(201).header('etag', etagOf(version)).header('location', `${url}/${view.id}`);
      return view;
    },
  });
}

function readRoutes(app: App, { control }: ServerContext): void {
  app.route({
    method: 'GET',
    url,
    config: { action: 'session.list' },
    schema: {
      operationId: 'listSessions',
      summary: 'The sessions that the caller may see, newest first',
      tags: ['sessions'],
      querystring: schemas.sessionQuery,
      response: { 200: json('A page', schemas.page(schemas.session)), ...problemResponses },
    },
    handler: async (request) => {
      const { items, nextCursor } = await control.sessions.list(callerOf(request), request.query);
      return { items: [...items], nextCursor };
    },
  });
  app.route({
    method: 'GET',
    url: `${url}/:id`,
    config: { action: 'session.read' },
    schema: {
      operationId: 'getSession',
      summary: 'One session',
      tags: ['sessions'],
      params,
      querystring: noQuery,
      response: {
        200: json('The session', schemas.session),
        304: empty('It is what If-None-Match names'),
        ...problemResponses,
      },
    },
    handler: async (request, reply) => {
      const { view, version } = await control.sessions.get(callerOf(request), request.params.id);
      const etag = etagOf(version);
      reply.header('etag', etag);
      if (unchanged(request.raw.headers, etag)) return sendEmpty(reply, 304);
      return view;
    },
  });
}

function changeRoutes(app: App, { control }: ServerContext): void {
  app.route({
    method: 'PATCH',
    url: `${url}/:id`,
    config: { rate: 'write', action: 'session.rename' },
    schema: {
      operationId: 'renameSession',
      summary: 'Give a session another name',
      tags: ['sessions'],
      params,
      querystring: noQuery,
      headers: ifMatchHeader,
      body: schemas.patchSession,
      response: { 200: json('The session', schemas.session), ...problemResponses },
    },
    handler: async (request, reply) => {
      const wanted = requiredVersion(request.raw.headers);
      const { id } = request.params;
      const changed = await control.sessions.rename(callerOf(request), id, request.body.name, wanted);
      reply.header('etag', etagOf(changed.version));
      return changed.view;
    },
  });
  app.route({
    method: 'DELETE',
    url: `${url}/:id`,
    config: { rate: 'write', action: 'session.close' },
    schema: {
      operationId: 'closeSession',
      summary: 'Stop the runs of a session, remove its workspace and close it',
      tags: ['sessions'],
      params,
      querystring: noQuery,
      response: { 202: empty('It is being closed'), ...problemResponses },
    },
    handler: async (request, reply) => {
      await control.sessions.close(callerOf(request), request.params.id);
      return sendEmpty(reply, 202);
    },
  });
}
