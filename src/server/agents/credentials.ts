import { z } from 'zod';
import * as schemas from '../../contract/agents-schemas.ts';
import { page } from '../../contract/schemas.ts';
import { type App, callerOf, type ServerContext } from '../context.ts';
import { empty, json, noQuery, problemResponses, sendEmpty } from '../responses.ts';

const params = z.strictObject({ id: schemas.agentId });
const url = '/api/v1/agents';

/** What agents and services prove themselves with. */
export function credentialRoutes(app: App, context: ServerContext): void {
  listRoute(app, context);
  addRoutes(app, context);
  certificateRoutes(app, context);
  revokeRoute(app, context);
}

function listRoute(app: App, { control }: ServerContext): void {
  app.route({
    method: 'GET',
    url: `${url}/:id/credentials`,
    config: { rate: 'admin', action: 'agent.read' },
    schema: {
      operationId: 'listAgentCredentials',
      summary: 'What an agent can prove itself with now; secrets are kept nowhere',
      tags: ['agents'],
      params,
      querystring: noQuery,
      response: { 200: json('All of them', page(schemas.agentCredential)), ...problemResponses },
    },
    handler: async (request) => ({
      items: [...(await control.agentCredentials.list(callerOf(request), request.params.id))],
      nextCursor: null,
    }),
  });
}

function addRoutes(app: App, { control }: ServerContext): void {
  app.route({
    method: 'POST',
    url: `${url}/:id/secrets`,
    config: { rate: 'admin', action: 'agent.credential.create' },
    schema: {
      operationId: 'addAgentSecret',
      summary: 'Give an agent a client secret; the answer is the only place where it is ever shown',
      tags: ['agents'],
      params,
      querystring: noQuery,
      body: schemas.addSecret,
      response: { 201: json('The secret', schemas.createdSecret), ...problemResponses },
    },
    handler: async (request, reply) => {
      reply.code(201);
      return await control.agentCredentials.addSecret(callerOf(request), request.params.id, request.body);
    },
  });
  app.route({
    method: 'POST',
    url: `${url}/:id/keys`,
    config: { rate: 'admin', action: 'agent.credential.create' },
    schema: {
      operationId: 'addAgentKey',
      summary: 'Take a public key of an agent, whose private half it signs assertions with (private_key_jwt)',
      tags: ['agents'],
      params,
      querystring: noQuery,
      body: schemas.addKey,
      response: { 201: json('The key', schemas.agentCredential), ...problemResponses },
    },
    handler: async (request, reply) => {
      reply.code(201);
      return await control.agentCredentials.addKey(callerOf(request), request.params.id, request.body);
    },
  });
}

function certificateRoutes(app: App, { control }: ServerContext): void {
  app.route({
    method: 'POST',
    url: `${url}/:id/certificates`,
    config: { rate: 'admin', action: 'agent.credential.create' },
    schema: {
      operationId: 'issueAgentCertificate',
      summary: 'Issue a certificate for a key of an agent, which it proves itself with over mutual TLS',
      tags: ['agents'],
      params,
      querystring: noQuery,
      body: schemas.issueCertificate,
      response: { 201: json('The certificate', schemas.issuedCertificate), ...problemResponses },
    },
    handler: async (request, reply) => {
      reply.code(201);
      const { id } = request.params;
      return await control.agentCredentials.issueCertificate(callerOf(request), id, request.body);
    },
  });
  app.route({
    method: 'POST',
    url: `${url}/self/certificates`,
    config: { rate: 'write' },
    schema: {
      operationId: 'renewAgentCertificate',
      summary:
        'Issue the next certificate to the agent that asks, which proves itself with the one that it has',
      tags: ['agents'],
      querystring: noQuery,
      body: schemas.issueCertificate,
      response: { 201: json('The certificate', schemas.issuedCertificate), ...problemResponses },
    },
    handler: async (request, reply) => {
      reply.code(201);
      return await control.agentCredentials.renewCertificate(callerOf(request), request.body);
    },
  });
}

function revokeRoute(app: App, { control }: ServerContext): void {
  app.route({
    method: 'DELETE',
    url: `${url}/:id/credentials/:credential`,
    config: { rate: 'admin', action: 'agent.credential.revoke' },
    schema: {
      operationId: 'revokeAgentCredential',
      summary: 'Revoke a secret, key or certificate at once, with everything that came from it',
      tags: ['agents'],
      params: params.extend({ credential: schemas.credentialId }),
      querystring: noQuery,
      response: { 204: empty('It is revoked'), ...problemResponses },
    },
    handler: async (request, reply) => {
      const { id, credential } = request.params;
      await control.agentCredentials.revoke(callerOf(request), id, credential);
      return sendEmpty(reply, 204);
    },
  });
}
