import { z } from 'zod';
import * as schemas from '../../contract/schemas.ts';
import { type App, callerOf, type ServerContext } from '../context.ts';
import { serverLimits } from '../limits.ts';
import { json, problemResponses } from '../responses.ts';
import { exemptFromTimeouts } from '../streams.ts';

const query = z.strictObject({
  timeoutSeconds: z.coerce.number().int().min(0).max(serverLimits.waitSecondsMax).optional(),
});

export function waitRoutes(app: App, { control, streams }: ServerContext): void {
  app.route({
    method: 'GET',
    url: '/api/v1/runs/:id/wait',
    config: { action: 'run.read' },
    schema: {
      operationId: 'waitForRun',
      summary: 'The run once it has finished, or as it is when the time is over',
      tags: ['runs'],
      params: z.strictObject({ id: schemas.runId }),
      querystring: query,
      response: { 200: json('The run; its phase says which', schemas.run), ...problemResponses },
    },
    handler: async (request, reply) => {
      const caller = callerOf(request);
      const { id } = request.params;
      const { view } = await control.runs.get(caller, id);
      const waited = new AbortController();
      const seconds = request.query.timeoutSeconds ?? serverLimits.waitSecondsDefault;
      const over = Promise.withResolvers<null>();
      const timer = setTimeout(() => over.resolve(null), seconds * 1000);
      exemptFromTimeouts(reply.raw);
      streams.add({
        answer: reply.raw,
        caller,
        still: (now) => control.runs.mayStill(now, id, 'run.read'),
        end: () => over.resolve(null),
      });
      reply.raw.once('close', () => over.resolve(null));
      try {
        const finished = control.runs.finished(caller, view.id, waited.signal);
        finished.catch(() => undefined);
        return (await Promise.race([finished, over.promise])) ?? (await control.runs.get(caller, id)).view;
      } finally {
        clearTimeout(timer);
        waited.abort();
      }
    },
  });
}
