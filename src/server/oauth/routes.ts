import type { FastifyReply, FastifyRequest } from 'fastify';
import { z } from 'zod';
import { oauthPaths } from '../../contract/oauth.ts';
import type { Asked } from '../../control/identity/oauth-clients.ts';
import { type App, askedOf, type ServerContext } from '../context.ts';
import { empty, json } from '../responses.ts';
import { answerOAuthFault, oauthResponses } from './answers.ts';
import { formBodyParser, formMediaType, queryForm } from './form.ts';

const config = { open: true, rate: 'signIn' } as const;

/** Needs a scope of its own: its bodies are forms, and its errors are those of OAuth. */
export function oauthRoutes(app: App, context: ServerContext): void {
  app.removeAllContentTypeParsers();
  app.addContentTypeParser(formMediaType, formBodyParser(context.limits));
  app.setErrorHandler((error, request, reply) => answerOAuthFault(error, request, reply, context));
  authorizeRoute(app, context);
  const { oauth } = context.control;
  const answer = z.looseObject({});
  post(app, context, {
    path: oauthPaths.token,
    operationId: 'oauthToken',
    summary: 'Exchange a code, refresh token, client proof, device code or other token for an access token',
    described: json('RFC 6749 §5.1', answer),
    handle: (asked) => oauth.token(asked),
  });
  post(app, context, {
    path: oauthPaths.deviceAuthorization,
    operationId: 'oauthDeviceAuthorization',
    summary: 'Begin a sign-in that a person finishes on another device',
    described: json('RFC 8628 §3.2', answer),
    handle: (asked) => oauth.deviceAuthorization(asked),
  });
  post(app, context, {
    path: oauthPaths.introspect,
    operationId: 'oauthIntrospect',
    summary: 'Whether a token works now, for agents, services and holders of identity:read',
    described: json('RFC 7662 §2.2', answer),
    handle: (asked) => oauth.introspect(asked),
  });
  post(app, context, {
    path: oauthPaths.revoke,
    operationId: 'oauthRevoke',
    summary: 'End a token, and the sign-in that it came from',
    described: json('It does not work any more, if it ever did', z.strictObject({})),
    handle: async (asked) => {
      await oauth.revoke(asked);
      return {};
    },
  });
}

function authorizeRoute(app: App, { control }: ServerContext): void {
  const { oauth } = control;
  app.route({
    method: 'GET',
    url: oauthPaths.authorize,
    config,
    schema: {
      operationId: 'oauthAuthorize',
      summary: 'Send the browser to the page that asks the person whether the command line may act for it',
      tags: ['oauth'],
      querystring: z.looseObject({}),
      security: [],
      response: { 302: empty('Where the browser goes next'), ...oauthResponses },
    },
    handler: async (request, reply) => {
      const query = queryForm(request.raw.url ?? '');
      const { location } = oauth.authorize(query);
      return (reply as FastifyReply).code(302).header('location', location).send();
    },
  });
}

type FormRoute = {
  readonly path: string;
  readonly operationId: string;
  readonly summary: string;
  readonly described: ReturnType<typeof json>;
  readonly handle: (asked: Asked) => Promise<object>;
};

function post(app: App, context: ServerContext, route: FormRoute): void {
  const { path, operationId, summary, described, handle } = route;
  app.route({
    method: 'POST',
    url: path,
    config,
    schema: {
      operationId,
      summary,
      tags: ['oauth'],
      querystring: z.strictObject({}),
      consumes: [formMediaType],
      // A form, parsed already.
      body: z.unknown().describe('The parameters of the grant, form-encoded, each once'),
      security: [],
      response: { 200: described, ...oauthResponses },
    },
    handler: async (request) => await handle(askedBy(request as FastifyRequest, context)),
  });
}

function askedBy(request: FastifyRequest, context: ServerContext): Asked {
  return {
    form: request.body instanceof Map ? request.body : new Map(),
    authorization: request.raw.headers.authorization ?? null,
    request: askedOf(request, context),
  };
}
