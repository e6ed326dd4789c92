import assert from 'node:assert/strict';
import { once } from 'node:events';
import test, { type TestContext } from 'node:test';
import { openRaw } from '../../../tests/support/raw-http.ts';
import { openTestServer, type TestServer } from '../../../tests/support/test-server.ts';
import type { Actor } from '../../model/actor.ts';

const auditor: Actor = { id: 'user:eve', scopes: new Set(['audit:read']), reach: 'all' };
const stranger: Actor = { id: 'user:bob', scopes: new Set(['run:read']), reach: 'all' };
const events = '/api/v1/audit/events';

async function withLines(t: TestContext, count = 3): Promise<TestServer> {
  const server = await openTestServer(t);
  server.control.actors.set('eve', auditor).set('bob', stranger);
  for (let seq = 1; seq <= count; seq += 1)
    server.control.auditLines.push(`{"action":"=cmd","at":"now","data":{"é":"\\u001b"},"seq":${seq}}`);
  return server;
}

/** What a socket got so far, and whether it was closed. */
async function opened(server: TestServer, path: string, token = 'eve', headers = '') {
  const socket = await openRaw(server.port);
  const seen = { text: '', closed: false };
  socket.on('data', (chunk: Buffer) => {
    seen.text += chunk.toString();
  });
  socket
    .on('error', () => undefined)
    .once('close', () => {
      seen.closed = true;
    });
  socket.write(`GET ${path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${token}\r\n${headers}\r\n`);
  return { socket, seen };
}

async function download(server: TestServer, format: string) {
  const answer = await fetch(`http://127.0.0.1:${server.port}${events}/export?format=${format}`, {
    headers: { authorization: 'Bearer eve' },
  });
  return { status: answer.status, headers: answer.headers, text: await answer.text() };
}

async function until(holds: () => boolean, what: string): Promise<void> {
  for (const end = performance.now() + 10_000; !holds(); await new Promise(setImmediate))
    assert(performance.now() < end, what);
}

test('an export as lines is the log byte for byte, a file of its own', async (t) => {
  const server = await withLines(t);
  const { status, headers, text } = await download(server, 'jsonl');
  assert.equal(status, 200);
  assert.equal(headers.get('content-type'), 'application/jsonl');
  assert.equal(headers.get('content-disposition'), 'attachment; filename="audit-events.jsonl"');
  assert.equal(text, server.control.auditLines.map((line) => `${line}\n`).join(''));
});

test('an export as CSV has a row for each event, and none that is a formula', async (t) => {
  const server = await withLines(t);
  const { headers, text } = await download(server, 'csv');
  assert.equal(headers.get('content-type'), 'text/csv; charset=utf-8');
  const rows = text.split('\r\n');
  assert.equal(rows.length, 1 + 3 + 1);
  assert.match(rows[1]!, /"now","","1","","'=cmd"/);
  assert.match(rows[1]!, /\{""é"":""\\u001b""\}/);
});

test('an export that breaks off is cut, not ended', async (t) => {
  const server = await withLines(t);
  server.control.failure = new Error('the index is gone');
  await assert.rejects(download(server, 'jsonl'));
});

test('what is asked for wrongly is refused before anything is sent', async (t) => {
  const server = await withLines(t);
  const asked: [string, number][] = [
    [`${events}/export`, 400],
    [`${events}/export?format=xml`, 400],
    [`${events}/export?format=csv&limit=1`, 400],
    [`${events}/tail?cursor=x`, 400],
    [`${events}/tail?phase=never`, 400],
    [`${events}?order=sideways`, 400],
    [`${events}?text=`, 400],
  ];
  for (const [path, status] of asked)
    assert.equal((await server.call('GET', path, { token: 'eve' })).status, status, path);
  for (const path of [events, `${events}/export?format=csv`, `${events}/tail`])
    assert.equal((await server.call('GET', path, { token: 'bob' })).status, 403, path);
  assert.equal((await server.call('POST', '/api/v1/audit/reindex', { token: 'bob' })).status, 403);
  assert.equal((await server.call('POST', '/api/v1/audit/reindex', { token: 'eve' })).body.events, 3);
});

test('a tail says where it begins, then sends each event with where to go on', async (t) => {
  const server = await withLines(t, 2);
  const { socket, seen } = await opened(server, `${events}/tail`, 'eve', 'Last-Event-ID: before\r\n');
  await until(() => seen.text.includes('id: c1'), 'both events come');
  assert.match(seen.text, /content-type: text\/event-stream/i);
  assert.match(seen.text, /id: before\nevent: start\ndata: \{\}\n\n/);
  const [first, second] = server.control.auditLines;
  assert(seen.text.includes(`id: c0\nevent: event\ndata: ${first}\n\n`));
  assert(seen.text.includes(`id: c1\nevent: event\ndata: ${second}\n\n`));
  assert.equal(seen.closed, false);
  socket.destroy();
});

test('a tail ends within a second of its caller’s right, and its neighbour’s does not', async (t) => {
  const server = await withLines(t, 1);
  const theirs = await opened(server, `${events}/tail`);
  const ours = await opened(server, `${events}/tail`, 'owner-token');
  for (const { seen } of [theirs, ours]) await until(() => seen.text.includes('id: c0'), 'it is open');
  const startedAt = performance.now();
  server.control.renewals.set('user:eve', stranger);
  server.control.identityChanged();
  if (!theirs.seen.closed) await once(theirs.socket, 'close');
  assert(performance.now() - startedAt < 1_000);
  assert.equal(ours.seen.closed, false);
  ours.socket.destroy();
});

test('a reader of an export that stalls holds up nobody else, and is cut when its right ends', async (t) => {
  const server = await withLines(t, 1);
  for (let count = 0; count < 200_000; count += 1) server.control.auditLines.push('x'.repeat(200));
  const slow = await opened(server, `${events}/export?format=jsonl`);
  await until(() => seen(slow) > 0, 'it has begun');
  slow.socket.pause();
  assert.equal((await server.call('GET', events, { token: 'eve' })).status, 200);
  server.control.actors.delete('eve');
  server.control.renewals.set('user:eve', stranger);
  server.control.identityChanged();
  slow.socket.resume();
  await until(() => slow.seen.closed, 'it is cut');
  assert(seen(slow) < 200_000 * 201);
});

const seen = (stream: { seen: { text: string } }) => stream.seen.text.length;
