import assert from 'node:assert/strict';
import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import type { FastifyBaseLogger, FastifyInstance, FastifyRequest } from 'fastify';
import type { ZodTypeProvider } from 'fastify-type-provider-zod';
import type { Logger } from 'pino';
import type { RateClass } from '../contract/limits.ts';
import type { Caller, Control } from '../control/control.ts';
import type { ActionName } from '../model/actions.ts';
import type { AttachDoor } from './attach/attach-door.ts';
import { type ApiLimits, serverLimits } from './limits.ts';
import type { Metrics } from './metrics.ts';
import type { Proxies } from './proxies.ts';
import type { Rates } from './rates.ts';
import type { Streams } from './streams.ts';

declare module 'fastify' {
  interface FastifyContextConfig {
    /** Answers without authentication. Absent means that it does not. */
    open?: true;
    /** Counted under `default` where absent. */
    rate?: RateClass;
    /** What it does, for the reference and the tests that drive every route: the gate in control decides. */
    action?: ActionName;
    /** Takes upgrades, which present a ticket in place of a credential. */
    upgrade?: true;
  }
  interface FastifyRequest {
    caller: Caller | null;
  }
}

export type App = FastifyInstance<
  Server,
  IncomingMessage,
  ServerResponse,
  FastifyBaseLogger,
  ZodTypeProvider
>;

/** What every route may use. */
export type ServerContext = {
  readonly control: Control;
  readonly limits: ApiLimits;
  readonly streams: Streams;
  readonly metrics: Metrics;
  readonly logger: Logger;
  readonly version: string;
  readonly proxies: Proxies;
  readonly rates: Rates;
  readonly attach: AttachDoor;
};

/** Who asks, on every route that is not open: admission put it there before the handler ran. */
export function callerOf(request: Pick<FastifyRequest, 'caller'>): Caller {
  assert(request.caller !== null, 'a route that is not open runs only for a caller');
  return request.caller;
}

/** Where a request comes from; on routes that are open nobody else is known. */
export function askedOf(
  request: Pick<FastifyRequest, 'id' | 'headers' | 'raw'>,
  { proxies }: Pick<ServerContext, 'proxies'>,
): Caller['request'] {
  const userAgent = request.headers['user-agent'];
  return {
    id: request.id,
    address: proxies.addressOf(request.raw),
    userAgent: userAgent === undefined ? null : userAgent.slice(0, serverLimits.userAgentCharactersMax),
  };
}
