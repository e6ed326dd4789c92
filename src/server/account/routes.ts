import { z } from 'zod';
import * as schemas from '../../contract/account-schemas.ts';
import { page, pageQuery } from '../../contract/schemas.ts';
import { passkeyOptions, totpEnrollment } from '../../contract/sign-in-schemas.ts';
import { type App, callerOf, type ServerContext } from '../context.ts';
import { empty, json, noQuery, problemResponses, sendEmpty } from '../responses.ts';

const url = '/api/v1/account';

function described(operationId: string, summary: string) {
  return { operationId, summary, tags: ['account'], querystring: noQuery };
}

/** The caller's own account, for people who signed in. */
export function accountRoutes(app: App, context: ServerContext): void {
  const { account } = context.control;
  app.route({
    method: 'GET',
    url,
    config: { action: 'account.read' },
    schema: {
      ...described('getAccount', 'Who the caller is, and what protects the account'),
      response: { 200: json('The account', schemas.account), ...problemResponses },
    },
    handler: (request) => account.read(callerOf(request)),
  });
  app.route({
    method: 'PUT',
    url: `${url}/password`,
    config: { rate: 'signIn', action: 'account.password' },
    schema: {
      ...described('changePassword', 'Change the password; all other sign-ins end'),
      body: schemas.changePassword,
      response: { 204: empty('It is changed'), ...problemResponses },
    },
    handler: async (request, reply) => {
      await account.changePassword(callerOf(request), request.body);
      return sendEmpty(reply, 204);
    },
  });
  app.route({
    method: 'POST',
    url: `${url}/recovery-codes`,
    config: { rate: 'signIn', action: 'account.recovery-codes' },
    schema: {
      ...described('renewRecoveryCodes', 'New recovery codes in place of all there were; shown this once'),
      response: { 200: json('The codes', schemas.recoveryCodes), ...problemResponses },
    },
    handler: (request) => account.renewRecoveryCodes(callerOf(request)),
  });
  totpRoutes(app, context);
  passkeyRoutes(app, context);
  signInRoutes(app, context);
}

function totpRoutes(app: App, { control: { account } }: ServerContext): void {
  app.route({
    method: 'POST',
    url: `${url}/totp`,
    config: { rate: 'signIn', action: 'account.mfa.enroll' },
    schema: {
      ...described(
        'beginTotp',
        'A secret for an authenticator app; counts for nothing before it is confirmed',
      ),
      response: { 200: json('The secret', totpEnrollment), ...problemResponses },
    },
    handler: (request) => account.beginTotp(callerOf(request)),
  });
  app.route({
    method: 'POST',
    url: `${url}/totp/confirm`,
    config: { rate: 'signIn', action: 'account.mfa.enroll' },
    schema: {
      ...described('confirmTotp', 'Prove the authenticator app with a code'),
      body: schemas.confirmTotp,
      response: {
        200: json('It is enrolled; with recovery codes where there were none', schemas.enrolled),
        ...problemResponses,
      },
    },
    handler: (request) => account.confirmTotp(callerOf(request), request.body.code),
  });
  app.route({
    method: 'DELETE',
    url: `${url}/totp`,
    config: { rate: 'signIn', action: 'account.mfa.remove' },
    schema: {
      ...described('removeTotp', 'Remove the authenticator app'),
      response: { 204: empty('It is removed'), ...problemResponses },
    },
    handler: async (request, reply) => {
      await account.removeTotp(callerOf(request));
      return sendEmpty(reply, 204);
    },
  });
}

function passkeyRoutes(app: App, { control: { account } }: ServerContext): void {
  app.route({
    method: 'POST',
    url: `${url}/passkeys/options`,
    config: { rate: 'signIn', action: 'account.mfa.enroll' },
    schema: {
      ...described('passkeyOptions', 'A challenge for a new passkey'),
      response: { 200: json('What the browser needs', passkeyOptions), ...problemResponses },
    },
    handler: (request) => account.passkeyOptions(callerOf(request)),
  });
  app.route({
    method: 'POST',
    url: `${url}/passkeys`,
    config: { rate: 'signIn', action: 'account.mfa.enroll' },
    schema: {
      ...described('addPasskey', 'Keep a new passkey'),
      body: schemas.addPasskey,
      response: {
        201: json('It is kept; with recovery codes where there were none', schemas.addedPasskey),
        ...problemResponses,
      },
    },
    handler: async (request, reply) => {
      reply.code(201);
      return await account.addPasskey(callerOf(request), request.body);
    },
  });
  app.route({
    method: 'DELETE',
    url: `${url}/passkeys/:id`,
    config: { rate: 'signIn', action: 'account.mfa.remove' },
    schema: {
      ...described('removePasskey', 'Remove a passkey'),
      params: z.strictObject({ id: schemas.passkeyId }),
      response: { 204: empty('It is removed'), ...problemResponses },
    },
    handler: async (request, reply) => {
      await account.removePasskey(callerOf(request), request.params.id);
      return sendEmpty(reply, 204);
    },
  });
}

function signInRoutes(app: App, { control: { account } }: ServerContext): void {
  app.route({
    method: 'GET',
    url: `${url}/sign-ins`,
    config: { action: 'account.sign-in.list' },
    schema: {
      ...described('listSignIns', 'Where the caller is signed in'),
      querystring: pageQuery,
      response: { 200: json('A page', page(schemas.signIn)), ...problemResponses },
    },
    handler: async (request) => {
      const { items, nextCursor } = await account.signIns(callerOf(request), request.query);
      return { items: [...items], nextCursor };
    },
  });
  app.route({
    method: 'DELETE',
    url: `${url}/sign-ins`,
    config: { rate: 'write', action: 'account.sign-out' },
    schema: {
      ...described('endSignIns', 'End all other sign-ins of the caller, or with `everywhere` this one too'),
      querystring: z.strictObject({ everywhere: z.enum(['true', 'false']).optional() }),
      response: { 200: json('How many have ended', schemas.ended), ...problemResponses },
    },
    handler: async (request) => {
      const everywhere = request.query.everywhere === 'true';
      return { ended: await account.endSignIns(callerOf(request), { everywhere }) };
    },
  });
  app.route({
    method: 'DELETE',
    url: `${url}/sign-ins/:id`,
    config: { rate: 'write', action: 'account.sign-out' },
    schema: {
      ...described('endSignIn', 'End one sign-in of the caller'),
      params: z.strictObject({ id: schemas.signInId }),
      response: { 204: empty('It has ended'), ...problemResponses },
    },
    handler: async (request, reply) => {
      await account.endSignIn(callerOf(request), request.params.id);
      return sendEmpty(reply, 204);
    },
  });
}
