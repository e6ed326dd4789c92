import type { FastifyReply } from 'fastify';
import { z } from 'zod';
import * as schemas from '../../contract/audit-proof-schemas.ts';
import { Fault } from '../../contract/faults.ts';
import { type App, callerOf, type ServerContext } from '../context.ts';
import { bytes, json, noQuery, problemResponses } from '../responses.ts';

const base = '/api/v1/audit';
const text = 'text/plain';
const octets = 'application/octet-stream';
const streamParams = z.strictObject({ stream: z.string().max(63) });
/** The parts of a tile's name behind its level: groups of digits, and the width of a partial one. */
const partsMax = 4;

/** What outsiders check the record by. */
export function auditProofRoutes(app: App, context: ServerContext): void {
  checkpointRoutes(app, context);
  proofRoutes(app, context);
  tileRoutes(app, context);
}

function checkpointRoutes(app: App, { control }: ServerContext): void {
  app.route({
    method: 'GET',
    url: `${base}/streams`,
    config: { action: 'audit.prove' },
    schema: {
      operationId: 'listAuditStreams',
      summary: 'The streams of the audit log, with the newest signed checkpoint of each',
      tags: ['audit'],
      querystring: noQuery,
      response: { 200: json('All of them', schemas.auditStreams), ...problemResponses },
    },
    handler: async (request) => ({ items: [...(await control.auditProofs.streams(callerOf(request)))] }),
  });
  app.route({
    method: 'GET',
    url: `${base}/checkpoint`,
    config: { action: 'audit.prove' },
    schema: {
      operationId: 'auditCheckpoint',
      summary: 'The newest signed checkpoint of each stream, or of the one that is named, as signed notes',
      tags: ['audit'],
      querystring: schemas.checkpointQuery,
      response: { 200: bytes('Notes, an empty line between two', text), ...problemResponses },
    },
    handler: async (request, reply) => {
      const notes = await control.auditProofs.checkpoints(callerOf(request), request.query.stream);
      sendBytes(reply, `${text}; charset=utf-8`, Buffer.from(notes.join('\n')));
    },
  });
  app.route({
    method: 'POST',
    url: `${base}/key/rotate`,
    config: { rate: 'admin', action: 'audit.key.rotate' },
    schema: {
      operationId: 'rotateAuditKey',
      summary:
        'Sign the audit log of this server with another key from now on; the log says so, signed by both',
      tags: ['audit'],
      querystring: noQuery,
      response: { 201: json('The key that signs now', schemas.auditKey), ...problemResponses },
    },
    handler: async (request, reply) => {
      reply.code(201);
      return await control.auditProofs.rotateKey(callerOf(request));
    },
  });
}

function proofRoutes(app: App, { control }: ServerContext): void {
  app.route({
    method: 'GET',
    url: `${base}/streams/:stream/inclusion`,
    config: { action: 'audit.prove' },
    schema: {
      operationId: 'proveAuditEvent',
      summary: 'That an event is in the log: an inclusion proof (RFC 9162)',
      tags: ['audit'],
      params: streamParams,
      querystring: schemas.inclusionQuery,
      response: { 200: json('The proof', schemas.inclusionProof), ...problemResponses },
    },
    handler: async (request) =>
      await control.auditProofs.inclusion(callerOf(request), request.params.stream, request.query),
  });
  app.route({
    method: 'GET',
    url: `${base}/streams/:stream/consistency`,
    config: { action: 'audit.prove' },
    schema: {
      operationId: 'proveAuditGrowth',
      summary: 'That the log only grew between two sizes: a consistency proof (RFC 9162)',
      tags: ['audit'],
      params: streamParams,
      querystring: schemas.consistencyQuery,
      response: { 200: json('The proof', schemas.consistencyProof), ...problemResponses },
    },
    handler: async (request) =>
      await control.auditProofs.consistency(callerOf(request), request.params.stream, request.query),
  });
}

/** A stream as a static log (https://c2sp.org/tlog-tiles), for tools that know nothing of this product. */
function tileRoutes(app: App, { control }: ServerContext): void {
  app.route({
    method: 'GET',
    url: `${base}/tlog/:stream/checkpoint`,
    config: { action: 'audit.prove' },
    schema: {
      operationId: 'tlogCheckpoint',
      summary: 'The newest signed checkpoint of a stream, where C2SP’s tlog-tiles looks for it',
      tags: ['audit'],
      params: streamParams,
      querystring: noQuery,
      response: { 200: bytes('A signed note', text), ...problemResponses },
    },
    handler: async (request, reply) => {
      const [note = ''] = await control.auditProofs.checkpoints(callerOf(request), request.params.stream);
      sendBytes(reply, `${text}; charset=utf-8`, Buffer.from(note));
    },
  });
  for (let parts = 1; parts <= partsMax; parts += 1) tileRoute(app, { control }, parts);
}

function tileRoute(app: App, { control }: Pick<ServerContext, 'control'>, parts: number): void {
  const names = Array.from({ length: parts }, (_, index) => `n${index + 1}`);
  app.route({
    method: 'GET',
    url: `${base}/tlog/:stream/tile/:level/${names.map((name) => `:${name}`).join('/')}`,
    config: { action: 'audit.prove' },
    schema: {
      operationId: parts === 1 ? 'tlogTile' : `tlogTile${parts}`,
      summary: 'A tile of hashes, or with the level `entries` of lines, as C2SP’s tlog-tiles names them',
      tags: ['audit'],
      params: z.strictObject({
        stream: z.string().max(63),
        level: z.string().max(16),
        ...Object.fromEntries(names.map((name) => [name, z.string().max(16)])),
      }),
      querystring: noQuery,
      response: { 200: bytes('The tile', octets), ...problemResponses },
    },
    handler: async (request, reply) => {
      const { stream, level, ...rest } = request.params as Record<string, string>;
      const place = tilePlace([level, ...names.map((name) => rest[name])].join('/'));
      const caller = callerOf(request);
      const tile =
        place.level === 'entries'
          ? await control.auditProofs.entries(caller, stream!, place)
          : await control.auditProofs.tile(caller, stream!, { ...place, level: place.level });
      sendBytes(reply, octets, tile);
    },
  });
}

const tilePattern = /^(entries|[0-5]?\d)\/((?:x\d{3}\/){0,2}\d{3})(?:\.p\/([1-9]\d{0,2}))?$/;

/** `L/N` or `L/N.p/W`, where N is written in groups of three digits, each but the last behind an x. */
function tilePlace(path: string): { level: number | 'entries'; index: number; width: number } {
  const [, level = '', index = '', width = '256'] = tilePattern.exec(path) ?? [];
  const isPlain =
    level !== '' && !/^x000/.test(index) && (level === 'entries' || String(Number(level)) === level);
  if (!isPlain || Number(width) > 256 || path.endsWith('.p/256'))
    throw new Fault('resource.absent', { detail: 'A tile is called L/N or L/N.p/W, as in 0/x001/234.p/12.' });
  return {
    level: level === 'entries' ? level : Number(level),
    index: Number(index.replaceAll(/[x/]/g, '')),
    width: Number(width),
  };
}

function sendBytes(reply: object, type: string, content: Buffer): void {
  (reply as FastifyReply).type(type).send(content);
}
