import { Resolver } from 'node:dns/promises';
import { connect, type LookupFunction, type Socket } from 'node:net';
import { networkInterfaces } from 'node:os';
import { createSecureContext, getCACertificates, type SecureContext } from 'node:tls';
import type { Clock } from '../base/clock.ts';
import { type Cidr, formatAddress, type IpAddress, parseAddress } from '../model/ip-address.ts';
import { gatewayLimits } from './limits.ts';
import { tlsTaken } from './tls/sandbox-tls.ts';

export type Upstreams = {
  /** The addresses of a name, from the host's resolvers and nowhere else; none where it has none. Never rejects. */
  resolve(name: string): Promise<readonly IpAddress[]>;
  /** A connection to one of these addresses, which were all checked; no name is looked up here. Null where none answers. */
  dial(addresses: readonly IpAddress[], port: number): Promise<{ socket: Socket; address: IpAddress } | null>;
  /** This host's own addresses. */
  own(): readonly Cidr[];
  /** The authorities that upstreams' certificates are verified with. */
  roots(): SecureContext;
};

/** `resolvers` as in the setting of that name; `authorities` are PEM certificates besides those of the system. */
export function openUpstreams(
  clock: Clock,
  { resolvers, authorities }: { resolvers: readonly string[]; authorities: readonly string[] },
): Upstreams {
  const resolver = new Resolver({
    timeout: gatewayLimits.resolveTimeoutMs,
    tries: gatewayLimits.resolveTries,
  });
  if (resolvers.length > 0) resolver.setServers(resolvers);
  const resolved = new Map<string, { until: number; addresses: Promise<readonly IpAddress[]> }>();
  let roots: SecureContext | null = null;
  let own: { until: number; cidrs: readonly Cidr[] } = { until: 0, cidrs: [] };
  return {
    resolve(name) {
      const known = resolved.get(name);
      if (known !== undefined && known.until > clock.monotonic()) return known.addresses;
      if (resolved.size >= gatewayLimits.resolvedNamesMax) resolved.clear();
      const looked = lookUp(resolver, name);
      const entry = { until: Number.POSITIVE_INFINITY, addresses: looked.then(({ addresses }) => addresses) };
      resolved.set(name, entry);
      void looked.then(({ keptMs }) => {
        entry.until = clock.monotonic() + keptMs;
      });
      return entry.addresses;
    },
    dial,
    own() {
      if (own.until <= clock.monotonic())
        own = { until: clock.monotonic() + gatewayLimits.ownAddressesMs, cidrs: ownAddresses() };
      return own.cidrs;
    },
    roots() {
      // Read when first needed: it takes 80 ms, and most gateways start without.
      roots ??= createSecureContext({ ca: [...systemRoots(), ...authorities], ...tlsTaken });
      return roots;
    },
  };
}

/** Those of the machine, or those that Node brings where it has none. */
function systemRoots(): string[] {
  const system = new Set(getCACertificates('system'));
  return system.size > 0 ? [...system] : getCACertificates('bundled');
}

async function lookUp(resolver: Resolver, name: string): Promise<{ addresses: IpAddress[]; keptMs: number }> {
  const [six, four] = await Promise.all([
    resolver.resolve6(name, { ttl: true }).catch(() => []),
    resolver.resolve4(name, { ttl: true }).catch(() => []),
  ]);
  const records = [...six, ...four];
  const keptMost = records.length === 0 ? gatewayLimits.resolvedNoneMs : gatewayLimits.resolvedMostMs;
  return {
    addresses: records.map(({ address }) => parseAddress(address)).filter((address) => address !== null),
    keptMs: Math.min(...records.map(({ ttl }) => ttl * 1000), keptMost),
  };
}

/** Both families side by side where there are both (RFC 8305). The lookup only says what was looked up before. */
async function dial(
  addresses: readonly IpAddress[],
  port: number,
): Promise<{ socket: Socket; address: IpAddress } | null> {
  const choices = addresses.map((address) => ({ address: formatAddress(address), family: address.family }));
  const lookup: LookupFunction = (_host, _options, found) => found(null, choices);
  const socket = connect({
    host: 'pinned.invalid',
    port,
    lookup,
    autoSelectFamily: true,
    autoSelectFamilyAttemptTimeout: gatewayLimits.nextAddressMs,
    allowHalfOpen: true,
    noDelay: true,
    keepAlive: true,
  });
  const connected = await new Promise<boolean>((resolve) => {
    const timer = setTimeout(() => resolve(false), gatewayLimits.connectMs);
    const settle = (result: boolean) => {
      clearTimeout(timer);
      resolve(result);
    };
    socket.once('connect', () => settle(true));
    socket.on('error', () => settle(false));
  });
  const reached = choices.findIndex(({ address }) => address === socket.remoteAddress);
  if (connected && reached >= 0) return { socket, address: addresses[reached]! };
  socket.destroy();
  return null;
}

function ownAddresses(): Cidr[] {
  return Object.values(networkInterfaces())
    .flatMap((entries) => entries ?? [])
    .map(({ address }) => parseAddress(address.split('%')[0]!))
    .filter((address) => address !== null)
    .map((address) => ({ address, prefix: address.bytes.length * 8 }));
}
