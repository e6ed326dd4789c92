import type { FastifyReply, FastifyRequest } from 'fastify';
import type { SignInAnswer } from '../../contract/sign-in-schemas.ts';
import * as schemas from '../../contract/sign-in-schemas.ts';
import type { SignInResult } from '../../control/identity/sign-in-parts.ts';
import { type App, askedOf, type ServerContext } from '../context.ts';
import { setSessionCookie } from '../cookies.ts';
import { json, noQuery, problemResponses } from '../responses.ts';

/** Open to whoever comes: nobody is known here yet. Counted by address, tighter than everything else. */
const open = { open: true, rate: 'signIn' } as const;

function described(operationId: string, summary: string) {
  return { operationId, summary, tags: ['sign-in'], querystring: noQuery, security: [] };
}

const answered = {
  200: json('Signed in, with the cookie; or what is due next', schemas.signInAnswer),
  ...problemResponses,
};
const options = { 200: json('What the browser needs', schemas.passkeyOptions), ...problemResponses };

export function signInRoutes(app: App, context: ServerContext): void {
  passwordRoutes(app, context);
  passkeyRoutes(app, context);
  handedRoutes(app, context);
  passwordResetRoutes(app, context);
  enrollmentRoutes(app, context);
}

/** Every success comes with a cookie that nobody knew before, whatever cookie there was. */
function answerWith(
  { proxies }: ServerContext,
  reply: object,
  request: Pick<FastifyRequest, 'raw'>,
  { answer, cookie }: SignInResult,
): SignInAnswer {
  if (cookie !== null) setSessionCookie(reply as FastifyReply, cookie, proxies.isSecure(request.raw));
  return answer;
}

function passwordRoutes(app: App, context: ServerContext): void {
  const { signIn } = context.control;
  app.route({
    method: 'GET',
    url: '/auth/methods',
    config: { open: true },
    schema: {
      ...described('signInMethods', 'The ways of signing in'),
      response: { 200: json('The ways', schemas.signInMethods), ...problemResponses },
    },
    handler: () => signIn.methods(),
  });
  app.route({
    method: 'POST',
    url: '/auth/password',
    config: open,
    schema: {
      ...described('signInWithPassword', 'Sign in with a name and a password'),
      body: schemas.signInWithPassword,
      response: answered,
    },
    handler: async (request, reply) =>
      answerWith(context, reply, request, await signIn.password(askedOf(request, context), request.body)),
  });
  app.route({
    method: 'POST',
    url: '/auth/totp',
    config: open,
    schema: {
      ...described('signInWithCode', 'Go on with a code of an authenticator app'),
      body: schemas.signInWithCode,
      response: answered,
    },
    handler: async (request, reply) =>
      answerWith(context, reply, request, await signIn.totp(askedOf(request, context), request.body)),
  });
  app.route({
    method: 'POST',
    url: '/auth/recovery-code',
    config: open,
    schema: {
      ...described('signInWithRecoveryCode', 'Go on with a recovery code, which works once'),
      body: schemas.signInWithRecoveryCode,
      response: answered,
    },
    handler: async (request, reply) =>
      answerWith(context, reply, request, await signIn.recoveryCode(askedOf(request, context), request.body)),
  });
}

function passkeyRoutes(app: App, context: ServerContext): void {
  const { signIn } = context.control;
  app.route({
    method: 'POST',
    url: '/auth/passkey/options',
    config: open,
    schema: { ...described('signInPasskeyOptions', 'A challenge for a passkey'), response: options },
    handler: () => signIn.passkeyOptions(),
  });
  app.route({
    method: 'POST',
    url: '/auth/passkey/verify',
    config: open,
    schema: {
      ...described('signInWithPasskey', 'Sign in with a passkey, which needs no name'),
      body: schemas.signInWithPasskey,
      response: answered,
    },
    handler: async (request, reply) =>
      answerWith(
        context,
        reply,
        request,
        await signIn.passkey(askedOf(request, context), request.body.answer),
      ),
  });
}

