import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'node:test';
import { openRaw } from '../../tests/support/raw-http.ts';
import { openTestServer } from '../../tests/support/test-server.ts';
import { newId } from '../model/ids.ts';

test('a socket file that nobody listens on is replaced, one in use stops the start', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'sealwright-socket-'));
  t.after(() => rm(folder, { recursive: true, force: true }));
  const localSocketPath = join(folder, 'api.sock');
  // Left behind, as by a process that was killed: bound, and closed without unlinking.
  const bind = `require('node:net').createServer().listen(${JSON.stringify(localSocketPath)}, () => process.kill(process.pid, 9))`;
  assert.equal(spawnSync(process.execPath, ['-e', bind], { shell: false }).signal, 'SIGKILL');
  await openTestServer(t, { localSocketPath });
  await assert.rejects(openTestServer(t, { localSocketPath }), { code: 'EADDRINUSE' });
});

test('a port that is taken stops the start', async (t) => {
  const taken = createServer().listen(0, '127.0.0.1');
  await once(taken, 'listening');
  t.after(() => taken.close());
  const { port } = taken.address() as { port: number };
  await assert.rejects(openTestServer(t, { listen: { host: '127.0.0.1', port } }), { code: 'EADDRINUSE' });
});

test('a limit that is no whole number of at least 1 stops the start', async (t) => {
  await assert.rejects(openTestServer(t, { limits: { bodyBytesMax: 0 } }), /bodyBytesMax/);
  await assert.rejects(openTestServer(t, { limits: { connectionsMax: 1.5 } }), /connectionsMax/);
  await assert.rejects(openTestServer(t, { rateLimits: { signIn: 0 } }), /signIn/);
});

test('connections past the limit are refused, and those that are there go on', async (t) => {
  const server = await openTestServer(t, { limits: { connectionsMax: 2 } });
  const kept = [await openRaw(server.port), await openRaw(server.port)];
  const third = await openRaw(server.port);
  third.on('error', () => undefined);
  await once(third.resume(), 'close');
  kept[0]!.write('GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n');
  const [chunk] = await once(kept[0]!, 'data');
  assert.match(String(chunk), /^HTTP\/1\.1 200/);
  for (const socket of kept) socket.destroy();
});

test('behind a trusted proxy the caller’s own address is what is counted and logged', async (t) => {
  const server = await openTestServer(t, {
    trustedProxies: ['127.0.0.0/8'],
    rateLimits: { default: 1e6, signIn: 1, write: 1e6, admin: 1e6 },
  });
  const guess = (address: string) =>
    server.call('GET', '/api/v1/runs', { token: 'wrong', headers: { 'x-forwarded-for': address } });
  assert.equal((await guess('192.0.2.1')).status, 401);
  assert.equal((await guess('192.0.2.1')).status, 429);
  assert.equal((await guess('192.0.2.2')).status, 401);
  const headers = {
    origin: 'https://a.example',
    'x-forwarded-proto': 'https',
    'x-forwarded-host': 'a.example',
  };
  assert.equal((await server.call('POST', '/api/v1/sessions', { body: {}, headers })).status, 201);
  assert(server.log.some(({ address }) => address === '192.0.2.1'));
});

test('a close waits for work whose caller has left, since what it works on is closed next', async (t) => {
  const server = await openTestServer(t);
  const reached = Promise.withResolvers<void>();
  const release = Promise.withResolvers<void>();
  const { get } = server.control.runs;
  let ended = false;
  server.control.runs.get = async (...words) => {
    reached.resolve();
    await release.promise;
    ended = true;
    return await get(...words);
  };
  const leaving = new AbortController();
  const headers = { authorization: 'Bearer owner-token' };
  const url = `${server.address}/api/v1/runs/${newId('run', 1)}`;
  const left = assert.rejects(fetch(url, { headers, signal: leaving.signal }));
  await reached.promise;
  leaving.abort();
  await left;
  const closed = server.close().then(() => ended);
  await new Promise((resolve) => setTimeout(resolve, 100));
  release.resolve();
  assert.equal(await closed, true);
});
