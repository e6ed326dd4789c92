import assert from 'node:assert/strict';
import test from 'node:test';
import { openTestServer } from '../../tests/support/test-server.ts';

type Operation = {
  operationId?: string;
  summary?: string;
  security?: unknown[];
  parameters?: { name: string; in: string; required?: boolean; schema?: object }[];
  requestBody?: { content: Record<string, unknown> };
  responses: Record<string, { description?: string; content?: Record<string, unknown> }>;
};
type Document = {
  openapi: string;
  paths: Record<string, Record<string, Operation>>;
  components: { schemas: Record<string, unknown> };
};

test('the document describes every route, each with a name, its answers and its problems', async (t) => {
  const server = await openTestServer(t);
  const answer = await server.call('GET', '/api/v1/openapi.json', { token: null });
  const document = answer.body as Document;
  assert.equal(document.openapi, '3.1.0');
  const ids = new Set<string>();
  for (const { method, url, open } of server.routes) {
    if (method === 'HEAD') continue;
    const path = url.replaceAll(/:(\w+)/g, '{$1}');
    const operation = document.paths[path]?.[method.toLowerCase()];
    assert(operation !== undefined, `${method} ${path} is described`);
    assert(
      operation.operationId !== undefined && !ids.has(operation.operationId),
      `${path} has a name of its own`,
    );
    ids.add(operation.operationId);
    assert((operation.summary ?? '').length > 5);
    assert.deepEqual(operation.security, open ? [] : undefined, `${path} says whether it is open`);
    assert(
      operation.responses.default?.content?.['application/problem+json'] !== undefined,
      `${path} has problems`,
    );
    const successes = Object.keys(operation.responses).filter((status) => /^2|^101$|^302$/.test(status));
    assert.equal(successes.length, 1, `${path} has one success`);
    for (const { description } of Object.values(operation.responses)) assert((description ?? '').length > 3);
    for (const [, name] of path.matchAll(/\{(\w+)\}/g))
      assert(operation.parameters?.some((one) => one.name === name && one.in === 'path' && one.required));
    if (method === 'PATCH') assert(operation.parameters?.some(({ name }) => name === 'if-match'));
  }
  const described = Object.values(document.paths).reduce((sum, path) => sum + Object.keys(path).length, 0);
  assert.equal(described, ids.size, 'nothing is described that does not exist');
});

test('every reference in the document leads somewhere, and no schema stands there unused', async (t) => {
  const server = await openTestServer(t);
  const { text, body } = await server.call('GET', '/api/v1/openapi.json');
  const names = new Set([...text.matchAll(/"#\/components\/schemas\/(\w+)"/g)].map(([, name]) => name!));
  assert.deepEqual([...names].sort(), Object.keys((body as Document).components.schemas).sort());
  for (const name of [
    'Run',
    'CreateRun',
    'Session',
    'CreateSession',
    'Problem',
    'Token',
    'CreatedToken',
    'Upload',
  ])
    assert(names.has(name), name);
  assert.doesNotMatch(text, /\b[A-Z]\w*Input"/);
});

test('uploads and logs name the media types that they take and give', async (t) => {
  const server = await openTestServer(t);
  const { paths } = (await server.call('GET', '/api/v1/openapi.json')).body as Document;
  const logs = paths['/api/v1/runs/{id}/logs']!.get!;
  assert.deepEqual(Object.keys(logs.responses['200']!.content!).sort(), [
    'application/octet-stream',
    'text/event-stream',
    'text/plain',
  ]);
  const upload = paths['/api/v1/uploads']!.post!;
  assert.deepEqual(Object.keys(upload.requestBody?.content ?? {}).sort(), [
    'application/octet-stream',
    'application/x-git-bundle',
  ]);
});
