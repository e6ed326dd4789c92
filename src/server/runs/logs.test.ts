import assert from 'node:assert/strict';
import { once } from 'node:events';
import { get, type IncomingMessage } from 'node:http';
import test from 'node:test';
import { openRaw } from '../../../tests/support/raw-http.ts';
import { openTestServer, type TestServer } from '../../../tests/support/test-server.ts';
import { EventParser, type ServerSentEvent } from '../../client/sse.ts';

async function newRun(server: TestServer): Promise<string> {
  const session = await server.call('POST', '/api/v1/sessions', { body: {} });
  const run = await server.call('POST', '/api/v1/runs', {
    body: { session: session.body.id, command: ['x'] },
  });
  return run.body.id;
}

const sse = { accept: 'text/event-stream' };

function eventsIn(text: string): ServerSentEvent[] {
  return new EventParser().push(Buffer.from(text));
}

/** Reads events of an open stream as they come. */
async function openEvents(server: TestServer, run: string, headers: Record<string, string> = {}, query = '') {
  const request = get(`${server.address}/api/v1/runs/${run}/logs${query}`, {
    headers: { authorization: 'Bearer owner-token', ...sse, ...headers },
    agent: false,
  });
  const [response] = (await once(request, 'response')) as [IncomingMessage];
  const parser = new EventParser();
  const queue: ServerSentEvent[] = [];
  const chunks = response[Symbol.asyncIterator]();
  const next = async (): Promise<ServerSentEvent | null> => {
    while (queue.length === 0) {
      const { value, done } = await chunks.next();
      if (done === true) return null;
      queue.push(...parser.push(value as Buffer));
    }
    return queue.shift()!;
  };
  return { response, parser, next, close: () => response.destroy() };
}

async function until(condition: () => boolean): Promise<void> {
  const deadline = performance.now() + 20_000;
  while (!condition()) {
    assert(performance.now() < deadline, 'it happens in time');
    await new Promise((resolve) => setImmediate(resolve));
  }
}

test('a finished run’s log is its events in order, any bytes preserved, and then its end', async (t) => {
  const server = await openTestServer(t);
  const run = await newRun(server);
  const log = server.control.logsOf(run);
  log.append('stdout', 'héllo\r\n\n: x\n');
  log.append('stderr', Buffer.from([0xff, 0x00, 0xfe]));
  log.append('dropped', '{"droppedBytes":77}');
  server.control.finish(run, { phase: 'failed', cause: 'exit', exitCode: 3 });
  const answer = await server.call('GET', `/api/v1/runs/${run}/logs`, { headers: sse });
  assert.equal(answer.headers.get('content-type'), 'text/event-stream; charset=utf-8');
  assert.equal(answer.headers.get('cache-control'), 'no-store');
  const events = eventsIn(answer.text);
  assert.deepEqual(
    events.map(({ event }) => event),
    ['stdout', 'stderr', 'dropped', 'end'],
  );
  assert.deepEqual(JSON.parse(events[0]!.data), { text: 'héllo\r\n\n: x\n' });
  assert.deepEqual(JSON.parse(events[1]!.data), { base64: '/wD+' });
  assert.deepEqual(JSON.parse(events[2]!.data), { droppedBytes: 77 });
  assert.deepEqual(JSON.parse(events[3]!.data), {
    phase: 'failed',
    cause: 'exit',
    reason: null,
    exitCode: 3,
    signal: null,
  });
  assert.deepEqual(
    events.slice(0, 3).map(({ id }) => Number(id)),
    log.records.map(({ nextOffset }) => nextOffset),
  );
});

test('a reader goes on from Last-Event-ID or offset, missing nothing and seeing nothing twice', async (t) => {
  const server = await openTestServer(t);
  const run = await newRun(server);
  const log = server.control.logsOf(run);
  for (const text of ['a', 'b', 'c']) log.append('stdout', text);
  server.control.finish(run);
  const path = `/api/v1/runs/${run}/logs`;
  const all = eventsIn((await server.call('GET', path, { headers: sse })).text);
  for (let seen = 0; seen < 3; seen++) {
    const id = all[seen]!.id;
    const resumed = await server.call('GET', path, { headers: { ...sse, 'last-event-id': id } });
    assert.deepEqual(
      eventsIn(resumed.text).map(({ data }) => data),
      all.slice(seen + 1).map(({ data }) => data),
    );
    assert.equal((await server.call('GET', `${path}?offset=${id}`, { headers: sse })).text, resumed.text);
  }
  for (const id of ['x', '-1', '1.5', '1e9', '99999999999999999'])
    assert.equal((await server.call('GET', path, { headers: { ...sse, 'last-event-id': id } })).status, 400);
  assert.equal((await server.call('GET', `${path}?offset=-1`, { headers: sse })).status, 400);
});

test('a follower gets headers at once, each record as it is written, and the end', async (t) => {
  const server = await openTestServer(t, { limits: { heartbeatMs: 50 } });
  const run = await newRun(server);
  const log = server.control.logsOf(run);
  const stream = await openEvents(server, run);
  log.steps.push({ step: 'workspace', at: 1 });
  assert.equal((await stream.next())?.data, '{"step":"workspace","at":1}');
  log.append('stdout', 'one');
  assert.equal((await stream.next())?.data, '{"text":"one"}');
  log.append('stderr', 'two');
  assert.equal((await stream.next())?.event, 'stderr');
  server.control.finish(run);
  assert.equal((await stream.next())?.event, 'end');
  assert.equal(await stream.next(), null, 'the stream ends after `end`');
  assert.equal(stream.parser.retryMs, 1000);
});

