import assert from 'node:assert/strict';
import { existsSync, readdirSync, readFileSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { buildProgram, runProgram } from './program.ts';
import { TestServer, testContext } from './test-api.ts';
import { type TestEnvironment, testEnvironment } from './test-environment.ts';

let environment: TestEnvironment;
let server: TestServer;
beforeEach(() => {
  environment = testEnvironment({});
  server = new TestServer();
});
afterEach(() => environment.dispose());

async function sealwright(...words: string[]) {
  environment.stdout.chunks.length = 0;
  environment.stderr.chunks.length = 0;
  const context = testContext(environment, server);
  const status = await runProgram(
    buildProgram(context, () => {}),
    words,
    context,
  );
  return { status, out: environment.stdout.text, err: environment.stderr.text };
}

describe('audit', () => {
  it('ls hands every filter over, and says what is no event', async () => {
    const filters = {
      action: 'run.',
      actor: 'user:ann',
      'on-behalf-of': 'user:bob',
      resource: 'run_1',
      'resource-kind': 'run',
      session: 'ses_1',
      run: 'run_1',
      outcome: 'denied',
      phase: 'attempt',
      rule: 'a:b',
      address: '::1',
      stream: 'control',
      text: 'two words',
      since: '2026-01-31T12:00:00Z',
      until: '2026-02-01T12:00:00Z',
    };
    server.unreadableLines = 3;
    const flags = Object.entries(filters).flatMap(([name, value]) => [`--${name}`, value]);
    const { out, err } = await sealwright('audit', 'ls', '--json', '--oldest-first', ...flags);
    const { query } = JSON.parse(out)[0];
    const camel = (name: string) => name.replace(/-./g, (dash) => dash[1]!.toUpperCase());
    for (const [name, value] of Object.entries(filters))
      assert.equal(query[camel(name)].replace('.000Z', 'Z'), value, name);
    assert.equal(query.order, 'oldest');
    assert.match(err, /3 lines of the log are no events/);
    assert.equal((await sealwright('audit', 'ls', '--since', 'soon')).status, 2);
  });

  it('tail prints events for people escaped, and as lines of JSON as they are', async () => {
    const { out } = await sealwright('audit', 'tail');
    assert.match(out, /^now {2}/);
    assert.match(out, /\\e\[2J\\u\{202e\}/);
    assert.equal(
      (await sealwright('audit', 'tail', '--json')).out,
      '{"at":"now","action":"\\u001b[2J\u202e"}\n',
    );
    environment.stdout.isTerminal = true;
    assert.match((await sealwright('audit', 'tail', '--json')).out, /\\u\{202e\}"\}\n$/);
  });

  it('events writes bytes to a pipe as they are, and escaped to a terminal', async () => {
    const { out } = await sealwright('audit', 'events', '--actor', 'user:ann');
    assert.equal(out, '{"a":1}\n{"\u009b":2}\n');
    assert.deepEqual(server.calls.at(-1), 'audit.export {"actor":"user:ann","format":"jsonl"}');
    environment.stdout.isTerminal = true;
    assert.equal((await sealwright('audit', 'events')).out, '{"a":1}\n{"\\x9b":2}\n');
    assert.equal((await sealwright('audit', 'events', '--format', 'xml')).status, 2);
  });

  it('events writes a file of its user’s alone, which is there once it is whole', async () => {
    const { status, out } = await sealwright('audit', 'events', '--format', 'csv', '--file', 'out.csv');
    assert.deepEqual([status, out], [0, '']);
    const file = join(environment.cwd, 'out.csv');
    assert.equal(readFileSync(file, 'utf8'), '{"a":1}\n{"\u009b":2}\n');
    assert.equal(statSync(file).mode & 0o777, 0o600);
    server.exportBreaks = true;
    assert.notEqual((await sealwright('audit', 'events', '--file', 'broken.jsonl')).status, 0);
    assert.deepEqual(
      readdirSync(environment.cwd).filter((name) => name.includes('broken')),
      [],
    );
  });

  it('events does not write through a link that somebody put there', async () => {
    const elsewhere = join(environment.cwd, 'elsewhere');
    writeFileSync(elsewhere, 'kept');
    symlinkSync(elsewhere, join(environment.cwd, 'out.partial'));
    assert.notEqual((await sealwright('audit', 'events', '--file', 'out')).status, 0);
    assert.equal(readFileSync(elsewhere, 'utf8'), 'kept');
    assert(!existsSync(join(environment.cwd, 'out')));
  });

  it('reindex says what is indexed then', async () => {
    assert.equal((await sealwright('audit', 'reindex')).out, '7 events are indexed\n');
    server.unreadableLines = 2;
    assert.deepEqual(JSON.parse((await sealwright('audit', 'reindex', '--json')).out), {
      events: 7,
      unreadable: 2,
    });
  });
});
