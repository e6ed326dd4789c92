import type { FastifyReply } from 'fastify';
import { z } from 'zod';
import { Fault } from '../../contract/faults.ts';
import * as schemas from '../../contract/schemas.ts';
import type { ByteReader, Caller } from '../../control/control.ts';
import type { RunId } from '../../model/ids.ts';
import { isTerminal } from '../../model/run.ts';
import { type App, callerOf, type ServerContext } from '../context.ts';
import { bytes, json, noQuery, problemResponses } from '../responses.ts';
import { exemptFromTimeouts, writeSome } from '../streams.ts';

const params = z.strictObject({ id: schemas.runId });
const artifactParams = params.extend({ name: z.string().regex(/^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$/) });

/** Others are handed out as plain bytes: what a run made is never a page of this server. */
const servedTypes: ReadonlySet<string> = new Set(['text/plain', 'text/x-diff', 'application/json']);

export function artifactRoutes(app: App, context: ServerContext): void {
  const { control } = context;
  app.route({
    method: 'GET',
    url: '/api/v1/runs/:id/artifacts',
    config: { action: 'run.read' },
    schema: {
      operationId: 'listArtifacts',
      summary: 'What a finished run left behind',
      tags: ['runs'],
      params,
      querystring: noQuery,
      response: { 200: json('All of it', schemas.page(schemas.artifact)), ...problemResponses },
    },
    handler: async (request) => {
      const { view } = await control.runs.get(callerOf(request), request.params.id);
      return { items: view.artifacts, nextCursor: null };
    },
  });
  app.route({
    method: 'GET',
    url: '/api/v1/runs/:id/artifacts/:name',
    config: { action: 'run.artifact' },
    schema: {
      operationId: 'readArtifact',
      summary: 'One artifact’s bytes',
      tags: ['runs'],
      params: artifactParams,
      querystring: noQuery,
      response: { 200: bytes('The bytes', 'application/octet-stream', ...servedTypes), ...problemResponses },
    },
    handler: async (request, reply) => {
      const { id, name } = request.params;
      const caller = callerOf(request);
      const reader = await control.runs.artifact(caller, id, name);
      const type = servedTypes.has(reader.mediaType) ? reader.mediaType : 'application/octet-stream';
      sendBytes(reply, { reader, caller, run: id }, { type, fileName: name }, context);
    },
  });
  app.route({
    method: 'GET',
    url: '/api/v1/runs/:id/diff',
    config: { action: 'run.artifact' },
    schema: {
      operationId: 'readDiff',
      summary: 'The patch of what a run changed in its workspace against what was uploaded',
      tags: ['runs'],
      params,
      querystring: noQuery,
      response: { 200: bytes('The patch, empty when nothing changed', 'text/x-diff'), ...problemResponses },
    },
    handler: async (request, reply) => {
      const { id } = request.params;
      const caller = callerOf(request);
      const reader = await openDiff(context, caller, id);
      const as = { type: 'text/x-diff', fileName: `${id}.diff` };
      sendBytes(reply, { reader, caller, run: id }, as, context);
    },
  });
}

/** The diff, or an absence that says why there is none, to those who may see the run. */
async function openDiff({ control }: ServerContext, caller: Caller, id: RunId): Promise<ByteReader> {
  const { view } = await control.runs.get(caller, id);
  if (!isTerminal(view.phase))
    throw noDiff('the run has not finished, and its diff is collected when it ends');
  if (view.filesExpired) throw noDiff('its files were removed after their time');
  if (!view.artifacts.some(({ name }) => name === 'diff'))
    throw noDiff('it was started without one, its session has no repository, or it never ran');
  return await control.runs.artifact(caller, id, 'diff');
}

function noDiff(why: string): Fault {
  return new Fault('resource.absent', { detail: `This run has no diff: ${why}.` });
}

/** Streams at the caller's pace. Fewer bytes than promised cost the connection, so that none takes them for all. */
function sendBytes(
  reply: FastifyReply,
  { reader, caller, run }: { reader: ByteReader; caller: Caller; run: RunId },
  { type, fileName }: { type: string; fileName: string },
  context: ServerContext,
): void {
  const { raw: response } = reply;
  reply.hijack();
  exemptFromTimeouts(response);
  response.writeHead(200, {
    ...(reply.getHeaders() as Record<string, string>),
    'content-type': type,
    'content-length': reader.bytes,
    'content-disposition': `attachment; filename="${fileName}"`,
  });
  response.on('error', () => undefined).once('close', () => reader.cancel());
  context.streams.add({
    answer: response,
    caller,
    still: (now) => context.control.runs.mayStill(now, run, 'run.artifact'),
    end: () => response.destroy(),
  });
  pump(response, reader).catch((error: unknown) => {
    context.logger.warn({ err: error, requestId: reply.request.id }, 'a download broke off');
    response.destroy();
  });
}

async function pump(response: FastifyReply['raw'], reader: ByteReader): Promise<void> {
  let sent = 0;
  for await (const chunk of reader) {
    sent += chunk.length;
    if (sent > reader.bytes) break;
    const room = writeSome(response, chunk);
    if (room === false || (room !== true && !(await room))) return;
  }
  if (sent === reader.bytes) response.end();
  else throw new RangeError(`${reader.bytes} bytes were promised, ${sent} came`);
}
