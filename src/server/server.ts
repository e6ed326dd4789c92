import assert from 'node:assert/strict';
import type { Logger } from 'pino';
import { type Clock, systemClock } from '../base/clock.ts';
import { apiLimits, type RateClass } from '../contract/limits.ts';
import type { Control } from '../control/control.ts';
import type { Actor } from '../model/actor.ts';
import { admission } from './admission.ts';
import { buildApp, type RouteLine } from './app.ts';
import { openAttachDoor } from './attach/attach-door.ts';
import type { ServerContext } from './context.ts';
import { openCrossSite } from './cross-site.ts';
import { type Doors, type DoorsOptions, openDoors } from './doors.ts';
import { openInFlight } from './in-flight.ts';
import { type ApiLimits, serverLimits } from './limits.ts';
import { type MachineOptions, openMachineSource } from './machines.ts';
import { type Metrics, openMetrics } from './metrics.ts';
import type { Pages } from './pages.ts';
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
  /** A listener for machines, who prove by a certificate of the built-in authority who they are; none where absent. */
  readonly machines?: MachineOptions | null;
  /** What people open in a browser; none where absent. */
  readonly pages?: Pages;
  readonly clock?: Clock;
};

export type OpenServer = {
  /** `http://host:port`, or `https://…` with TLS, and the port that was taken. */
  readonly address: string;
  readonly port: number;
  /** Of the listener for machines; null without one. */
  readonly machinesAddress: string | null;
  readonly routes: readonly RouteLine[];
  /** Takes less than two seconds: streams are told to come back, idle connections end, others get a moment. */
  close(): Promise<void>;
};

/**
 * Starts the API on TCP, where a token or a cookie says who asks, on the machine's own socket, where nothing has to, and
 * on the listener for machines, where their certificate does.
 */
export async function openServer(options: ServerOptions): Promise<OpenServer> {
  const { control, logger, listen, version, tls = null } = options;
  const clock = options.clock ?? systemClock;
  const limits = checkedLimits({ ...apiLimits, ...options.limits });
  const streams = openStreams({ control, clock, logger });
  const metrics = openMetrics(
    { streams: () => streams.count, attached: () => attach.sockets.count },
    version,
  );
  const rates = ratesOf(options, clock, metrics);
  const proxies = knownProxies(options.trustedProxies ?? []);
  const attach = openAttachDoor({ control, limits, proxies, clock, logger, metrics });
  const context: ServerContext = {
    ...{ control, limits, streams, metrics, logger, version, proxies, rates, attach },
  };
  const requestId = requestIds(clock.now());
  const origins = new Set(options.origins);
  const newRequestId = () => requestId({ headers: {} });
  const doors = await doorsOf(options, { limits, clock, newRequestId, upgrades: attach.upgrades });
  const inFlight = openInFlight();
  const { routes, app } = await buildApp({
    context,
    pages: options.pages ?? null,
    inFlight,
    clock,
    requestId,
    admit: admission({
      control,
      limits,
      rates,
      localOwner: options.identity.localOwner,
      doors,
      proxies,
      crossSite: openCrossSite({ origins, proxies }),
      upgrades: attach.upgrades,
    }),
    makeServer: (handler) => doors.make(handler),
  });
  const { port, machinesPort } = await doors.open();
  const scheme = tls === null ? 'http' : 'https';
  for (const origin of ownOrigins(scheme, listen.host, port)) origins.add(origin);
  let closing: Promise<void> | null = null;
  const close = async () => {
    rates.close();
    streams.close();
    streams.endAll();
    attach.close();
    await doors.close();
    await inFlight.settled(serverLimits.settleMs);
    await app.close();
  };
  const { machines } = options;
  return {
    address: addressOf(scheme, listen.host, port),
    port,
    machinesAddress:
      machinesPort === null ? null : addressOf('https', machines?.listen.host ?? '', machinesPort),
    routes,
    close: () => (closing ??= close()),
  };
}

async function doorsOf(
  options: ServerOptions,
  { clock, ...shared }: Pick<DoorsOptions, 'limits' | 'newRequestId' | 'upgrades'> & { clock: Clock },
): Promise<Doors> {
  const { control, logger, listen, localSocketPath, tls = null, machines = null } = options;
  return openDoors({
    ...{ ...shared, tls, listen, localSocketPath },
    machines:
      machines === null
        ? null
        : {
            listen: machines.listen,
            source: await openMachineSource(machines, { control, clock, logger }),
          },
    connections: openStreams({ control, clock, logger }),
  });
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

function addressOf(scheme: string, host: string, port: number): string {
  return `${scheme}://${bracketed(host)}:${port}`;
}

function bracketed(host: string): string {
  return host.includes(':') ? `[${host}]` : host;
}
