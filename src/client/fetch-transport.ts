import { unreachable } from './api-error.ts';
import type { Transport } from './transport.ts';

export type Fetch = (url: string, init: RequestInit) => Promise<Response>;

/** Requests through a `fetch`, as browsers have it; streamed bodies need one that can send them. */
export function fetchTransport({ url, fetch }: { url: URL; fetch: Fetch }): Transport {
  const base = url.href.replace(/\/+$/, '');
  return {
    async send({ method, path, headers, body, signal }) {
      const init: RequestInit & { duplex?: 'half' } = { method, headers: { ...headers }, redirect: 'error' };
      if (signal !== undefined) init.signal = signal;
      if (typeof body === 'string') init.body = body;
      else if (body !== undefined) {
        init.body = ReadableStream.from(body) as unknown as NonNullable<RequestInit['body']>;
        init.duplex = 'half';
      }
      const response = await fetch(base + path, init).catch((error: unknown) => {
        if (signal?.aborted === true) throw signal.reason;
        throw unreachable(url.origin, error instanceof Error ? (error.cause ?? error) : error);
      });
      return {
        status: response.status,
        headers: Object.fromEntries(response.headers),
        body: (response.body ?? []) as AsyncIterable<Uint8Array>,
      };
    },
    close: () => undefined,
  };
}
