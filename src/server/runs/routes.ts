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
import { artifactRoutes } from './artifacts.ts';
import { egressRoutes } from './egress.ts';
import { logRoutes } from './logs.ts';
import { waitRoutes } from './wait.ts';

const params = z.strictObject({ id: schemas.runId });
const url = '/api/v1/runs';

export function runRoutes(app: App, context: ServerContext): void {
  createRoute(app, context);
  readRoutes(app, context);
  changeRoutes(app, context);
  lifeRoutes(app, context);
  waitRoutes(app, context);
  logRoutes(app, context);
  artifactRoutes(app, context);
  egressRoutes(app, context);
}

function createRoute(app: App, { control }: ServerContext): void {
  app.route({
    method: 'POST',
    url,
    config: { rate: 'write', action: 'run.create' },
    schema: {
      operationId: 'createRun',
      summary: 'Run a command in a session; it is queued and starts when there is room',
      tags: ['runs'],
      querystring: noQuery,
      headers: idempotencyHeader,
      body: schemas.createRun,
      response: { 201: json('The run', schemas.run), ...problemResponses },
    },
    handler: async (request, reply) => {
      const { view, version } = await control.runs.create(callerOf(request), {
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
    config: { action: 'run.list' },
    schema: {
      operationId: 'listRuns',
      summary: 'The runs that the caller may see, newest first',
      tags: ['runs'],
      querystring: schemas.runQuery,
      response: { 200: json('A page', schemas.page(schemas.run)), ...problemResponses },
    },
    handler: async (request) => {
      const { items, nextCursor } = await control.runs.list(callerOf(request), request.query);
      return { items: [...items], nextCursor };
    },
  });
  app.route({
    method: 'GET',
    url: `${url}/:id`,
    config: { action: 'run.read' },
    schema: {
      operationId: 'getRun',
      summary: 'One run',
      tags: ['runs'],
      params,
      querystring: noQuery,
      response: {
        200: json('The run', schemas.run),
        304: empty('It is what If-None-Match names'),
        ...problemResponses,
      },
    },
    handler: async (request, reply) => {
      const { view, version } = await control.runs.get(callerOf(request), request.params.id);
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
    config: { rate: 'write', action: 'run.rename' },
    schema: {
      operationId: 'renameRun',
      summary: 'Give a run another name',
      tags: ['runs'],
      params,
      querystring: noQuery,
      headers: ifMatchHeader,
      body: schemas.patchRun,
      response: { 200: json('The run', schemas.run), ...problemResponses },
    },
    handler: async (request, reply) => {
      const wanted = requiredVersion(request.raw.headers);
      const { id } = request.params;
      const changed = await control.runs.rename(callerOf(request), id, request.body.name, wanted);
      reply.header('etag', etagOf(changed.version));
      return changed.view;
    },
  });
  app.route({
    method: 'DELETE',
    url: `${url}/:id`,
    config: { rate: 'write', action: 'run.remove' },
    schema: {
      operationId: 'removeRun',
      summary: 'Remove the logs, artifacts and flows of a finished run; 409 while it is live',
      tags: ['runs'],
      params,
      querystring: noQuery,
      response: { 204: empty('They are gone'), ...problemResponses },
    },
    handler: async (request, reply) => {
      await control.runs.remove(callerOf(request), request.params.id);
      return sendEmpty(reply, 204);
    },
  });
}

function lifeRoutes(app: App, { control }: ServerContext): void {
  app.route({
    method: 'POST',
    url: `${url}/:id/stop`,
    config: { rate: 'write', action: 'run.stop' },
    schema: {
      operationId: 'stopRun',
      summary: 'Stop a run; its history, logs and artifacts stay. A finished run is left as it is',
      tags: ['runs'],
      params,
      querystring: noQuery,
      response: { 200: json('The run', schemas.run), ...problemResponses },
    },
    handler: (request) => control.runs.stop(callerOf(request), request.params.id),
  });
  app.route({
    method: 'POST',
    url: `${url}/:id/resume`,
    config: { rate: 'write', action: 'run.resume' },
    schema: {
      operationId: 'resumeRun',
      summary: 'Make a new run that goes on where a finished one left the workspace',
      tags: ['runs'],
      params,
      querystring: noQuery,
      headers: idempotencyHeader,
      body: schemas.resumeRun.optional(),
      response: { 201: json('The new run, which names its parent', schemas.run), ...problemResponses },
    },
    handler: async (request, reply) => {
      const { view, version } = await control.runs.resume(callerOf(request), request.params.id, {
        request: request.body ?? {},
        idempotencyKey: idempotencyKey(request.raw.headers),
      });
      reply.code(201).header('etag', etagOf(version)).header('location', `${url}/${view.id}`);
      return view;
    },
  });
}
