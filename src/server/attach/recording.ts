import type { FastifyReply } from 'fastify';
import { z } from 'zod';
import * as attachSchemas from '../../contract/attach-schemas.ts';
import * as schemas from '../../contract/schemas.ts';
import type { AttachUseCases } from '../../control/attach/attach.ts';
import type { Caller } from '../../control/control.ts';
import type { RunId, TerminalId } from '../../model/ids.ts';
import { type App, callerOf, type ServerContext } from '../context.ts';
import { bytes, json, noQuery, problemResponses } from '../responses.ts';
import { exemptFromTimeouts, writeSome } from '../streams.ts';

const mediaType = 'application/x-asciicast';

const params = z.strictObject({ id: schemas.runId, terminal: attachSchemas.terminalId });

export function recordingRoutes(app: App, context: ServerContext): void {
  readRoute(app, context);
  searchRoute(app, context);
}

function readRoute(app: App, context: ServerContext): void {
  app.route({
    method: 'GET',
    url: '/api/v1/runs/:id/terminals/:terminal/recording',
    config: { action: 'run.recording' },
    schema: {
      operationId: 'readRecording',
      summary: 'What is recorded of a terminal by now, as asciicast v2',
      description:
        'The text in it is the sandbox’s and untrusted: a player must not hand it to a terminal as it is.',
      tags: ['attach'],
      params,
      querystring: noQuery,
      response: { 200: bytes('The recording', mediaType), ...problemResponses },
    },
    handler: async (request, reply) => {
      const { id: run, terminal } = request.params;
      const caller = callerOf(request);
      const reader = await context.control.attach.recording(caller, run, terminal);
      sendRecording(reply, { reader, caller, run, terminal }, context);
    },
  });
}

function searchRoute(app: App, { control }: ServerContext): void {
  app.route({
    method: 'GET',
    url: '/api/v1/runs/:id/terminals/:terminal/search',
    config: { action: 'run.recording' },
    schema: {
      operationId: 'searchRecording',
      summary: 'Where a text was shown in a terminal',
      tags: ['attach'],
      params,
      querystring: attachSchemas.searchQuery,
      response: {
        200: json('The places, in their order', attachSchemas.terminalMatches),
        ...problemResponses,
      },
    },
    handler: async (request, reply) => {
      const { id, terminal } = request.params;
      const gone = new AbortController();
      reply.raw.once('close', () => gone.abort());
      const { text, limit } = request.query;
      const items = await control.attach.search(
        callerOf(request),
        id,
        terminal,
        { text, limit },
        gone.signal,
      );
      return { items: [...items] };
    },
  });
}

type Recording = {
  readonly reader: Awaited<ReturnType<AttachUseCases['recording']>>;
  readonly caller: Caller;
  readonly run: RunId;
  readonly terminal: TerminalId;
};

/** Streams at the caller's pace. One that breaks off costs the connection, so that none takes it for the whole. */
function sendRecording(
  reply: FastifyReply,
  { reader, caller, run, terminal }: Recording,
  { streams, control, logger }: ServerContext,
): void {
  const { raw: response } = reply;
  reply.hijack();
  exemptFromTimeouts(response);
  response.writeHead(200, {
    ...(reply.getHeaders() as Record<string, string>),
    'content-type': mediaType,
    'content-disposition': `attachment; filename="${terminal}.cast"`,
  });
  response.on('error', () => undefined).once('close', () => reader.cancel());
  streams.add({
    answer: response,
    caller,
    still: (now) => control.runs.mayStill(now, run, 'run.recording'),
    end: () => response.destroy(),
  });
  pump(response, reader).catch((error: unknown) => {
    logger.warn({ err: error, requestId: caller.request.id }, 'the reading of a recording broke off');
    response.destroy();
  });
}

async function pump(response: FastifyReply['raw'], reader: AsyncIterable<Buffer>): Promise<void> {
  for await (const chunk of reader) {
    const room = writeSome(response, chunk);
    if (room === false || (room !== true && !(await room))) return;
  }
  response.end();
}
