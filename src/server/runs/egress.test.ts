import assert from 'node:assert/strict';
import test from 'node:test';
import { openTestServer, type TestServer } from '../../../tests/support/test-server.ts';
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
