import { gatewayAddress } from '../../model/gateway-address.ts';
import { canonicalHost } from '../../model/host-name.ts';
import { parseAddress, unmapped } from '../../model/ip-address.ts';
import type { Destination, SandboxDoor } from '../sandbox-door.ts';

const here = parseAddress(gatewayAddress)!;

/**
 * What a program means that names its destination to a proxy: what it would have connected to by that name or address.
 * An address that stands for a name in the sandbox is that name, as programs that look names up themselves need it.
 * Null for what is neither a name nor an address in its one spelling.
 */
export function namedDestination(door: SandboxDoor, text: string, port: number): Destination | null {
  const literal = parseAddress(text);
  if (literal !== null) return door.destination(unmapped(literal), port);
  const host = canonicalHost(text);
  return host === null ? null : { host, address: here, port };
}

/** A proxy as a destination, for the record of what was refused before it named another one. */
export function proxyItself(port: number): Destination {
  return { host: null, address: here, port };
}
