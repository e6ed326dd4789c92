import { z } from 'zod';
import * as attachSchemas from '../../contract/attach-schemas.ts';
import { attachSettings } from '../../contract/attach-settings.ts';
import * as schemas from '../../contract/schemas.ts';
import type { Caller } from '../../control/control.ts';
import type { RunId } from '../../model/ids.ts';
import { type App, callerOf, type ServerContext } from '../context.ts';
import { json, noQuery, problemResponses } from '../responses.ts';
import { recordingRoutes } from './recording.ts';
import { upgradeRoute } from './upgrade-route.ts';

const params = z.strictObject({ id: schemas.runId });

export function attachRoutes(app: App, context: ServerContext): void {
  settingsRoute(app, context);
  ticketRoutes(app, context);
  terminalsRoute(app, context);
  recordingRoutes(app, context);
  upgradeRoute(app, context);
}

function settingsRoute(app: App, { control }: ServerContext): void {
  app.route({
    method: 'PUT',
    url: '/api/v1/sessions/:id/attach',
    config: { rate: 'write', action: 'attach.control' },
    schema: {
      operationId: 'putSessionAttach',
      summary: 'Switch attaching to the runs of a session on or off, and say how; off cuts everybody at once',
      tags: ['attach'],
      params: z.strictObject({ id: schemas.sessionId }),
      querystring: noQuery,
      body: attachSchemas.putAttachSettings,
      response: { 200: json('What holds from now on', attachSettings), ...problemResponses },
    },
    handler: (request) => control.attach.configure(callerOf(request), request.params.id, request.body),
  });
}

/** None takes an Idempotency-Key: a ticket is shown once, to whoever asked. */
function ticketRoutes(app: App, { control }: ServerContext): void {
  const { attach } = control;
  const response = {
    201: json('The ticket, which nobody sees again', attachSchemas.attachTicket),
    ...problemResponses,
  };
  const common = { tags: ['attach'], params, querystring: noQuery, response };
  app.route({
    method: 'POST',
    url: '/api/v1/runs/:id/attach-tickets',
    config: { rate: 'write', action: 'attach.view' },
    schema: {
      operationId: 'createAttachTicket',
      summary: 'A ticket for one connection to a terminal of a run, as a viewer or as a driver',
      ...common,
      body: attachSchemas.createAttachTicket.optional(),
    },
    handler: async (request, reply) => {
      reply.code(201);
      return await attach.ticket(callerOf(request), request.params.id, request.body ?? {});
    },
  });
  app.route({
    method: 'POST',
    url: '/api/v1/runs/:id/execs',
    config: { rate: 'write', action: 'run.exec' },
    schema: {
      operationId: 'createExec',
      summary: 'A ticket for a command beside the run’s own, which starts once the ticket is used',
      ...common,
      body: attachSchemas.createExec,
    },
    handler: async (request, reply) => {
      reply.code(201);
      return await attach.exec(callerOf(request), request.params.id, request.body);
    },
  });
  app.route({
    method: 'POST',
    url: '/api/v1/runs/:id/port-forwards',
    config: { rate: 'write', action: 'run.port' },
    schema: {
      operationId: 'createPortForward',
      summary: 'A ticket for one TCP connection to a port that a program of the run listens at',
      ...common,
      body: attachSchemas.createPortForward,
    },
    handler: async (request, reply) => {
      reply.code(201);
      return await attach.portForward(callerOf(request), request.params.id, request.body);
    },
  });
}

function terminalsRoute(app: App, { control }: ServerContext): void {
  const list = async (caller: Caller, run: RunId) => ({
    items: [...(await control.attach.terminals(caller, run))],
    nextCursor: null,
  });
  app.route({
    method: 'GET',
    url: '/api/v1/runs/:id/terminals',
    config: { action: 'run.terminals' },
    schema: {
      operationId: 'listTerminals',
      summary: 'The terminals that a run has and had, oldest first, with what is recorded of them',
      tags: ['attach'],
      params,
      querystring: noQuery,
      response: { 200: json('All of them', schemas.page(attachSchemas.terminal)), ...problemResponses },
    },
    handler: async (request) => await list(callerOf(request), request.params.id),
  });
}
