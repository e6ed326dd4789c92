import { once } from 'node:events';
import { createServer } from 'node:net';
import type { Settings } from './settings.ts';

/**
 * Where to listen, with a port that is free now in place of 0: what a server is called from outside must be known
 * before it answers.
 */
export async function withFreePort(listen: Settings['listen']): Promise<Settings['listen']> {
  if (listen.port !== 0) return listen;
  const server = createServer();
  server.listen({ host: listen.host, port: 0 });
  await once(server, 'listening');
  const address = server.address();
  const closed = once(server, 'close');
  server.close();
  await closed;
  return typeof address === 'object' && address !== null ? { ...listen, port: address.port } : listen;
}
