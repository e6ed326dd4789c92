import assert from 'node:assert/strict';
import type { IncomingMessage } from 'node:http';
import { BlockList, isIP } from 'node:net';

type Request = Pick<IncomingMessage, 'headers'> & {
  readonly socket: { readonly remoteAddress?: string | undefined };
};

/** What the proxies in front say of a request; `X-Forwarded-*` of anybody else is not looked at. */
export type Proxies = {
  /** Where the request comes from: the nearest address that is no trusted proxy. Null on the machine's own socket. */
  addressOf(request: Request): string | null;
  /** The origin that browsers see in front of the proxy, or null without one. */
  originOf(request: Request): string | null;
  /** The host that the client asked for, untrusted; null where it named none. */
  hostOf(request: Request): string | null;
  /** Whether the client speaks TLS, with this server or with a proxy in front of it. */
  isSecure(request: Request): boolean;
};

/** `trusted` holds addresses and CIDR ranges. Throws on anything else. */
export function knownProxies(trusted: readonly string[]): Proxies {
  const list = new BlockList();
  for (const entry of trusted) add(list, entry);
  const isTrusted = (address: string) => list.check(address, isIP(address) === 6 ? 'ipv6' : 'ipv4');
  const peerOf = (request: Request) => {
    const address = request.socket.remoteAddress;
    return address === undefined ? null : plainAddress(address);
  };
  const isProxied = (request: Request) => {
    const peer = trusted.length === 0 ? null : peerOf(request);
    return peer !== null && isTrusted(peer);
  };
  const schemeOf = (request: Request) => listOf(request.headers['x-forwarded-proto']).at(-1);
  const forwardedHostOf = (request: Request) =>
    listOf(request.headers['x-forwarded-host']).at(-1) ?? request.headers.host;
  return {
    addressOf(request) {
      const peer = peerOf(request);
      if (peer === null || !isProxied(request)) return peer;
      let nearest = peer;
      for (const hop of listOf(request.headers['x-forwarded-for']).reverse()) {
        if (isIP(plainAddress(hop)) === 0) break;
        nearest = plainAddress(hop);
        if (!isTrusted(nearest)) break;
      }
      return nearest;
    },
    originOf(request) {
      if (!isProxied(request)) return null;
      const scheme = schemeOf(request);
      const host = forwardedHostOf(request);
      return scheme === undefined || host === undefined ? null : `${scheme}://${host}`;
    },
    hostOf: (request) => (isProxied(request) ? forwardedHostOf(request) : request.headers.host) ?? null,
    isSecure: (request) =>
      'encrypted' in request.socket || (isProxied(request) && schemeOf(request)?.toLowerCase() === 'https'),
  };
}

function add(list: BlockList, entry: string): void {
  const [address = '', bits] = entry.split('/');
  const family = isIP(address);
  assert(family !== 0, 'a trusted proxy is an address or a CIDR range');
  const type = family === 6 ? 'ipv6' : 'ipv4';
  if (bits === undefined) list.addAddress(address, type);
  else list.addSubnet(address, Number(bits), type);
}

function listOf(header: string | string[] | undefined): string[] {
  const text = Array.isArray(header) ? header.join(',') : (header ?? '');
  return text
    .split(',')
    .map((part) => part.trim())
    .filter((part) => part !== '');
}

/** IPv4 addresses as such, wherever the socket or a proxy wrote them as IPv6 or in brackets. */
function plainAddress(text: string): string {
  const bare = text.startsWith('[') && text.endsWith(']') ? text.slice(1, -1) : text;
  return bare.startsWith('::ffff:') && bare.includes('.') ? bare.slice('::ffff:'.length) : bare;
}
