import assert from 'node:assert/strict';
import type { Socket } from 'node:net';
import type { Logger } from 'pino';
import { type Clock, systemClock } from '../base/clock.ts';
import { apiLimits, type RateClass } from '../contract/limits.ts';
import type { Control } from '../control/control.ts';
import type { Actor } from '../model/actor.ts';
import { admission } from './admission.ts';
import { buildApp, type RouteLine } from './app.ts';
import type { ServerContext } from './context.ts';
import { openCrossSite } from './cross-site.ts';
import { openInFlight } from './in-flight.ts';
import { type ApiLimits, serverLimits } from './limits.ts';
import { createListener, type Listener, listenLocal, listenTcp } from './listeners.ts';
import { type Metrics, openMetrics } from './metrics.ts';
import { knownProxies } from './proxies.ts';
import { openRates, type Rates, type SharedCounts } from './rates.ts';
import { requestIds } from './request-id.ts';
import { openStreams } from './streams.ts';
import type { TlsSource } from './tls.ts';

export type ServerOptions = {
  readonly control: Control;
  readonly logger: Logger;
  /** Port 0 takes a free one. */
  readonly listen: { readonly host: string; readonly port: number };
  /** A Unix socket of mode 0600; whoever can open it is `identity.localOwner`. Null for none. */
  readonly localSocketPath: string | null;
  readonly identity: { readonly localOwner: Actor };
  readonly version: string;
  readonly limits?: Partial<ApiLimits>;
  /** Requests a minute; at least 1. */
  readonly rateLimits?: Partial<Record<RateClass, number>>;
  /** Where what is counted is shared with other processes; this one counts alone where absent. */
  readonly sharedCounts?: SharedCounts | null;
  /** Origins besides the listener's own from which browsers may change things. */
  readonly origins?: readonly string[];
  /** Addresses and CIDR ranges of proxies in front, whose X-Forwarded-* is believed; none where absent. */
  readonly trustedProxies?: readonly string[];
  /** What `listen` speaks TLS with; plain HTTP where absent. */
  readonly tls?: TlsSource | null;
  readonly clock?: Clock;
};

export type OpenServer = {
  /** `http://host:port`, or `https://…` with TLS, and the port that was taken. */
  readonly address: string;
  readonly port: number;
  readonly routes: readonly RouteLine[];
  /** Takes less than two seconds: streams are told to come back, idle connections end, others get a moment. */
  close(): Promise<void>;
};

/** Starts the API on TCP, where a bearer token says who asks, and on the machine's own socket, where none is needed. */
export async function openServer(options: ServerOptions): Promise<OpenServer> {
  const { control, logger, listen, version, tls = null } = options;
  const clock = options.clock ?? systemClock;
  const limits = checkedLimits({ ...apiLimits, ...options.limits });
  const streams = openStreams({ control, clock, logger });
  const metrics = openMetrics(() => streams.count, version);
  const rates = ratesOf(options, clock, metrics);
  const proxies = knownProxies(options.trustedProxies ?? []);
  const context: ServerContext = { control, limits, streams, metrics, logger, version, proxies };
  const requestId = requestIds(clock.now());
  const newRequestId = () => requestId({ headers: {} });
  const localSockets = new WeakSet<Socket>();
  const origins = new Set(options.origins);
  const listeners: Listener[] = [];
  const inFlight = openInFlight();
  const { routes, app } = await buildApp({
    context,
    inFlight,
    clock,
    requestId,
    admit: admission({
      control,
      limits,
      rates,
      localOwner: options.identity.localOwner,
      isLocal: (request) => localSockets.has(request.raw.socket),
      proxies,
      crossSite: openCrossSite({ origins, proxies }),
    }),
    makeServer: (handler) => {
      const tcp = createListener(handler, { limits, newRequestId, tls });
      const local = createListener(handler, { limits, newRequestId, tls: null });
      local.server.on('connection', (socket) => localSockets.add(socket));
      listeners.push(tcp, local);
      return tcp.server;
    },
  });
  const port = await listenAll(listeners, options);
  const scheme = tls === null ? 'http' : 'https';
  for (const origin of ownOrigins(scheme, listen.host, port)) origins.add(origin);
  let closing: Promise<void> | null = null;
  const close = async () => {
    rates.close();
    streams.close();
    streams.endAll();
    await Promise.all(listeners.map((listener) => listener.close()));
    await inFlight.settled(serverLimits.settleMs);
    await app.close();
  };
  return {
    address: `${scheme}://${bracketed(listen.host)}:${port}`,
    port,
    routes,
    close: () => (closing ??= close()),
  };
}

function ratesOf(options: ServerOptions, clock: Clock, metrics: Metrics): Rates {
  return openRates({
    perMinute: options.rateLimits ?? {},
    clock,
    shared: options.sharedCounts ?? null,
    onRefused: metrics.rateRefused,
    onError: (error) => options.logger.warn({ err: error }, 'requests are counted by this process alone'),
  });
}

async function listenAll([tcp, local]: Listener[], options: ServerOptions): Promise<number> {
  assert(tcp !== undefined && local !== undefined);
  const port = await listenTcp(tcp.server, options.listen.host, options.listen.port);
  if (options.localSocketPath === null) return port;
  try {
    await listenLocal(local.server, options.localSocketPath);
  } catch (error) {
    await tcp.close();
    throw error;
  }
  return port;
}

function checkedLimits(limits: ApiLimits): ApiLimits {
  for (const [name, value] of Object.entries(limits))
    assert(Number.isSafeInteger(value) && value >= 1, `the limit ${name} is a whole number of at least 1`);
  assert(limits.heartbeatMs < limits.idleTimeoutMs, 'heartbeatMs is less than idleTimeoutMs');
  return limits;
}

/** Never taken from the Host header: a name that an attacker points here would make its own page "own". */
function ownOrigins(scheme: string, host: string, port: number): string[] {
  return ['127.0.0.1', 'localhost', '[::1]', bracketed(host)].map(
    (name) => new URL(`${scheme}://${name}:${port}`).origin,
  );
}

function bracketed(host: string): string {
  return host.includes(':') ? `[${host}]` : host;
}
