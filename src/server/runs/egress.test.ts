import assert from 'node:assert/strict';
import { once } from 'node:events';
import test from 'node:test';
import { openRaw } from '../../../tests/support/raw-http.ts';
import { openTestServer, type TestServer } from '../../../tests/support/test-server.ts';
import { EventParser, type ServerSentEvent } from '../../client/sse.ts';
import * as schemas from '../../contract/schemas.ts';
import { newId } from '../../model/ids.ts';

async function newRun(server: TestServer, more: object = {}) {
  const session = await server.call('POST', '/api/v1/sessions', { body: {} });
  const body = { session: session.body.id, command: ['x'], ...more };
  return await server.call('POST', '/api/v1/runs', { body });
}

const denied: schemas.EgressFlowView = {
  ...{ id: 1, at: '2026-01-02T03:04:05.678Z', host: 'a\u001b[2J', address: null, port: 443, protocol: null },
  ...{ method: null, path: null, verdict: 'denied', rule: null, denial: 'no-rule', generation: 1, count: 1 },
  end: null,
};

test('what a run reached for is a list with filters', async (t) => {
  const server = await openTestServer(t);
  const { id } = (await newRun(server)).body;
  const allowed = { ...denied, id: 2, host: 'b.example', verdict: 'allowed', denial: null } as const;
  server.control.flows.set(id, [denied, allowed]);
  const path = `/api/v1/runs/${id}/egress`;
  const { body } = await server.call('GET', path);
  assert.deepEqual(body, { items: [denied, allowed], nextCursor: null, counts: null });
  for (const item of body.items) assert.deepEqual(schemas.egressFlow.parse(item), item);
  const ids = async (query: string) =>
    (await server.call('GET', `${path}?${query}`)).body.items.map((flow: { id: number }) => flow.id);
  assert.deepEqual(await ids('verdict=denied'), [1]);
  assert.deepEqual(await ids('host=b.example'), [2]);
  assert.deepEqual(await ids('after=1'), [2]);
  for (const query of ['verdict=odd', 'host=', 'after=-1', 'limit=201', 'more=1', `host=${'x'.repeat(254)}`])
    assert.equal((await server.call('GET', `${path}?${query}`)).status, 400, query);
});

test('what a run reached for is for its owner and looks absent to strangers', async (t) => {
  const server = await openTestServer(t);
  const { id } = (await newRun(server)).body;
  const { actors } = server.control;
  actors.set('stranger', { id: 'user:s', scopes: new Set(['run:read']), reach: 'own' });
  actors.set('reader', { id: 'user:r', scopes: new Set(['run:read']), reach: 'all' });
  actors.set('other', { id: 'user:o', scopes: new Set(['policy:read']), reach: 'all' });
  const statuses: [string | null, number][] = [
    [null, 401],
    ['stranger', 404],
    ['other', 403],
    ['reader', 200],
    ['owner-token', 200],
  ];
  for (const [token, status] of statuses)
    assert.equal((await server.call('GET', `/api/v1/runs/${id}/egress`, { token })).status, status);
  assert.equal((await server.call('GET', `/api/v1/runs/${newId('run', 1)}/egress`)).status, 404);
});

test('a run names what it may reach, within bounds', async (t) => {
  const server = await openTestServer(t);
  const made = await newRun(server, { egress: ['npm', 'web'] });
  assert.deepEqual(made.body.egress, { names: ['npm', 'web'], mode: 'restricted' });
  const full = await newRun(server, { egress: ['full'], egressReason: 'x'.repeat(500) });
  assert.equal(full.status, 201);
  const many = Array.from({ length: 33 }, (_, index) => `p${index}`);
  for (const more of [
    { egress: many },
    { egress: ['npm', 'npm'] },
    { egress: ['full', 'npm'] },
    { egress: [''] },
    { egress: ['Npm'] },
    { egress: ['a b'] },
    { egress: 'npm' },
    { egress: [['npm']] },
    { egress: ['full'], egressReason: '' },
    { egress: ['full'], egressReason: 'x'.repeat(501) },
    { egress: ['full'], egressReason: 'a\nb' },
  ])
    assert.equal((await newRun(server, more)).status, 400, JSON.stringify(more));
});

