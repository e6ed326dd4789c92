import type { FastifyReply, FastifyRequest } from 'fastify';
import { z } from 'zod';
import { attachProtocol } from '../../contract/attach.ts';
import { Fault } from '../../contract/faults.ts';
import * as schemas from '../../contract/schemas.ts';
import type { AttachUseCases } from '../../control/attach/attach.ts';
import type { RunId } from '../../model/ids.ts';
import { parseBearer } from '../admission.ts';
import { type App, askedOf, callerOf, type ServerContext } from '../context.ts';
import { empty, problemResponses } from '../responses.ts';
import { presentedTicket } from './upgrade-request.ts';

const query = z.strictObject({
  from: z
    .string()
    .regex(/^\d{1,16}$/)
    .transform(Number)
    .refine(Number.isSafeInteger)
    .optional()
    .meta({ description: 'Goes on behind this many bytes of output, where they are still there' }),
});

/** The one route whose answer can be another protocol. */
export function upgradeRoute(app: App, context: ServerContext): void {
  app.route({
    method: 'GET',
    url: '/api/v1/runs/:id/attach',
    config: { action: 'attach.view', upgrade: true },
    schema: {
      operationId: 'attach',
      summary: 'A WebSocket to what a ticket is for: a terminal, a command or a port',
      description:
        `An upgrade (RFC 6455) with the protocol \`${attachProtocol}\` and a ticket, presented once: as ` +
        '`Authorization: Bearer TICKET`, or as one more protocol `sealwright.ticket.TICKET`. docs/reference/attach.md ' +
        'describes the frames. Without an upgrade it is answered 426.',
      tags: ['attach'],
      params: z.strictObject({ id: schemas.runId }),
      querystring: query,
      response: { 101: empty('The connection speaks the attach protocol from now on'), ...problemResponses },
    },
    handler: async (request, reply) => {
      const { id } = request.params;
      await upgrade(
        request,
        reply as unknown as FastifyReply,
        { run: id, from: request.query.from ?? null },
        context,
      );
    },
  });
}

async function upgrade(
  request: Pick<FastifyRequest, 'id' | 'headers' | 'raw' | 'caller'>,
  reply: FastifyReply,
  { run, from }: { run: RunId; from: number | null },
  context: ServerContext,
): Promise<void> {
  const { attach } = context;
  const offer = attach.upgrades.offerOf(request.raw);
  if (offer === null) {
    // To whoever may not see the run it is not there, whatever is asked.
    await context.control.runs.get(callerOf(request), run);
    throw new Fault('request.upgrade', {
      detail: 'This is a WebSocket: ask for a ticket at …/attach-tickets, and upgrade with it.',
    });
  }
  const ticket = presentedTicket(request.raw, parseBearer);
  if (ticket === null)
    throw new Fault('auth.missing', { detail: 'Send a ticket as `Authorization: Bearer TICKET`.' });
  const asked = askedOf(request, context);
  attach.redeeming(request.raw);
  const redeemed = await redeem({ run, ticket, from, request: asked }, context);
  reply.hijack();
  reply.raw.statusCode = 101;
  attach.upgrades.accepted(request.raw);
  attach.sockets.open(request.raw, offer, redeemed);
}

/** Like every other credential: whoever guesses is slowed, and whoever holds one is not. */
async function redeem(
  upgrade: Parameters<AttachUseCases['redeem']>[0],
  { control, rates }: ServerContext,
): ReturnType<AttachUseCases['redeem']> {
  try {
    return await control.attach.redeem(upgrade);
  } catch (refusal) {
    if (refusal instanceof Fault && refusal.code === 'auth.invalid')
      await rates.ofAddress('signIn', upgrade.request.address);
    throw refusal;
  }
}
