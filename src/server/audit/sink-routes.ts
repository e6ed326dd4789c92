import { z } from 'zod';
import * as schemas from '../../contract/sinks.ts';
import { type App, callerOf, type ServerContext } from '../context.ts';
import { json, noQuery, problemResponses } from '../responses.ts';

const url = '/api/v1/audit/sinks';

export function auditSinkRoutes(app: App, { control }: ServerContext): void {
  app.route({
    method: 'GET',
    url,
    config: { action: 'audit.sinks' },
    schema: {
      operationId: 'listAuditSinks',
      summary: 'Where events are sent, how far behind each receiver is and why',
      tags: ['audit'],
      querystring: noQuery,
      response: { 200: json('All of them', schemas.sinkStatuses), ...problemResponses },
    },
    handler: async (request) => await control.auditSinks.list(callerOf(request)),
  });
  app.route({
    method: 'POST',
    url: `${url}/:sink/redeliver`,
    config: { rate: 'admin', action: 'audit.redeliver' },
    schema: {
      operationId: 'redeliverAuditSink',
      summary: 'Send what the receiver refused for good once more',
      tags: ['audit'],
      params: z.strictObject({ sink: schemas.sinkName }),
      querystring: noQuery,
      response: { 200: json('What came of it', schemas.redelivered), ...problemResponses },
    },
    handler: async (request) => await control.auditSinks.redeliver(callerOf(request), request.params.sink),
  });
}
