import type { IncomingMessage, RequestListener, Server } from 'node:http';
import fastify, { type FastifyReply, type FastifyRequest } from 'fastify';
import type { ZodTypeProvider } from 'fastify-type-provider-zod';
import type { z } from 'zod';
import type { Clock } from '../base/clock.ts';
import { Fault } from '../contract/faults.ts';
import type { ActionName } from '../model/actions.ts';
import { accessRoutes } from './access/routes.ts';
import { deviceRoutes, programRoutes } from './account/devices.ts';
import { accountRoutes } from './account/routes.ts';
import { ownTokenRoutes } from './account/tokens.ts';
import { whoamiRoute } from './account/whoami.ts';
import { type Admission, hasBody } from './admission.ts';
import { agentRoutes } from './agents/routes.ts';
import { attachRoutes } from './attach/routes.ts';
import { auditEvidenceRoutes } from './audit/evidence-routes.ts';
import { auditProofRoutes } from './audit/proof-routes.ts';
import { auditRoutes } from './audit/routes.ts';
import { auditSinkRoutes } from './audit/sink-routes.ts';
import { auditWitnessRoutes } from './audit/witness-routes.ts';
import type { App, ServerContext } from './context.ts';
import { elevationRoutes } from './elevations/routes.ts';
import { flagRoutes } from './flags/routes.ts';
import { healthRoutes } from './health.ts';
import type { InFlight } from './in-flight.ts';
import { jsonBodyParser } from './json-body.ts';
import { keyRoutes } from './keys/routes.ts';
import { metricsRoutes } from './metrics.ts';
import { oauthRoutes } from './oauth/routes.ts';
import { wellKnownRoutes } from './oauth/well-known.ts';
import { describeApi, openapiRoutes } from './openapi.ts';
import { type Pages, pageRoutes } from './pages.ts';
import { policyRoutes } from './policies/routes.ts';
import { InvalidInput, problemMediaType, problemOf } from './problem.ts';
import { roleRoutes } from './roles/routes.ts';
import { runRoutes } from './runs/routes.ts';
import { sessionRoutes } from './sessions/routes.ts';
import { providerRoutes } from './sign-in/provider-routes.ts';
import { signInRoutes } from './sign-in/routes.ts';
import { stepUpRoutes } from './sign-in/step-up.ts';
import { teamRoutes } from './teams/routes.ts';
import { tokenRoutes } from './tokens/routes.ts';
import { uploadRoutes } from './uploads/routes.ts';
import { userIdentityRoutes } from './users/identities.ts';
import { invitationRoutes } from './users/invitations.ts';
import { userRoutes } from './users/routes.ts';

export type RouteLine = {
  readonly method: string;
  readonly url: string;
  readonly operationId: string;
  readonly summary: string;
  readonly open: boolean;
  /** What it does, as the table of acts calls it; null for what everybody may do. */
  readonly action: ActionName | null;
};

export type BuiltApp = { readonly app: App; readonly routes: readonly RouteLine[] };

export type AppOptions = {
  readonly context: ServerContext;
  /** What people open in a browser; null for none. */
  readonly pages: Pages | null;
  readonly admit: Admission;
  readonly inFlight: InFlight;
  readonly clock: Clock;
  readonly requestId: (request: IncomingMessage) => string;
  /** Makes the server that the app's handler runs in; nothing listens yet. */
  readonly makeServer: (handler: RequestListener) => Server;
};

/** Every route behind one admission, and the table of them. */
export async function buildApp(options: AppOptions): Promise<BuiltApp> {
  const { context, admit, inFlight } = options;
  const routes: RouteLine[] = [];
  const app = newApp(options);
  app.addHook('onRoute', (route) => {
    const { method, url, config, schema, handler } = route;
    route.handler = async function (request, reply) {
      return await inFlight.track(Promise.resolve(handler.call(this, request, reply)));
    };
    for (const one of [method].flat())
      routes.push({
        method: one,
        url,
        operationId: schema?.operationId ?? '',
        summary: schema?.summary ?? '',
        open: config?.open === true,
        action: config?.action ?? null,
      });
  });
  app.decorateRequest('caller', null);
  app.addHook('onRequest', async (request, reply) => {
    const startedAtMs = options.clock.monotonic();
    // Not `onResponse`, which is silent about callers that leave before the end.
    const { config } = request.routeOptions;
    reply.raw.once('close', () =>
      account(request, reply, options, { startedAtMs, route: config.url ?? 'none' }),
    );
    context.attach.watch(request, reply);
    await inFlight.track(admit(request, reply, config));
  });
  app.addHook('preValidation', (request, _reply, done) => {
    refuseUnasked(request);
    done();
  });
  app.setErrorHandler((error, request, reply) => answerProblem(error, request, reply, context));
  app.setNotFoundHandler((request) => {
    throw noRoute(request, routes);
  });
  await describeApi(app, context.version);
  await addRoutes(app, context);
  if (options.pages !== null) pageRoutes(app, options.pages);
  await app.ready();
  return { app, routes };
}

