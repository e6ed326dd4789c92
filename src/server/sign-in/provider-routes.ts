import type { FastifyReply, FastifyRequest } from 'fastify';
import { z } from 'zod';
import { isOwnPath } from '../../contract/sign-in-page.ts';
import { signInErrorPath } from '../../control/identity/provider-sign-ins.ts';
import { type App, askedOf, type ServerContext } from '../context.ts';
import { setSessionCookie } from '../cookies.ts';
import { readBody, refuseEncodings } from '../json-body.ts';
import { serverLimits } from '../limits.ts';
import { bytes, empty, noQuery, problemResponses, sendEmpty } from '../responses.ts';
import { roundCookie, setRoundCookie } from './round-cookie.ts';

const url = '/auth/providers/:provider';
const open = { open: true, rate: 'signIn' } as const;
const params = z.strictObject({ provider: z.string().regex(/^[a-z][a-z0-9-]{0,31}$/) });

const ownPath = z
  .string()
  .refine(isOwnPath, { message: 'is no path of this server' })
  .meta({ description: 'The page to go to afterwards', example: '/runs' });

/** Signing in at other providers: the way there and back again, which browsers go, and what providers say by themselves. */
export async function providerRoutes(app: App, context: ServerContext): Promise<void> {
  startRoute(app, context);
  callbackRoute(app, context);
  await app.register(async (scope) => logoutRoute(scope as App, context));
}

function startRoute(app: App, context: ServerContext): void {
  const { providers } = context.control;
  app.route({
    method: 'GET',
    url: `${url}/start`,
    config: open,
    schema: {
      operationId: 'startProviderSignIn',
      summary: 'Send the browser to a provider to sign in there',
      tags: ['sign-in'],
      params,
      querystring: z.strictObject({
        next: ownPath.optional(),
        fresh: z
          .literal('1')
          .optional()
          .describe('The provider must ask again who it is, as what is dangerous asks for'),
      }),
      security: [],
      response: { 302: empty('To the provider, or to the sign-in page with an error'), ...problemResponses },
    },
    handler: async (request, reply) => {
      if (!startsHere(request.headers['sec-fetch-site']))
        return go(reply, 302, signInErrorPath('foreign-start'));
      const { next = '/', fresh } = request.query;
      const how = { next, fresh: fresh !== undefined };
      const started = await providers.start(askedOf(request, context), request.params.provider, how);
      if ('error' in started) return go(reply, 302, signInErrorPath(started.error));
      setRoundCookie(reply as FastifyReply, started.secret, context.proxies.isSecure(request.raw));
      return go(reply, 302, started.location);
    },
  });
}

/**
 * Nobody is signed in unasked: a provider that knows the person may let a browser through without a word, so only a page
 * of this server starts it, or an address that somebody typed. Clients that are no browsers say nothing of it.
 */
function startsHere(site: string | string[] | undefined): boolean {
  return site === undefined || site === 'same-origin' || site === 'none';
}

function callbackRoute(app: App, context: ServerContext): void {
  const { providers } = context.control;
  app.route({
    method: 'GET',
    url: `${url}/callback`,
    config: open,
    schema: {
      operationId: 'finishProviderSignIn',
      summary: 'Where a provider sends the browser back to',
      tags: ['sign-in'],
      params,
      // What a provider sends is looked at where it is verified.
      querystring: z.looseObject({}),
      security: [],
      response: {
        200: bytes('Signed in, with the cookie: a page that leads on', 'text/html'),
        303: empty('Nobody is signed in: to the sign-in page with an error'),
        ...problemResponses,
      },
    },
    handler: async (request, reply) => {
      const isSecure = context.proxies.isSecure(request.raw);
      const { raw } = request as FastifyRequest;
      const query = new URL(raw.url ?? '/', 'http://own.invalid').searchParams;
      const secret = roundCookie(raw.headers.cookie, isSecure);
      const ended = await providers.finish(askedOf(request, context), request.params.provider, {
        query,
        secret,
      });
      setRoundCookie(reply as FastifyReply, null, isSecure);
      if ('error' in ended) return go(reply, 303, signInErrorPath(ended.error));
      setSessionCookie(reply as FastifyReply, ended.cookie, isSecure);
      return (reply as FastifyReply).code(200).type('text/html; charset=utf-8').send(leadingOn(ended.next));
    },
  });
}

/**
 * The browser comes from another site, so it sends no cookie of `SameSite=Strict` along wherever a redirect leads.
 * From a page of our own it does.
 */
function leadingOn(next: string): Buffer {
  const { pathname, search, hash } = new URL(next, 'http://own.invalid');
  const target = `${pathname}${search}${hash}`.replace(/[&<>"']/g, (one) => `&#${one.charCodeAt(0)};`);
  return Buffer.from(
    `<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Signed in</title>` +
      `<meta http-equiv="refresh" content="0;url=${target}"></head>` +
      `<body><a href="${target}">Continue</a></body></html>\n`,
  );
}

function go(reply: object, status: 302 | 303, location: string): FastifyReply {
  return (reply as FastifyReply).code(status).header('location', location).send();
}

const formMediaType = 'application/x-www-form-urlencoded';

/** Needs a scope of its own: its body is a form. */
function logoutRoute(app: App, context: ServerContext): void {
  const { limits, control } = context;
  app.removeAllContentTypeParsers();
  app.addContentTypeParser(formMediaType, async (request: FastifyRequest, payload: FastifyRequest['raw']) => {
    refuseEncodings(request.headers['content-type'] ?? '', request.headers['content-encoding']);
    const bytes = await readBody(payload, serverLimits.formBytesMax, limits.bodyTimeoutMs);
    return Object.fromEntries(new URLSearchParams(bytes.toString('utf8')));
  });
  app.route({
    method: 'POST',
    url: `${url}/backchannel-logout`,
    // A provider says it for many people from one address, and may not say it again.
    config: { open: true },
    schema: {
      operationId: 'providerLogout',
      summary: 'A provider says that somebody signed out there (OpenID Connect Back-Channel Logout 1.0)',
      tags: ['sign-in'],
      consumes: [formMediaType],
      params,
      querystring: noQuery,
      // Other parameters are ignored, as §2.5 asks.
      body: z.looseObject({ logout_token: z.string().min(1).max(serverLimits.formBytesMax) }),
      security: [],
      response: { 204: empty('The sign-ins that it means have ended'), ...problemResponses },
    },
    handler: async (request, reply) => {
      const { logout_token: token } = request.body;
      await control.providers.logout(askedOf(request, context), request.params.provider, token);
      return sendEmpty(reply, 204);
    },
  });
}
