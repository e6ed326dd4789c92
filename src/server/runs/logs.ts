import { setTimeout as delay } from 'node:timers/promises';
import { z } from 'zod';
import { Fault } from '../../contract/faults.ts';
import * as schemas from '../../contract/schemas.ts';
import type { LogReader } from '../../control/control.ts';
import { type App, callerOf, type ServerContext } from '../context.ts';
import { serverLimits } from '../limits.ts';
import { negotiate } from '../negotiate.ts';
import { bytes, problemResponses } from '../responses.ts';
import { type LogStream, streamEvents } from './log-events.ts';
import { streamPlain } from './log-plain.ts';

const offers = ['text/plain', 'application/octet-stream', 'text/event-stream'] as const;

export function logRoutes(app: App, context: ServerContext): void {
  app.route({
    method: 'GET',
    url: '/api/v1/runs/:id/logs',
    config: { action: 'run.logs' },
    schema: {
      operationId: 'readLogs',
      summary: 'What a run wrote to stdout and stderr',
      description:
        'By Accept: `text/event-stream` gives the events `stdout` and `stderr` (LogChunk), `dropped`, `step` and, ' +
        'last, `end` (LogEnd), and follows the run unless `follow=false`; an event’s id is the offset to go on ' +
        'from, given as `Last-Event-ID` or `offset`. `text/plain` and `application/octet-stream` give the bytes ' +
        'alone, what is there now unless `follow=true`.',
      tags: ['runs'],
      params: z.strictObject({ id: schemas.runId }),
      querystring: schemas.logQuery,
      response: { 200: bytes('The log', ...offers), ...problemResponses },
    },
    handler: async (request, reply) => {
      const mediaType = negotiate(request.headers.accept, offers);
      if (mediaType === null)
        throw new Fault('request.not-acceptable', { detail: `Logs come as ${offers.join(', ')}.` });
      const events = mediaType === 'text/event-stream';
      const { offset: asked, follow: following, stream } = request.query;
      const offset = resumeOffset(request.headers['last-event-id']) ?? asked ?? 0;
      const follow = following === undefined ? events : following === 'true';
      const caller = callerOf(request);
      const { id } = request.params;
      const opening = context.control.runs.logs(caller, id, { offset, follow });
      await openedOrSlow(opening);
      reply.hijack();
      const headers = { ...reply.getHeaders(), 'content-type': contentTypes[mediaType] } as Record<
        string,
        string
      >;
      const log: LogStream = {
        response: reply.raw,
        headers,
        opening,
        caller,
        run: id,
        offset,
        follow,
        only: stream ?? null,
      };
      // The answer is out of fastify's hands; its failures are the stream's own.
      void (events ? streamEvents(log, context) : streamPlain(log, context));
    },
  });
}

const contentTypes = {
  'text/plain': 'text/plain; charset=utf-8',
  'application/octet-stream': 'application/octet-stream',
  'text/event-stream': 'text/event-stream; charset=utf-8',
} as const;

/** The number that a Last-Event-ID is, or null without one. Throws Fault `request.invalid`. */
export function resumeOffset(lastEventId: string | string[] | undefined): number | null {
  if (lastEventId === undefined || lastEventId === '') return null;
  const offset = Number(lastEventId);
  if (typeof lastEventId === 'string' && /^\d{1,16}$/.test(lastEventId) && Number.isSafeInteger(offset))
    return offset;
  throw new Fault('request.invalid', {
    detail: 'Last-Event-ID is not the id of an event of this stream.',
    extra: { in: 'header', errors: [{ path: '/last-event-id', message: 'is not an offset' }] },
  });
}

/**
 * Rejects with what opening rejects with; resolves once it is open, or when it takes long: the log of a queued
 * run opens when the run starts, and its reader wants headers and heartbeats meanwhile.
 */
async function openedOrSlow(opening: Promise<LogReader>): Promise<void> {
  opening.catch(() => undefined);
  const stop = new AbortController();
  const slow = delay(serverLimits.logOpenMs, undefined, { signal: stop.signal }).catch(() => undefined);
  try {
    await Promise.race([opening, slow]);
  } finally {
    stop.abort();
  }
}
