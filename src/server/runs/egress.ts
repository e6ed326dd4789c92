import { z } from 'zod';
import { Fault } from '../../contract/faults.ts';
import * as schemas from '../../contract/schemas.ts';
import { type App, callerOf, type ServerContext } from '../context.ts';
import { negotiate } from '../negotiate.ts';
import { json, problemResponses } from '../responses.ts';
import { streamFlows } from './flow-events.ts';
import { resumeOffset } from './logs.ts';

const offers = ['application/json', 'text/event-stream'] as const;

export function egressRoutes(app: App, context: ServerContext): void {
  app.route({
    method: 'GET',
    url: '/api/v1/runs/:id/egress',
    config: { action: 'run.egress' },
    schema: {
      operationId: 'listRunEgress',
      summary: 'What a run reached for, oldest first: connections, checked requests and denied names',
      description:
        'By Accept: a page as JSON, or with `text/event-stream` the events `flow` (EgressFlow) as they are recorded ' +
        'and, last, `end` (LogEnd). An event’s id is that of its flow, to go on from as `Last-Event-ID` or `after`.',
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
    handler: async (request, reply) => {
      const { query, params } = request;
      const caller = callerOf(request);
      const mediaType = negotiate(request.headers.accept, offers);
      if (mediaType === null)
        throw new Fault('request.not-acceptable', { detail: `Flows come as ${offers.join(', ')}.` });
      if (mediaType === 'application/json') {
        const { items, nextCursor, counts } = await context.control.runs.egress(caller, params.id, query);
        return { items: [...items], nextCursor, counts };
      }
      const { after, verdict, host, ...paging } = query;
      if (Object.keys(paging).length > 0)
        throw new Fault('request.invalid', { detail: 'A stream has no pages: leave out cursor and limit.' });
      const from = resumeOffset(request.headers['last-event-id']) ?? after;
      const reader = await context.control.runs.flows(caller, params.id, { after: from, verdict, host });
      reply.hijack();
      const headers = { ...reply.getHeaders(), 'content-type': 'text/event-stream; charset=utf-8' };
      const { raw: response } = reply;
      // The answer is out of fastify's hands; its failures are the stream's own.
      void streamFlows(
        { response, headers: headers as Record<string, string>, reader, caller, run: params.id },
        context,
      );
    },
  });
}