const sse = { accept: 'text/event-stream' };

function eventsIn(text: string): ServerSentEvent[] {
  return new EventParser().push(Buffer.from(text));
}

test('flows come as events while they are recorded, and the end of the run is the last', async (t) => {
  const server = await openTestServer(t, { limits: { heartbeatMs: 20 } });
  const { id } = (await newRun(server)).body;
  const flows = [denied, { ...denied, id: 5, host: 'b' }];
  server.control.flows.set(id, flows);
  const open = server.call('GET', `/api/v1/runs/${id}/egress`, { headers: sse });
  await new Promise((resolve) => setTimeout(resolve, 60));
  flows.push({ ...denied, id: 9, verdict: 'allowed' });
  server.control.finish(id, { phase: 'failed', cause: 'exit', exitCode: 3 });
  const { headers, text } = await open;
  assert.equal(headers.get('content-type'), 'text/event-stream; charset=utf-8');
  assert.match(text, /^retry: 1000\n\n[\s\S]*: still here\n/);
  const events = eventsIn(text);
  assert.deepEqual(
    events.map(({ event, id }) => [event, id]),
    [
      ['flow', '1'],
      ['flow', '5'],
      ['flow', '9'],
      ['end', '9'],
    ],
  );
  assert.deepEqual(schemas.egressFlow.parse(JSON.parse(events[0]!.data)), denied);
  assert.equal(JSON.parse(events[3]!.data).exitCode, 3);
});

test('a reader of flows goes on from Last-Event-ID or after, missing nothing and seeing nothing twice', async (t) => {
  const server = await openTestServer(t);
  const { id } = (await newRun(server)).body;
  server.control.flows.set(id, [denied, { ...denied, id: 5 }, { ...denied, id: 9 }]);
  server.control.finish(id);
  const path = `/api/v1/runs/${id}/egress`;
  const ids = async (query: string, headers: Record<string, string> = {}) =>
    eventsIn((await server.call('GET', path + query, { headers: { ...sse, ...headers } })).text)
      .filter(({ event }) => event === 'flow')
      .map((event) => Number(event.id));
  assert.deepEqual(await ids(''), [1, 5, 9]);
  assert.deepEqual(await ids('?after=1'), [5, 9]);
  assert.deepEqual(await ids('?after=1', { 'last-event-id': '5' }), [9]);
  assert.deepEqual(await ids('?verdict=allowed'), []);
  for (const [query, headers] of [
    ['?limit=1', sse],
    ['?cursor=x', sse],
    ['', { ...sse, 'last-event-id': 'x' }],
  ] as const)
    assert.equal((await server.call('GET', path + query, { headers })).status, 400);
  assert.equal((await server.call('GET', path, { headers: { accept: 'text/html' } })).status, 406);
  const page = await server.call('GET', path, { headers: { accept: 'application/json, */*;q=0.1' } });
  assert.equal(page.body.items.length, 3);
});

test('a reader of flows that stalls holds no more than a page, and a close of the server ends its stream', async (t) => {
  const server = await openTestServer(t);
  const { id } = (await newRun(server)).body;
  let made = 0;
  const endless = (async function* () {
    for (;;) {
      made += 1;
      yield { ...denied, id: made, path: 'x'.repeat(1_000) };
    }
  })();
  server.control.runs.flows = async () => ({
    cancel: () => undefined,
    [Symbol.asyncIterator]: () => endless,
  });
  const socket = await openRaw(server.port);
  socket.pause();
  socket.write(
    `GET /api/v1/runs/${id}/egress HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\nAuthorization: Bearer owner-token\r\n\r\n`,
  );
  for (let [last, still] = [-1, 0]; still < 2_000; await new Promise(setImmediate)) {
    still = made === last && made > 0 ? still + 1 : 0;
    last = made;
  }
  assert(made * 1_000 < 32 * 1024 * 1024, `${made} flows fit the kernel’s buffers`);
  socket.resume();
  const ended = once(socket, 'close');
  await server.close();
  await ended;
});
