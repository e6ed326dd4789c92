import type { FastifyReply } from 'fastify';
import { z } from 'zod';
import * as schemas from '../../contract/audit-schemas.ts';
import { type App, callerOf, type ServerContext } from '../context.ts';
import { bytes, json, noQuery, problemResponses } from '../responses.ts';
import { exemptFromTimeouts } from '../streams.ts';
import { exportTypes, sendExport } from './export.ts';
import { streamEvents } from './tail.ts';

export function auditRoutes(app: App, context: ServerContext): void {
  const { control } = context;
  app.route({
    method: 'GET',
    url: '/api/v1/audit/events',
    config: { action: 'audit.read' },
    schema: {
      operationId: 'listAuditEvents',
      summary: 'Recorded events that match every filter, newest first',
      description:
        'Answers from all that was recorded before the question. A page may be short, even empty, and have a ' +
        '`nextCursor`; cursors stay right while events come.',
      tags: ['audit'],
      querystring: schemas.auditQuery,
      response: { 200: json('A page', schemas.auditPage), ...problemResponses },
    },
    handler: async (request) => await control.audit.list(callerOf(request), request.query),
  });
  exportRoute(app, context);
  tailRoute(app, context);
  app.route({
    method: 'POST',
    url: '/api/v1/audit/reindex',
    config: { action: 'audit.reindex' },
    schema: {
      operationId: 'reindexAudit',
      summary: 'Make the search index of the audit log anew; answers when it is done, which may take minutes',
      tags: ['audit'],
      querystring: noQuery,
      response: { 200: json('What the index holds then', schemas.auditIndexView), ...problemResponses },
    },
    handler: async (request, reply) => {
      exemptFromTimeouts((reply as FastifyReply).raw);
      return await control.audit.reindex(callerOf(request));
    },
  });
}

function exportRoute(app: App, context: ServerContext): void {
  app.route({
    method: 'GET',
    url: '/api/v1/audit/events/export',
    config: { action: 'audit.export' },
    schema: {
      operationId: 'exportAuditEvents',
      summary: 'All recorded events that match every filter, oldest first, as one file',
      description:
        '`jsonl` gives each line as the log has it, byte for byte; `csv` (RFC 4180) gives control characters as ' +
        "escapes and puts `'` before what a spreadsheet would take for a formula. An answer that is cut off is not whole.",
      tags: ['audit'],
      querystring: schemas.auditExportQuery,
      response: { 200: bytes('The events', ...Object.values(exportTypes)), ...problemResponses },
    },
    handler: async (request, reply) => {
      const caller = callerOf(request);
      const lines = await context.control.audit.export(caller, request.query);
      sendExport(reply, { lines, caller, format: request.query.format }, context);
    },
  });
}

function tailRoute(app: App, context: ServerContext): void {
  app.route({
    method: 'GET',
    url: '/api/v1/audit/events/tail',
    config: { action: 'audit.read' },
    schema: {
      operationId: 'tailAuditEvents',
      summary: 'Events that match every filter as they are recorded, as server-sent events',
      description:
        'First `start`, then an `event` for each, whose data is its line of the log. An id is where to go on, as ' +
        '`Last-Event-ID` or `after`; without one it begins with what is recorded from now on.',
      tags: ['audit'],
      headers: z.looseObject({ 'last-event-id': z.string().max(512).optional() }),
      querystring: schemas.auditTailQuery,
      response: { 200: bytes('The events', 'text/event-stream'), ...problemResponses },
    },
    handler: async (request, reply) => {
      const caller = callerOf(request);
      const last = request.headers['last-event-id'];
      const after = last === undefined || last === '' ? request.query.after : last;
      const reader = await context.control.audit.tail(caller, { ...request.query, after });
      reply.hijack();
      const headers = { ...reply.getHeaders(), 'content-type': 'text/event-stream; charset=utf-8' };
      // The answer is out of fastify's hands; its failures are the stream's own.
      void streamEvents(
        { response: reply.raw, headers: headers as Record<string, string>, reader, caller },
        context,
      );
    },
  });
}
