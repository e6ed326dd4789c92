import assert from 'node:assert/strict';
import { test } from 'node:test';
import { openTestServer } from '../../../tests/support/test-server.ts';
import type { AuditProofUseCases } from '../../control/audit/proofs.ts';

test('tiles are called as tlog-tiles calls them, and by no other name', async (t) => {
  const server = await openTestServer(t);
  const asked: unknown[] = [];
  const { control } = server;
  (control as { auditProofs: Partial<AuditProofUseCases> }).auditProofs = {
    tile: async (_caller, stream, place) => Buffer.from(String(asked.push([stream, place]))),
    entries: async (_caller, stream, place) => Buffer.from(String(asked.push([stream, 'entries', place]))),
    checkpoints: async (_caller, stream) => [`note of ${stream ?? 'all'}\n`, ...(stream ? [] : ['other\n'])],
  };
  const base = '/api/v1/audit/tlog/control';
  const tile = async (path: string) => await server.call('GET', `${base}/tile/${path}`);
  const first = await tile('0/000');
  assert.equal(first.headers.get('content-type'), 'application/octet-stream');
  for (const path of ['1/x001/234.p/12', '5/x001/x234/067', '0/123.p/255', 'entries/000.p/1'])
    assert.equal((await tile(path)).status, 200, path);
  assert.deepEqual(asked, [
    ['control', { level: 0, index: 0, width: 256 }],
    ['control', { level: 1, index: 1234, width: 12 }],
    ['control', { level: 5, index: 1234067, width: 256 }],
    ['control', { level: 0, index: 123, width: 255 }],
    ['control', 'entries', { level: 'entries', index: 0, width: 1 }],
  ]);
  const names = [
    '0',
    '0/0',
    '0/0000',
    '00/000',
    '64/000',
    '0/x000/001',
    '0/000.p/0',
    '0/000.p/256',
    '0/000.p/01',
    '-1/000',
    '0/000/',
    'entries',
    '0/x001',
    '0/%2e%2e/000',
    'tile/0/000',
  ];
  for (const path of names) assert.equal((await tile(path)).status, 404, path);
  const all = await server.call('GET', '/api/v1/audit/checkpoint');
  assert.equal(all.text, 'note of all\n\nother\n');
  assert.match(all.headers.get('content-type')!, /^text\/plain/);
  assert.equal((await server.call('GET', `${base}/checkpoint`)).text, 'note of control\n');
  assert.equal((await server.call('GET', '/api/v1/audit/checkpoint?stream=a&x=1')).status, 400);
  assert.equal((await server.call('GET', '/api/v1/audit/streams/control/inclusion?seq=0')).status, 400);
});
