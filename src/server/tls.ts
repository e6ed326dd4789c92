import { constants } from 'node:crypto';
import type { ServerOptions as HttpsOptions } from 'node:https';
import type { Socket } from 'node:net';

/** A certificate with its chain, and its private key; both PEM. */
export type TlsPair = {
  readonly certificate: string;
  readonly key: string;
  /** Certificates in PEM, one of which must have issued the client's; clients are asked for none where absent. */
  readonly clientAuthorities?: readonly string[];
};

/** What a listener speaks TLS with: pairs that fit and are valid, each of which takes the place of the one before. */
export type TlsSource = {
  readonly current: TlsPair;
  /** Returns what ends the listening. */
  onChange(listener: (pair: TlsPair) => void): () => void;
};

/** A source that `change` gives the next pair to, which must hold as the first one does. */
export function openTlsSource(first: TlsPair): TlsSource & { change(pair: TlsPair): void } {
  const listeners = new Set<(pair: TlsPair) => void>();
  let current = first;
  return {
    get current() {
      return current;
    },
    onChange(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    change(pair) {
      current = pair;
      for (const listener of listeners) listener(pair);
    },
  };
}

/** Forward secrecy and authenticated encryption alone; those of TLS 1.3 are named, or it would be off. */
const suites = [
  'TLS_AES_128_GCM_SHA256',
  'TLS_AES_256_GCM_SHA384',
  'TLS_CHACHA20_POLY1305_SHA256',
  'ECDHE-ECDSA-AES128-GCM-SHA256',
  'ECDHE-RSA-AES128-GCM-SHA256',
  'ECDHE-ECDSA-AES256-GCM-SHA384',
  'ECDHE-RSA-AES256-GCM-SHA384',
  'ECDHE-ECDSA-CHACHA20-POLY1305',
  'ECDHE-RSA-CHACHA20-POLY1305',
].join(':');

/** TLS 1.2 and 1.3 without renegotiation. A connection that was made stays as it is when the pair changes. */
export function contextOf({ certificate, key, clientAuthorities }: TlsPair) {
  const options = { cert: certificate, key, ciphers: suites, minVersion: 'TLSv1.2' } as const;
  const secureOptions = constants.SSL_OP_NO_RENEGOTIATION;
  if (clientAuthorities === undefined) return { ...options, secureOptions };
  // A session that could be resumed would go around the authorities that are taken by then.
  return {
    ...options,
    ca: [...clientAuthorities],
    secureOptions: secureOptions | constants.SSL_OP_NO_TICKET,
  };
}

/** HTTP/1.1 alone, so that no client takes the server to speak something whose limits are not kept here. */
export function tlsOptions(pair: TlsPair, timeoutMs: number): HttpsOptions {
  return {
    ...contextOf(pair),
    ...(pair.clientAuthorities === undefined ? {} : { requestCert: true, rejectUnauthorized: true }),
    ALPNProtocols: ['http/1.1'],
    handshakeTimeout: timeoutMs,
  };
}

/** Connections whose handshake goes on. They have no request that anybody would miss. */
export class Handshakes {
  readonly #sockets = new Map<string, Socket>();

  begun(socket: Socket): void {
    const key = peerOf(socket);
    this.#sockets.set(key, socket);
    socket.once('close', () => {
      if (this.#sockets.get(key) === socket) this.#sockets.delete(key);
    });
  }

  done(secured: Socket): void {
    this.#sockets.delete(peerOf(secured));
  }

  cut(): void {
    for (const socket of this.#sockets.values()) socket.destroy();
  }
}

function peerOf({ remoteAddress, remotePort }: Socket): string {
  return `${remoteAddress} ${remotePort}`;
}