/** What somebody else handed out: a ticket, or an invitation. */
function handedRoutes(app: App, context: ServerContext): void {
  const { signIn, invitations } = context.control;
  app.route({
    method: 'POST',
    url: '/auth/ticket',
    config: open,
    schema: {
      ...described('signInWithTicket', 'Exchange a ticket for a sign-in, once'),
      body: schemas.signInWithTicket,
      response: answered,
    },
    handler: async (request, reply) =>
      answerWith(
        context,
        reply,
        request,
        await signIn.ticket(askedOf(request, context), request.body.ticket),
      ),
  });
  app.route({
    method: 'POST',
    url: '/auth/invitations/look',
    config: open,
    schema: {
      ...described('lookAtInvitation', 'What an invitation is for'),
      body: schemas.lookAtInvitation,
      response: { 200: json('The invitation', schemas.invitationSeen), ...problemResponses },
    },
    handler: (request) => invitations.look(askedOf(request, context), request.body.invitation),
  });
  app.route({
    method: 'POST',
    url: '/auth/invitations/accept',
    config: open,
    schema: {
      ...described('acceptInvitation', 'Become a user, once an invitation'),
      body: schemas.acceptInvitation,
      response: answered,
    },
    handler: async (request, reply) =>
      answerWith(context, reply, request, await invitations.accept(askedOf(request, context), request.body)),
  });
}

/** The link of an administrator for whoever forgot the password. */
function passwordResetRoutes(app: App, context: ServerContext): void {
  const { passwordResets } = context.control;
  app.route({
    method: 'POST',
    url: '/auth/password-resets/look',
    config: open,
    schema: {
      ...described('lookAtPasswordReset', 'Whose password a link is for'),
      body: schemas.lookAtPasswordReset,
      response: { 200: json('The link', schemas.passwordResetSeen), ...problemResponses },
    },
    handler: (request) => passwordResets.look(askedOf(request, context), request.body.reset),
  });
  app.route({
    method: 'POST',
    url: '/auth/password-resets/accept',
    config: open,
    schema: {
      ...described('acceptPasswordReset', 'Choose another password, once a link, and go on as after it'),
      body: schemas.acceptPasswordReset,
      response: answered,
    },
    handler: async (request, reply) =>
      answerWith(
        context,
        reply,
        request,
        await passwordResets.accept(askedOf(request, context), request.body),
      ),
  });
}

/** For whom the role demands a second factor and who has none; the continuation says who. */
function enrollmentRoutes(app: App, context: ServerContext): void {
  const { enrollment } = context.control.signIn;
  app.route({
    method: 'POST',
    url: '/auth/enrollment/totp',
    config: open,
    schema: {
      ...described('enrollTotp', 'A secret for an authenticator app, before a first sign-in'),
      body: schemas.continuation,
      response: { 200: json('The secret', schemas.totpEnrollment), ...problemResponses },
    },
    handler: (request) => enrollment.totp(askedOf(request, context), request.body.continuation),
  });
  app.route({
    method: 'POST',
    url: '/auth/enrollment/totp/confirm',
    config: open,
    schema: {
      ...described('confirmEnrolledTotp', 'Prove the authenticator app, and sign in'),
      body: schemas.signInWithCode,
      response: answered,
    },
    handler: async (request, reply) =>
      answerWith(
        context,
        reply,
        request,
        await enrollment.confirmTotp(askedOf(request, context), request.body),
      ),
  });
  app.route({
    method: 'POST',
    url: '/auth/enrollment/passkey/options',
    config: open,
    schema: {
      ...described('enrollPasskeyOptions', 'A challenge for a new passkey, before a first sign-in'),
      body: schemas.continuation,
      response: options,
    },
    handler: (request) => enrollment.passkeyOptions(askedOf(request, context), request.body.continuation),
  });
  app.route({
    method: 'POST',
    url: '/auth/enrollment/passkey',
    config: open,
    schema: {
      ...described('enrollPasskey', 'Keep a new passkey, and sign in'),
      body: schemas.enrollPasskey,
      response: answered,
    },
    handler: async (request, reply) =>
      answerWith(context, reply, request, await enrollment.passkey(askedOf(request, context), request.body)),
  });
}
