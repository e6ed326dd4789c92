import { z } from 'zod';
import { Fault } from '../../contract/faults.ts';
import * as schemas from '../../contract/schemas.ts';
import type { Caller } from '../../control/control.ts';
import { type App, callerOf, type ServerContext } from '../context.ts';
import { refuseEncodings } from '../json-body.ts';
import { empty, json, noQuery, problemResponses, sendEmpty } from '../responses.ts';
import { receive } from './receive.ts';

const url = '/api/v1/uploads';
const mediaTypes = ['application/octet-stream', 'application/x-git-bundle'];

/** Needs a scope of its own: its bodies are bytes of other media types than everywhere else. */
export function uploadRoutes(app: App, { control, limits, streams }: ServerContext): void {
  app.removeAllContentTypeParsers();
  app.addContentTypeParser(mediaTypes, (request, _payload, done) => {
    try {
      refuseEncodings('', request.headers['content-encoding']);
      done(null);
    } catch (refusal) {
      done(refusal as Error);
    }
  });
  app.route({
    method: 'POST',
    url,
    config: { rate: 'write', action: 'upload.create' },
    schema: {
      operationId: 'createUpload',
      summary: 'Upload a repository as a git bundle, to make a session from',
      description: 'Streamed: it may take as long as bytes keep coming. What breaks off is not kept.',
      tags: ['uploads'],
      querystring: noQuery,
      consumes: mediaTypes,
      // Never parsed: the handler reads it as a stream.
      body: z.unknown().describe('The bytes'),
      response: { 201: json('What was stored', schemas.upload), ...problemResponses },
    },
    handler: async (request, reply) => {
      if (request.headers['content-type'] === undefined)
        throw new Fault('request.media-type', { detail: `Send the bytes as ${mediaTypes.join(' or ')}.` });
      const bytes = receive(request.raw, { bytesMax: limits.uploadBytesMax, stallMs: limits.uploadStallMs });
      const caller = callerOf(request);
      const still = (now: Caller) => control.uploads.mayStill(now);
      // Whoever may not is told so; only what was let in is cut later.
      await still(caller);
      streams.add({ answer: reply.raw, caller, still, end: () => undefined });
      const stored = await control.uploads.store(caller, bytes);
      reply.code(201).header('location', `${url}/${stored.id}`);
      return stored;
    },
  });
  app.route({
    method: 'DELETE',
    url: `${url}/:id`,
    config: { rate: 'write', action: 'upload.remove' },
    schema: {
      operationId: 'removeUpload',
      summary: 'Remove an upload',
      tags: ['uploads'],
      params: z.strictObject({ id: schemas.uploadId }),
      querystring: noQuery,
      response: { 204: empty('It is gone'), ...problemResponses },
    },
    handler: async (request, reply) => {
      await control.uploads.remove(callerOf(request), request.params.id);
      return sendEmpty(reply, 204);
    },
  });
}
