import { z } from 'zod';
import * as schemas from '../../contract/schemas.ts';
import { type App, callerOf, type ServerContext } from '../context.ts';
import { json, problemResponses } from '../responses.ts';

export function auditRoutes(app: App, { control }: ServerContext): void {
  app.route({
    method: 'GET',
    url: '/api/v1/audit/events',
    config: { action: 'audit.read' },
    schema: {
      operationId: 'listAuditEvents',
      summary: 'Recorded events, newest first',
      tags: ['audit'],
      querystring: schemas.auditQuery,
      response: {
        200: json('A page', schemas.page(z.record(z.string(), z.unknown()))),
        ...problemResponses,
      },
    },
    handler: async (request) => {
      const { items, nextCursor } = await control.audit.list(callerOf(request), request.query);
      return { items: [...items], nextCursor };
    },
  });
}
