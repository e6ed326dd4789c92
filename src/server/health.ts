import { z } from 'zod';
import type { App, ServerContext } from './context.ts';
import { json, noQuery, problemResponses } from './responses.ts';

const check = z.object({ ok: z.boolean(), detail: z.string().optional() });
const readiness = z.object({
  ready: z.boolean(),
  checks: z.object({
    store: check,
    audit: check,
    access: check.describe('Whether the stored access policies are the ones in force'),
    runner: check,
    flags: check.describe(
      'Says what is wrong with feature flags; they are off then, and the server is ready',
    ),
    witnesses: check.describe(
      'Whether what witnesses keep of the audit log agrees with it; the server works where it does not',
    ),
  }),
});

export function healthRoutes(app: App, { control, version }: ServerContext): void {
  app.route({
    method: 'GET',
    url: '/healthz',
    exposeHeadRoute: true,
    config: { open: true },
    schema: {
      operationId: 'health',
      summary: 'Whether this process answers; says nothing about what it depends on',
      tags: ['health'],
      querystring: noQuery,
      security: [],
      response: {
        200: json('It answers', z.object({ status: z.literal('ok'), version: z.string() })),
        ...problemResponses,
      },
    },
    handler: async () => ({ status: 'ok' as const, version }),
  });
  app.route({
    method: 'GET',
    url: '/readyz',
    exposeHeadRoute: true,
    config: { open: true },
    schema: {
      operationId: 'readiness',
      summary: 'Whether store, audit log, access policies and runner work, each really tried',
      tags: ['health'],
      querystring: noQuery,
      security: [],
      response: {
        200: json('All of them work', readiness),
        503: json('Some do not; the failing checks say which', readiness),
        ...problemResponses,
      },
    },
    handler: async (_request, reply) => {
      const { ready, checks } = await control.readiness();
      return reply.code(ready ? 200 : 503).send({ ready, checks });
    },
  });
}
