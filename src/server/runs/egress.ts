import { z } from 'zod';
import * as schemas from '../../contract/schemas.ts';
import { type App, callerOf, type ServerContext } from '../context.ts';
import { json, problemResponses } from '../responses.ts';

export function egressRoutes(app: App, { control }: ServerContext): void {
  app.route({
    method: 'GET',
    url: '/api/v1/runs/:id/egress',
    config: { needs: 'run:read' },
    schema: {
      operationId: 'listRunEgress',
      summary: 'What a run reached for, oldest first: connections, checked requests and denied names',
      tags: ['runs'],
      params: z.strictObject({ id: schemas.runId }),
      querystring: schemas.egressQuery,
      response: {
        200: json(
          'A page, and on the first one what the whole run comes to',
          schemas.page(schemas.egressFlow).extend({ counts: schemas.egressCounts }),
        ),
        ...problemResponses,
      },
    },
    handler: async (request) => {
      const { id } = request.params;
      const { items, nextCursor, counts } = await control.runs.egress(callerOf(request), id, request.query);
      return { items: [...items], nextCursor, counts };
    },
  });
}