test('a silent stream has heartbeats and outlives the idle timeout', async (t) => {
  const server = await openTestServer(t, { limits: { heartbeatMs: 40, idleTimeoutMs: 120 } });
  const run = await newRun(server);
  const stream = await openEvents(server, run);
  let beats = 0;
  stream.response.on('data', (chunk: Buffer) => {
    if (chunk.includes(': still here')) beats += 1;
  });
  await until(() => beats >= 8);
  assert(!stream.response.destroyed);
  stream.close();
});

test('a log that breaks off ends without `end`, so that its reader comes back', async (t) => {
  const server = await openTestServer(t);
  const run = await newRun(server);
  const log = server.control.logsOf(run);
  log.append('stdout', 'one');
  const stream = await openEvents(server, run);
  assert.equal((await stream.next())?.event, 'stdout');
  log.fail(new Error('the runner went away'));
  assert.equal(await stream.next(), null);
  assert(server.log.some(({ msg }) => msg === 'a log stream broke off'));
});

test('a reader that leaves cancels the log at its source', async (t) => {
  const server = await openTestServer(t);
  const run = await newRun(server);
  const log = server.control.logsOf(run);
  for (const headers of [sse, { accept: 'text/plain' }]) {
    const before = log.cancelled;
    const stream = await openEvents(server, run, headers, '?follow=true');
    stream.close();
    await until(() => log.cancelled > before);
  }
});

test('a reader that stalls holds back the source and costs no memory', async (t) => {
  const server = await openTestServer(t);
  const run = await newRun(server);
  const log = server.control.logsOf(run);
  for (const accept of ['text/event-stream', 'text/plain']) {
    log.endless = Buffer.alloc(64 * 1024, 'x');
    log.pulled = 0;
    const socket = await openRaw(server.port);
    socket.pause();
    socket.write(
      `GET /api/v1/runs/${run}/logs HTTP/1.1\r\nHost: x\r\nAccept: ${accept}\r\nAuthorization: Bearer owner-token\r\n\r\n`,
    );
    let last = -1;
    let still = 0;
    await until(() => {
      still = log.pulled === last && log.pulled > 0 ? still + 1 : 0;
      last = log.pulled;
      return still > 2_000;
    });
    assert(log.pulled * 64 * 1024 < 32 * 1024 * 1024, `${log.pulled} records fit the kernel’s buffers`);
    const before = log.cancelled;
    socket.destroy();
    await until(() => log.cancelled > before);
  }
});

test('plain logs are the bytes alone, one stream where asked for, with a line where some were dropped', async (t) => {
  const server = await openTestServer(t);
  const run = await newRun(server);
  const log = server.control.logsOf(run);
  log.append('stdout', 'out\n');
  log.append('dropped', '{"droppedBytes":9}');
  log.append('stderr', 'err\n');
  const path = `/api/v1/runs/${run}/logs`;
  const read = async (query: string, accept?: string) =>
    await server.call('GET', path + query, { headers: accept === undefined ? {} : { accept } });
  const marker = '\n[sealwright: 9 bytes of output dropped]\n';
  assert.equal((await read('')).text, `out\n${marker}err\n`, 'a live run gives what is there');
  assert.equal((await read('?stream=stdout')).text, `out\n${marker}`);
  assert.equal((await read('?stream=stderr')).text, `${marker}err\n`);
  assert.equal((await read('')).headers.get('content-type'), 'text/plain; charset=utf-8');
  const raw = await read('', 'application/octet-stream');
  assert.equal(raw.headers.get('content-type'), 'application/octet-stream');
  for (const accept of ['application/json', 'image/*', 'text/plain;q=0'])
    assert.equal((await read('', accept)).status, 406, accept);
  const following = read('?follow=true');
  log.append('stdout', 'more');
  server.control.finish(run);
  assert.equal((await following).text, `out\n${marker}err\nmore`);
});

test('a plain download that breaks off is not taken for the whole', async (t) => {
  const server = await openTestServer(t);
  const run = await newRun(server);
  const log = server.control.logsOf(run);
  log.append('stdout', 'one');
  const reading = server.call('GET', `/api/v1/runs/${run}/logs?follow=true`);
  reading.catch(() => undefined);
  await until(() => log.pulled === 1);
  log.fail(new Error('gone'));
  await assert.rejects(reading);
});

test('a close of the server ends streams cleanly, in under two seconds', async (t) => {
  const server = await openTestServer(t);
  const run = await newRun(server);
  const stream = await openEvents(server, run);
  const plain = server.call('GET', `/api/v1/runs/${run}/logs?follow=true`).catch(() => 'cut');
  const waiting = server.call('GET', `/api/v1/runs/${run}/wait`);
  await until(() => server.control.logsOf(run).cancelled === 0);
  const idle = await openRaw(server.port);
  const started = performance.now();
  const closing = server.close();
  assert.equal(await stream.next(), null);
  await closing;
  assert(performance.now() - started < 2_000);
  assert.equal((await waiting).body.phase, 'queued');
  await plain;
  idle.destroy();
});

test('waiting for a run answers when it ends, or with what it is when the time is over', async (t) => {
  const server = await openTestServer(t);
  const run = await newRun(server);
  const soon = await server.call('GET', `/api/v1/runs/${run}/wait?timeoutSeconds=0`);
  assert.equal(soon.body.phase, 'queued');
  const waiting = server.call('GET', `/api/v1/runs/${run}/wait`);
  const poll = setInterval(() => server.control.finish(run), 20);
  assert.equal((await waiting).body.phase, 'succeeded');
  clearInterval(poll);
  assert.equal((await server.call('GET', `/api/v1/runs/${run}/wait?timeoutSeconds=61`)).status, 400);
});
