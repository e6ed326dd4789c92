import assert from 'node:assert/strict';
import { once } from 'node:events';
import type { Socket } from 'node:net';
import test, { type TestContext } from 'node:test';
import { openRaw } from '../../tests/support/raw-http.ts';
import { openTestServer, type TestServer } from '../../tests/support/test-server.ts';
import type { Actor } from '../model/actor.ts';

const reader: Actor = { id: 'user:reader', scopes: new Set(['run:read', 'session:write']), reach: 'all' };

async function newRun(server: TestServer): Promise<string> {
  const session = await server.call('POST', '/api/v1/sessions', { body: {} });
  const run = await server.call('POST', '/api/v1/runs', {
    body: { session: session.body.id, command: ['x'] },
  });
  return run.body.id;
}

/** A server with somebody who reads, and streams of every kind that somebody can have open. */
async function openStreaming(t: TestContext) {
  const server = await openTestServer(t);
  const { actors } = server.control;
  actors.set('reader', reader);
  const run = await newRun(server);
  const open = async (token: string, head: string) => {
    const socket = await openRaw(server.port);
    const seen = { text: '', closed: false };
    socket.on('data', (chunk: Buffer) => {
      seen.text += chunk.toString('latin1');
    });
    socket
      .on('error', () => undefined)
      .once('close', () => {
        seen.closed = true;
      });
    socket.write(`${head} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${token}\r\n`);
    return { socket, seen };
  };
  const events = 'Accept: text/event-stream\r\n\r\n';
  const kinds: Record<string, readonly [head: string, rest: string]> = {
    'events of a log': [`GET /api/v1/runs/${run}/logs`, events],
    'bytes of a log': [`GET /api/v1/runs/${run}/logs?follow=true`, 'Accept: text/plain\r\n\r\n'],
    flows: [`GET /api/v1/runs/${run}/egress`, events],
    'a wait': [`GET /api/v1/runs/${run}/wait`, '\r\n'],
    'an upload': [
      'POST /api/v1/uploads',
      'Content-Type: application/octet-stream\r\nContent-Length: 100\r\n\r\nhalf',
    ],
  };
  return { server, run, open, kinds };
}

async function streams(server: TestServer, count: number): Promise<void> {
  const gauge = async () => {
    const { text } = await server.call('GET', '/metrics');
    return Number(/^sealwright_http_streams (\d+)$/m.exec(text)?.[1]);
  };
  for (const until = performance.now() + 10_000; (await gauge()) !== count; )
    assert(performance.now() < until, `${count} streams are open`);
}

const closed = (socket: Socket) => (socket.closed ? Promise.resolve() : once(socket, 'close'));

test('a stream of any kind is cut when its caller’s credential ends, and its neighbour’s is not', async (t) => {
  const { server, run, open, kinds } = await openStreaming(t);
  const all = await Promise.all(
    Object.entries(kinds).map(async ([kind, [head, rest]]) => {
      const [theirs, ours] = [await open('reader', head), await open('owner-token', head)];
      theirs.socket.write(rest);
      ours.socket.write(rest);
      return { kind, theirs, ours };
    }),
  );
  await streams(server, 2 * all.length);
  server.control.actors.delete('reader');
  const startedAt = performance.now();
  server.control.identityChanged();
  await Promise.all(all.map(({ theirs }) => closed(theirs.socket)));
  assert(performance.now() - startedAt < 1_000, 'within a second');
  server.control.logsOf(run).append('stdout', 'after');
  server.control.finish(run);
  for (const { kind, theirs, ours } of all) {
    assert.doesNotMatch(theirs.seen.text, /after|event: end|"phase"/, kind);
    if (kind === 'an upload') assert.equal(ours.seen.closed, false, kind);
    else await until(() => /after|event: end|"succeeded"/.test(ours.seen.text), kind);
    ours.socket.destroy();
  }
});

async function until(holds: () => boolean, what: string): Promise<void> {
  for (const end = performance.now() + 10_000; !holds(); await new Promise(setImmediate))
    assert(performance.now() < end, what);
}

test('a stream is cut when its caller keeps the credential and loses the right', async (t) => {
  const { server, open, kinds } = await openStreaming(t);
  const [head, rest] = kinds['events of a log']!;
  const [theirs, ours] = [await open('reader', head), await open('owner-token', head)];
  theirs.socket.write(rest);
  ours.socket.write(rest);
  await streams(server, 2);
  server.control.renewals.set('user:reader', { ...reader, scopes: new Set(['session:write']) });
  await closed(theirs.socket);
  assert.equal(ours.seen.closed, false);
  assert.equal(server.log.filter(({ msg }) => msg === 'a stream was cut').length, 1);
});

test('without any change, a stream is cut when its credential runs out', async (t) => {
  const { server, open, kinds } = await openStreaming(t);
  const [head, rest] = kinds.flows!;
  const { socket } = await open('reader', head);
  socket.write(rest);
  await streams(server, 1);
  const startedAt = performance.now();
  server.control.actors.delete('reader');
  await closed(socket);
  assert(performance.now() - startedAt < 1_000);
});

test('a right that is taken while a stream opens is not overlooked', async (t) => {
  const { server, run, open } = await openStreaming(t);
  const opening = Promise.withResolvers<void>();
  const { logs } = server.control.runs;
  server.control.runs.logs = async (...asked) => {
    server.control.actors.delete('reader');
    server.control.identityChanged();
    opening.resolve();
    return await logs(...asked);
  };
  const { socket, seen } = await open('reader', `GET /api/v1/runs/${run}/logs`);
  socket.write('Accept: text/event-stream\r\n\r\n');
  await opening.promise;
  await closed(socket);
  assert.doesNotMatch(seen.text, /event:/);
});

test('a stream that nobody can authorize again is cut', async (t) => {
  const { server, open, kinds } = await openStreaming(t);
  const [head, rest] = kinds['a wait']!;
  const { socket } = await open('reader', head);
  socket.write(rest);
  await streams(server, 1);
  server.control.renew = async () => {
    throw new Error('the store is gone');
  };
  await closed(socket);
});

test('changes that take nothing from a caller leave its streams open', async (t) => {
  const { server, run, open, kinds } = await openStreaming(t);
  const [head, rest] = kinds['events of a log']!;
  const { socket, seen } = await open('reader', head);
  socket.write(rest);
  await streams(server, 1);
  for (let change = 0; change < 50; change++) {
    server.control.identityChanged();
    await new Promise(setImmediate);
  }
  server.control.renewals.set('user:reader', { ...reader, scopes: new Set(['run:read']), role: 'other' });
  server.control.identityChanged();
  await new Promise((resolve) => setTimeout(resolve, 300));
  server.control.logsOf(run).append('stdout', 'still here');
  server.control.finish(run);
  await until(() => /still here[\s\S]*event: end/.test(seen.text), 'it goes on to its end');
  socket.destroy();
});
