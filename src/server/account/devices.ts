import { Fault } from '../../contract/faults.ts';
import { OAuthFault } from '../../contract/oauth.ts';
import * as schemas from '../../contract/oauth-schemas.ts';
import { type App, callerOf, type ServerContext } from '../context.ts';
import { parseForm } from '../oauth/form.ts';
import { empty, json, noQuery, problemResponses, sendEmpty } from '../responses.ts';

const url = '/api/v1/account/devices';

/** The person's answer to a program that sent the browser here (RFC 6749 §4.1.1). */
export function programRoutes(app: App, { control }: ServerContext): void {
  app.route({
    method: 'POST',
    url: '/api/v1/account/programs/approve',
    config: { rate: 'admin', action: 'account.program.approve' },
    schema: {
      operationId: 'answerProgram',
      summary:
        'Let the command line act as yourself, or refuse it; the browser goes back to it with the answer',
      tags: ['account'],
      querystring: noQuery,
      body: schemas.answerProgram,
      response: { 200: json('Where the browser goes', schemas.programAnswered), ...problemResponses },
    },
    handler: async (request) => {
      const { query, decision } = request.body;
      return await control.programs.answer(callerOf(request), { query: formOf(query), decision });
    },
  });
}

function formOf(text: string): ReadonlyMap<string, string> {
  try {
    return parseForm(text);
  } catch (error) {
    if (!(error instanceof OAuthFault)) throw error;
    throw new Fault('request.invalid', { detail: error.description });
  }
}

/** Codes travel in bodies: what stands in a URL is kept in histories. */
export function deviceRoutes(app: App, { control }: ServerContext): void {
  app.route({
    method: 'POST',
    url: `${url}/find`,
    config: { rate: 'admin', action: 'account.device.approve' },
    schema: {
      operationId: 'findDevice',
      summary: 'The device that waits with this code, to be looked at before it is let in',
      tags: ['account'],
      querystring: noQuery,
      body: schemas.findDevice,
      response: { 200: json('The device', schemas.device), ...problemResponses },
    },
    handler: async (request) => await control.devices.find(callerOf(request), request.body.userCode),
  });
  app.route({
    method: 'POST',
    url: `${url}/approve`,
    config: { rate: 'admin', action: 'account.device.approve' },
    schema: {
      operationId: 'answerDevice',
      summary: 'Let the device in as yourself, or refuse it',
      tags: ['account'],
      querystring: noQuery,
      body: schemas.answerDevice,
      response: { 204: empty('It is answered'), ...problemResponses },
    },
    handler: async (request, reply) => {
      await control.devices.answer(callerOf(request), request.body);
      return sendEmpty(reply, 204);
    },
  });
}
