import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { CliFailure } from './failure.ts';

/** Where the browser comes back to after a sign-in (RFC 8252 §7.3): this machine's loopback, on a free port. */
export type Loopback = {
  readonly redirectUri: string;
  /** The code of the first answer that carries `state` and `issuer`; what carries another is not looked at. */
  code(expected: { state: string; issuer: string }, signal: AbortSignal): Promise<string>;
  close(): void;
};

const page = (title: string, text: string) =>
  `<!doctype html><html lang="en"><meta charset="utf-8"><title>${title}</title><p>${text}</p>`;

export async function openLoopback(): Promise<Loopback> {
  const answers = Promise.withResolvers<URLSearchParams>();
  let isExpected = (_query: URLSearchParams): boolean => false;
  const server = createServer((request, response) => {
    const query = callbackQuery(request);
    if (query === null || !isExpected(query)) return answer(response, 400, 'This is not the sign-in.');
    answer(response, 200, 'You can close this window and go back to the terminal.');
    answers.resolve(query);
  });
  server.listen({ host: '127.0.0.1', port: 0 });
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  return {
    redirectUri: `http://127.0.0.1:${port}/callback`,
    async code({ state, issuer }, signal) {
      isExpected = (query) => query.get('state') === state && query.get('iss') === issuer;
      const aborted = Promise.withResolvers<never>();
      signal.addEventListener('abort', () => aborted.reject(signal.reason), { once: true });
      const query = await Promise.race([answers.promise, aborted.promise]);
      const code = query.get('code');
      if (code !== null) return code;
      const why = query.get('error_description') ?? query.get('error') ?? 'it gave no code';
      throw new CliFailure(`The server refused the sign-in: ${why}`);
    },
    close: () => {
      server.close();
      server.closeAllConnections();
    },
  };
}

function callbackQuery({ method, url = '' }: IncomingMessage): URLSearchParams | null {
  // Some targets are no URL, such as //, and any program here may ask.
  const asked = URL.parse(url, 'http://127.0.0.1');
  if (asked === null) return null;
  const { pathname, searchParams } = asked;
  const names = [...searchParams.keys()];
  const isOnce = new Set(names).size === names.length;
  return method === 'GET' && pathname === '/callback' && isOnce ? searchParams : null;
}

function answer(response: ServerResponse, status: number, text: string): void {
  response.writeHead(status, {
    'content-type': 'text/html; charset=utf-8',
    'content-security-policy': "default-src 'none'",
    'cache-control': 'no-store',
    'referrer-policy': 'no-referrer',
    connection: 'close',
  });
  response.end(page('Sealwright', text));
}
