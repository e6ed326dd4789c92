import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { isHere } from './connect.ts';
import { testEnvironment } from './test-environment.ts';

async function serverWith(t: TestContext, kid: string, at: number | string): Promise<Server> {
  const server = createServer((request, response) => {
    response.statusCode = request.url === '/.well-known/jwks.json' ? 200 : 404;
    response.end(JSON.stringify({ keys: [{ kty: 'OKP', kid }] }));
  });
  server.listen(at);
  await once(server, 'listening');
  t.after(() => server.close());
  return server;
}

const urlOf = (server: Server) => `http://127.0.0.1:${(server.address() as AddressInfo).port}`;

test('the server here is the one with the keys of the one behind the socket, and not another that a tunnel leads to', async (t) => {
  const environment = testEnvironment({});
  t.after(() => environment.dispose());
  const socketPath = join(environment.folder, 'local.sock');
  await serverWith(t, 'ours', socketPath);
  const target = { token: null, authorities: undefined, profilePath: null, dataFolder: '', socketPath };
  const here = urlOf(await serverWith(t, 'ours', 0));
  const tunnel = urlOf(await serverWith(t, 'another', 0));
  assert.equal(await isHere({ ...target, url: here }), true);
  assert.equal(await isHere({ ...target, url: tunnel }), false);
  assert.equal(await isHere({ ...target, url: here, socketPath: `${socketPath}.gone` }), false);
  assert.equal(await isHere({ ...target, url: here.replace('127.0.0.1', '198.51.100.1') }), false);
});
