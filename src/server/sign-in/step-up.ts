import type { FastifyReply } from 'fastify';
import * as schemas from '../../contract/sign-in-schemas.ts';
import { type App, callerOf, type ServerContext } from '../context.ts';
import { setSessionCookie } from '../cookies.ts';
import { empty, json, noQuery, problemResponses, sendEmpty } from '../responses.ts';

/** Within a sign-in: proving it again, and ending it. */
export function stepUpRoutes(app: App, context: ServerContext): void {
  const { stepUp } = context.control;
  app.route({
    method: 'POST',
    url: '/auth/step-up/options',
    config: { rate: 'signIn' },
    schema: {
      operationId: 'stepUpOptions',
      summary: 'A challenge for a passkey of the caller',
      tags: ['sign-in'],
      querystring: noQuery,
      response: { 200: json('What the browser needs', schemas.passkeyOptions), ...problemResponses },
    },
    handler: (request) => stepUp.options(callerOf(request)),
  });
  app.route({
    method: 'POST',
    url: '/auth/step-up',
    config: { rate: 'signIn' },
    schema: {
      operationId: 'stepUp',
      summary: 'Prove again who you are; the browser gets another cookie',
      tags: ['sign-in'],
      querystring: noQuery,
      body: schemas.stepUp,
      response: { 204: empty('It is proved'), ...problemResponses },
    },
    handler: async (request, reply) => {
      const { cookie } = await stepUp.prove(callerOf(request), request.body);
      if (cookie !== null)
        setSessionCookie(reply as unknown as FastifyReply, cookie, context.proxies.isSecure(request.raw));
      return sendEmpty(reply, 204);
    },
  });
  app.route({
    method: 'POST',
    url: '/auth/sign-out',
    config: { rate: 'signIn', action: 'account.sign-out' },
    schema: {
      operationId: 'signOut',
      summary: 'End this sign-in, with everything that came from it',
      tags: ['sign-in'],
      querystring: noQuery,
      response: { 204: empty('It has ended'), ...problemResponses },
    },
    handler: async (request, reply) => {
      await stepUp.signOut(callerOf(request));
      setSessionCookie(reply as unknown as FastifyReply, null, context.proxies.isSecure(request.raw));
      return sendEmpty(reply, 204);
    },
  });
}
