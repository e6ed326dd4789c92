import swagger from '@fastify/swagger';
import type { FastifyReply } from 'fastify';
import { createJsonSchemaTransform, createJsonSchemaTransformObject } from 'fastify-type-provider-zod';
import { z } from 'zod';
import * as attachSchemas from '../contract/attach-schemas.ts';
import { attachSettings } from '../contract/attach-settings.ts';
import * as schemas from '../contract/schemas.ts';
import type { App } from './context.ts';
import { noQuery, problemResponses } from './responses.ts';

/** The schemas that the document names; all others are written where they are used. */
const named = {
  Session: schemas.session,
  CreateSession: schemas.createSession,
  Run: schemas.run,
  CreateRun: schemas.createRun,
  ResumeRun: schemas.resumeRun,
  RunLimits: schemas.limits,
  Artifact: schemas.artifact,
  Upload: schemas.upload,
  Token: schemas.token,
  CreateToken: schemas.createToken,
  CreatedToken: schemas.createdToken,
  Policy: schemas.policy,
  PolicySummary: schemas.policySummary,
  PutPolicy: schemas.putPolicy,
  Preset: schemas.preset,
  EgressFlow: schemas.egressFlow,
  SimulateEgress: schemas.simulateEgress,
  EgressSimulation: schemas.egressSimulation,
  AttachSettings: attachSettings,
  AttachTicket: attachSchemas.attachTicket,
  CreateExec: attachSchemas.createExec,
  Terminal: attachSchemas.terminal,
  TerminalMatch: attachSchemas.terminalMatch,
  LogChunk: schemas.logChunk,
  LogEnd: schemas.logEnd,
  Problem: schemas.problem,
} as const;

for (const [id, schema] of Object.entries(named))
  z.globalRegistry.add(schema, { ...z.globalRegistry.get(schema), id });

const tags: readonly string[] = [
  ...['sessions', 'runs', 'attach', 'uploads', 'tokens', 'account', 'keys', 'oauth'],
  ...['policies', 'access', 'audit', 'sign-in', 'users', 'health'],
];

/** OpenAPI 3.1 from the schemas that validate; call before the routes are added. */
export async function describeApi(app: App, version: string): Promise<void> {
  await app.register(swagger, {
    openapi: {
      openapi: '3.1.0',
      info: {
        title: 'Sealwright',
        version,
        description: 'Runs untrusted agents in sealed sandboxes. Errors are RFC 9457 problem documents.',
        license: { name: 'Apache-2.0', identifier: 'Apache-2.0' },
      },
      components: { securitySchemes: { bearer: { type: 'http', scheme: 'bearer' } } },
      security: [{ bearer: [] }],
      tags: tags.map((name) => ({
        name,
      })),
    },
    transform: createJsonSchemaTransform({}),
    transformObject: createJsonSchemaTransformObject({}),
  });
}

export function openapiRoutes(app: App): void {
  let document: Buffer | null = null;
  app.route({
    method: 'GET',
    url: '/api/v1/openapi.json',
    config: { open: true },
    schema: {
      operationId: 'openapi',
      summary: 'This document',
      tags: ['health'],
      querystring: noQuery,
      security: [],
      response: {
        200: { description: 'OpenAPI 3.1', content: { 'application/json': { schema: z.looseObject({}) } } },
        ...problemResponses,
      },
    },
    handler: async (_request, reply) => {
      document ??= Buffer.from(JSON.stringify(withUsedSchemas(app.swagger())));
      (reply as FastifyReply).header('content-type', 'application/json; charset=utf-8').send(document);
    },
  });
}

const prefix = '#/components/schemas/';

/**
 * The generator makes each schema twice, as it is taken and as it is given. What nothing refers to goes, and
 * what is only ever taken loses the suffix that told the two apart.
 */
function withUsedSchemas(document: object): object {
  const { components, ...rest } = document as { components: { schemas: Record<string, unknown> } };
  const used: Record<string, unknown> = {};
  const take = (part: unknown) => {
    for (const [, name] of JSON.stringify(part).matchAll(/"#\/components\/schemas\/(\w+)"/g)) {
      if (name === undefined || name in used) continue;
      used[name] = components.schemas[name];
      take(used[name]);
    }
  };
  take(rest);
  let text = JSON.stringify({ ...rest, components: { ...components, schemas: used } });
  for (const name of Object.keys(used)) {
    const plain = name.replace(/Input$/, '');
    if (plain === name || plain in used) continue;
    text = text
      .replaceAll(`"${prefix}${name}"`, `"${prefix}${plain}"`)
      .replace(`"${name}":{`, `"${plain}":{`);
  }
  return JSON.parse(text) as object;
}
