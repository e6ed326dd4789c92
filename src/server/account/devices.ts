import * as schemas from '../../contract/oauth-schemas.ts';
import { type App, callerOf, type ServerContext } from '../context.ts';
import { empty, json, noQuery, problemResponses, sendEmpty } from '../responses.ts';

const url = '/api/v1/account/devices';

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
