import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { request } from 'node:http';
import test from 'node:test';
import { openRaw, rawExchange } from '../../../tests/support/raw-http.ts';
import { openTestServer } from '../../../tests/support/test-server.ts';

const head =
  'POST /api/v1/uploads HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer owner-token\r\nContent-Type: application/x-git-bundle\r\n';

test('an upload is stored as it comes, whatever its size, and can be removed', async (t) => {
  const server = await openTestServer(t);
  const chunk = Buffer.alloc(1024 * 1024, 7);
  const hash = createHash('sha256');
  const sending = request(`${server.address}/api/v1/uploads`, {
    method: 'POST',
    headers: { authorization: 'Bearer owner-token', 'content-type': 'application/octet-stream' },
  });
  const answered = once(sending, 'response');
  for (let count = 0; count < 40; count++) {
    hash.update(chunk);
    if (!sending.write(chunk)) await once(sending, 'drain');
  }
  sending.end();
  const [response] = await answered;
  let text = '';
  for await (const part of response) text += part;
  const stored = JSON.parse(text);
  assert.equal(response.statusCode, 201);
  assert.equal(stored.bytes, 40 * chunk.length);
  assert.equal(stored.sha256, hash.digest('hex'));
  assert.equal(response.headers.location, `/api/v1/uploads/${stored.id}`);
  assert.equal((await server.call('DELETE', response.headers.location)).status, 204);
  assert.equal((await server.call('DELETE', response.headers.location)).status, 404);
});

test('an upload past its limit is answered 413 and kept nowhere', async (t) => {
  const server = await openTestServer(t, { limits: { uploadBytesMax: 1000 } });
  const declared = await rawExchange(server.port, `${head}Content-Length: 1001\r\n\r\n`);
  assert.equal(declared.status, 413);
  const chunked = await rawExchange(
    server.port,
    `${head}Transfer-Encoding: chunked\r\n\r\n${`200\r\n${'x'.repeat(512)}\r\n`.repeat(50)}0\r\n\r\n`,
  );
  assert.equal(chunked.status, 413);
  assert.equal(server.control.uploads.kept.size, 0);
});

test('an upload that stalls is answered 408', async (t) => {
  const server = await openTestServer(t, { limits: { uploadStallMs: 100 } });
  const answer = await rawExchange(server.port, `${head}Content-Length: 100\r\n\r\nabc`);
  assert.equal(answer.status, 408);
  assert.equal(server.control.uploads.kept.size, 0);
});

test('an upload whose sender leaves is kept nowhere', async (t) => {
  const server = await openTestServer(t);
  const socket = await openRaw(server.port);
  socket.write(`${head}Content-Length: 100\r\n\r\nabc`);
  while (server.control.authentications.length === 0) await new Promise((resolve) => setImmediate(resolve));
  socket.destroy();
  while (!server.log.some(({ route }) => route === '/api/v1/uploads'))
    await new Promise((resolve) => setImmediate(resolve));
  assert.equal(server.control.uploads.kept.size, 0);
  assert(!server.log.some(({ level }) => level === 50), 'a caller that leaves is no failure inside');
});

test('an upload of another media type, or compressed, is answered 415', async (t) => {
  const server = await openTestServer(t);
  for (const headers of [
    { 'content-type': 'application/json' },
    { 'content-type': 'multipart/form-data; boundary=x' },
    { 'content-type': 'application/octet-stream', 'content-encoding': 'gzip' },
  ]) {
    const answer = await server.call('POST', '/api/v1/uploads', { body: 'abc', headers: headers as never });
    assert.equal(answer.status, 415);
  }
});
