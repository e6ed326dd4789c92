import { constants } from 'node:crypto';
import type { Socket } from 'node:net';
import { createSecureContext, type SecureContext, TLSSocket, connect as tlsConnect } from 'node:tls';
import { type Authority, type Issuer, openIssuer } from '../../base/certificates.ts';
import { gatewayLimits } from '../limits.ts';

/** Versions that are spoken; TLS 1.2 without renegotiation, which Node leaves unbounded and does not verify again. */
export const tlsTaken = { minVersion: 'TLSv1.2', secureOptions: constants.SSL_OP_NO_RENEGOTIATION } as const;

/** What both ends of a connection may speak inside TLS, as ALPN names it (RFC 7301). */
const spokenProtocols = ['h2', 'http/1.1'] as const;
export type SpokenProtocol = (typeof spokenProtocols)[number];

export function isSpoken(protocol: string): protocol is SpokenProtocol {
  return (spokenProtocols as readonly string[]).includes(protocol);
}

/**
 * TLS that ends in the gateway, for one sandbox: towards its programs with certificates under its own authority,
 * towards upstreams with their certificates verified. Sessions are resumed within this sandbox alone.
 */
export class SandboxTls {
  readonly #authority: Authority;
  readonly #roots: () => SecureContext;
  #issuer: Issuer | null = null;
  readonly #contexts = new Map<string, SecureContext>();
  readonly #sessions = new Map<string, Buffer>();

  /** `roots` are the authorities that upstreams' certificates are verified with. */
  constructor(authority: Authority, roots: () => SecureContext) {
    this.#authority = authority;
    this.#roots = roots;
  }

  /**
   * Answers the hello that was read from the socket as the server of that canonical name; null where the program
   * breaks off or does not trust it. `alpn` is one of what the hello offers; null answers none.
   */
  async accept(
    socket: Socket,
    hello: Buffer,
    { name, alpn }: { name: string; alpn: SpokenProtocol | null },
  ): Promise<TLSSocket | null> {
    socket.unshift(hello);
    const secured = new TLSSocket(socket, {
      isServer: true,
      secureContext: this.#contextFor(name),
      ...(alpn !== null && { ALPNProtocols: [alpn] }),
      // Not in the types of this version; the constructor of net.Socket takes it.
      ...({ allowHalfOpen: true } as object),
    });
    secured.on('error', () => undefined);
    resetThrough(secured, socket);
    const established = await settles(secured, 'secure', gatewayLimits.firstBytesMs);
    if (!established) socket.destroy();
    return established ? secured : null;
  }

  /**
   * The hello to the server of that canonical name, over a connection to an address that was checked. `certificate`
   * where its certificate is not that name's or no known authority vouches for it; the socket is gone then.
   */
  async connect(
    socket: Socket,
    { name, offered }: { name: string; offered: readonly string[] },
  ): Promise<TLSSocket | 'certificate' | 'unreachable'> {
    const session = this.#sessions.get(name);
    const secured = tlsConnect({
      socket,
      servername: name,
      secureContext: this.#roots(),
      ...(offered.length > 0 && { ALPNProtocols: [...offered] }),
      ...(session !== undefined && { session }),
      ...({ allowHalfOpen: true } as object),
    });
    secured.on('error', () => undefined);
    resetThrough(secured, socket);
    secured.on('session', (ticket) => keep(this.#sessions, name, ticket));
    const established = await settles(secured, 'secureConnect', gatewayLimits.connectMs);
    if (established) return secured;
    socket.destroy();
    this.#sessions.delete(name);
    return secured.authorizationError ? 'certificate' : 'unreachable';
  }

  #contextFor(name: string): SecureContext {
    const known = this.#contexts.get(name);
    if (known !== undefined) return known;
    this.#issuer ??= openIssuer(this.#authority);
    const { key, certificate } = this.#issuer.leaf(name);
    const context = createSecureContext({ key, cert: certificate, ...tlsTaken });
    keep(this.#contexts, name, context);
    return context;
  }
}

/** The latest of each name; the oldest name goes where there are too many. */
function keep<T>(cache: Map<string, T>, name: string, value: T): void {
  cache.delete(name);
  cache.set(name, value);
  if (cache.size <= gatewayLimits.tlsNamesKeptMax) return;
  const [oldest] = cache.keys();
  cache.delete(oldest!);
}

/** Node resets TCP alone, so what is said to the TLS socket goes to the one below. */
function resetThrough(secured: TLSSocket, socket: Socket): void {
  secured.resetAndDestroy = () => {
    socket.resetAndDestroy();
    secured.destroy();
    return secured;
  };
}

/** Whether the event comes before the socket's end and in time. */
function settles(socket: TLSSocket, event: 'secure' | 'secureConnect', withinMs: number): Promise<boolean> {
  return new Promise((resolve) => {
    const late = setTimeout(() => socket.destroy(), withinMs);
    socket.once(event, () => {
      clearTimeout(late);
      resolve(true);
    });
    socket.once('close', () => {
      clearTimeout(late);
      resolve(false);
    });
  });
}
