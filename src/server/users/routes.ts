import { z } from 'zod';
import { ended } from '../../contract/account-schemas.ts';
import { page } from '../../contract/schemas.ts';
import { userName } from '../../contract/sign-in-schemas.ts';
import * as schemas from '../../contract/user-schemas.ts';
import { type App, callerOf, type ServerContext } from '../context.ts';
import { etagOf, requiredVersion } from '../preconditions.ts';
import { empty, ifMatchHeader, json, noQuery, problemResponses, sendEmpty } from '../responses.ts';

const url = '/api/v1/users';
const params = z.strictObject({ name: userName });
const answered = { 200: json('The user', schemas.user), ...problemResponses };

function described(operationId: string, summary: string) {
  return { operationId, summary, tags: ['users'], querystring: noQuery };
}

export function userRoutes(app: App, context: ServerContext): void {
  const { users } = context.control;
  app.route({
    method: 'GET',
    url,
    config: { rate: 'admin', action: 'user.list' },
    schema: {
      ...described('listUsers', 'Everybody who may sign in, or could'),
      querystring: schemas.userQuery,
      response: { 200: json('A page', page(schemas.user)), ...problemResponses },
    },
    handler: async (request) => {
      const { items, nextCursor } = await users.list(callerOf(request), request.query);
      return { items: [...items], nextCursor };
    },
  });
  app.route({
    method: 'GET',
    url: `${url}/:name`,
    config: { action: 'user.read' },
    schema: { ...described('getUser', 'One user'), params, response: answered },
    handler: async (request, reply) => {
      const { view, version } = await users.get(callerOf(request), request.params.name);
      reply.header('etag', etagOf(version));
      return view;
    },
  });
  app.route({
    method: 'PATCH',
    url: `${url}/:name`,
    config: { rate: 'admin', action: 'user.update' },
    schema: {
      ...described('updateUser', 'Change role, eligible roles, display name or e-mail address'),
      params,
      headers: ifMatchHeader,
      body: schemas.updateUser,
      response: answered,
    },
    handler: async (request, reply) => {
      const version = requiredVersion(request.raw.headers);
      const updated = await users.update(callerOf(request), request.params.name, request.body, version);
      reply.header('etag', etagOf(updated.version));
      return updated.view;
    },
  });
  app.route({
    method: 'DELETE',
    url: `${url}/:name`,
    config: { rate: 'admin', action: 'user.remove' },
    schema: {
      ...described('removeUser', 'Remove a user for ever; nobody has the name again'),
      params,
      response: { 204: empty('It is removed'), ...problemResponses },
    },
    handler: async (request, reply) => {
      await users.remove(callerOf(request), request.params.name);
      return sendEmpty(reply, 204);
    },
  });
  actRoutes(app, context);
  passwordResetRoute(app, context);
}

function actRoutes(app: App, { control: { users } }: ServerContext): void {
  app.route({
    method: 'POST',
    url: `${url}/:name/disable`,
    config: { rate: 'admin', action: 'user.disable' },
    schema: {
      ...described('disableUser', 'Stop a user, everywhere and at once'),
      params,
      response: answered,
    },
    handler: (request) => users.disable(callerOf(request), request.params.name),
  });
  app.route({
    method: 'POST',
    url: `${url}/:name/enable`,
    config: { rate: 'admin', action: 'user.update' },
    schema: { ...described('enableUser', 'Let a disabled user sign in again'), params, response: answered },
    handler: (request) => users.enable(callerOf(request), request.params.name),
  });
  app.route({
    method: 'POST',
    url: `${url}/:name/reset-mfa`,
    config: { rate: 'admin', action: 'user.reset-mfa' },
    schema: {
      ...described('resetMfa', 'Remove all second factors of a user, and end its sign-ins'),
      params,
      response: answered,
    },
    handler: (request) => users.resetMfa(callerOf(request), request.params.name),
  });
  app.route({
    method: 'POST',
    url: `${url}/:name/sign-out`,
    config: { rate: 'admin', action: 'user.sign-out' },
    schema: {
      ...described('signOutUser', 'End all sign-ins of a user'),
      params,
      response: { 200: json('How many have ended', ended), ...problemResponses },
    },
    handler: async (request) => ({ ended: await users.signOut(callerOf(request), request.params.name) }),
  });
  app.route({
    method: 'POST',
    url: `${url}/:name/tickets`,
    config: { rate: 'admin', action: 'user.ticket' },
    schema: {
      ...described('makeTicket', 'A ticket that signs the user in, once, within two minutes'),
      params,
      response: { 201: json('The ticket, shown this once', schemas.ticket), ...problemResponses },
    },
    handler: async (request, reply) => {
      reply.code(201);
      return await users.ticket(callerOf(request), request.params.name);
    },
  });
}

function passwordResetRoute(app: App, { control: { passwordResets } }: ServerContext): void {
  app.route({
    method: 'POST',
    url: `${url}/:name/password-resets`,
    config: { rate: 'admin', action: 'user.reset-password' },
    schema: {
      ...described('makePasswordReset', 'A link by which the user chooses another password, once'),
      params,
      body: schemas.createPasswordReset,
      response: { 201: json('The link, shown this once', schemas.passwordReset), ...problemResponses },
    },
    handler: async (request, reply) => {
      reply.code(201);
      return await passwordResets.create(callerOf(request), request.params.name, request.body);
    },
  });
}