function newApp({ context, requestId, makeServer, admit }: AppOptions): App {
  const app = fastify({
    logger: false,
    serverFactory: (handler) => makeServer(handler as RequestListener),
    genReqId: (request) => requestId(request),
    exposeHeadRoutes: false,
    return503OnClosing: false,
    routerOptions: { maxParamLength: context.limits.headerBytesMax },
    // A URL that cannot be decoded is routed nowhere, so its admission happens here.
    frameworkErrors: (error, request, reply) => {
      const asked = request as FastifyRequest;
      const answer = reply as FastifyReply;
      asked.caller = null;
      admit(asked, answer, {}).then(
        () => answerProblem(error, asked, answer, context),
        (refusal: unknown) => answerProblem(refusal, asked, answer, context),
      );
    },
  }).withTypeProvider<ZodTypeProvider>() as App;
  app.setValidatorCompiler<z.ZodType>(({ schema, httpPart }) => (data) => {
    // Fastify says null for a body that is not there.
    const result = schema.safeParse(httpPart === 'body' ? (data ?? undefined) : data);
    return result.success ? { value: result.data } : { error: new InvalidInput(result.error.issues) };
  });
  app.setSerializerCompiler(() => (data) => JSON.stringify(data));
  app.removeAllContentTypeParsers();
  app.addContentTypeParser('application/json', jsonBodyParser(context.limits));
  return app;
}

async function addRoutes(app: App, context: ServerContext): Promise<void> {
  healthRoutes(app, context);
  openapiRoutes(app);
  metricsRoutes(app, context);
  sessionRoutes(app, context);
  runRoutes(app, context);
  attachRoutes(app, context);
  tokenRoutes(app, context);
  ownTokenRoutes(app, context);
  deviceRoutes(app, context);
  programRoutes(app, context);
  whoamiRoute(app, context);
  keyRoutes(app, context);
  wellKnownRoutes(app, context);
  policyRoutes(app, context);
  flagRoutes(app, context);
  agentRoutes(app, context);
  roleRoutes(app, context);
  teamRoutes(app, context);
  accessRoutes(app, context);
  elevationRoutes(app, context);
  auditRoutes(app, context);
  auditSinkRoutes(app, context);
  auditWitnessRoutes(app, context);
  auditProofRoutes(app, context);
  auditEvidenceRoutes(app, context);
  signInRoutes(app, context);
  await providerRoutes(app, context);
  stepUpRoutes(app, context);
  accountRoutes(app, context);
  userRoutes(app, context);
  userIdentityRoutes(app, context);
  invitationRoutes(app, context);
  await app.register(async (scope) => oauthRoutes(scope as App, context));
  await app.register(async (scope) => uploadRoutes(scope as App, context));
}

/** A body on a route that documents none is an unknown field like any other. */
function refuseUnasked(request: FastifyRequest): void {
  if (request.body === undefined || request.is404) return;
  if (request.routeOptions.schema?.body !== undefined) return;
  throw new Fault('request.invalid', {
    detail: 'In the body: this route takes none.',
    extra: { in: 'body', errors: [{ path: '', message: 'is not taken here' }] },
  });
}

function answerProblem(
  error: unknown,
  request: FastifyRequest,
  reply: FastifyReply,
  { logger }: ServerContext,
): void {
  const { status, headers, body, unexpected } = problemOf(error, request.id);
  if (unexpected) logger.error({ err: error, requestId: request.id }, 'a request failed inside');
  // Where a request may not end where its sender thinks, nothing more is read from the connection.
  const unread = hasBody(request) && !request.raw.complete;
  if (unread || body.code === 'request.malformed') reply.header('connection', 'close');
  else if (reply.hasHeader('connection')) reply.removeHeader('connection');
  // As bytes, so that fastify adds no charset to the media type.
  reply.code(status).headers(headers).header('content-type', problemMediaType);
  reply.send(Buffer.from(JSON.stringify(body)));
}

function noRoute(request: FastifyRequest, routes: readonly RouteLine[]): Fault {
  const path = (request.raw.url ?? '').split('?')[0]!;
  const allow = routes.filter(({ url }) => matches(url, path)).map(({ method }) => method);
  if (allow.length === 0)
    return new Fault('route.absent', { detail: 'There is no such route; see /api/v1/openapi.json.' });
  const methods = [...new Set(allow)].sort();
  return new Fault('request.method', {
    detail: `This route takes ${methods.join(', ')}.`,
    extra: { allow: methods },
  });
}

function matches(pattern: string, path: string): boolean {
  const wanted = pattern.split('/');
  const given = path.split('/');
  return (
    wanted.length === given.length &&
    wanted.every((part, index) => (part.startsWith(':') ? given[index] !== '' : part === given[index]))
  );
}

/** One line and one observation an answer. The URL stays out: its query may hold what must not be logged. */
function account(
  request: FastifyRequest,
  reply: FastifyReply,
  { context, clock }: AppOptions,
  { startedAtMs, route }: { startedAtMs: number; route: string },
): void {
  const ms = clock.monotonic() - startedAtMs;
  context.metrics.answered(request.method, route, reply.statusCode, ms / 1000);
  const quiet = reply.statusCode < 400 && request.method === 'GET';
  if (quiet && !context.logger.isLevelEnabled('debug')) return;
  const line = {
    requestId: request.id,
    method: request.method,
    route,
    status: reply.statusCode,
    ms: Math.round(ms * 10) / 10,
    whole: reply.raw.writableFinished,
    actor: request.caller?.actor.id ?? null,
    address: request.caller?.request.address ?? context.proxies.addressOf(request.raw),
  };
  if (quiet) context.logger.debug(line, 'answered');
  else context.logger.info(line, 'answered');
}
