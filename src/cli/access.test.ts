import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { buildProgram, runProgram } from './program.ts';
import { TestServer, testContext } from './test-api.ts';
import { type TestEnvironment, testEnvironment } from './test-environment.ts';

let environment: TestEnvironment;
let server: TestServer;
beforeEach(() => {
  environment = testEnvironment();
  server = new TestServer();
});
afterEach(() => environment.dispose());

async function sealwright(...words: string[]) {
  environment.stdout.chunks.length = 0;
  environment.stderr.chunks.length = 0;
  const context = testContext(environment, server);
  const program = buildProgram(context, () => {});
  const status = await runProgram(program, words, context);
  return { status, out: environment.stdout.text, err: environment.stderr.text };
}

describe('access', () => {
  it('explains: may with 0, may not with 1, and what comes from a policy is escaped', async () => {
    const may = await sealwright('access', 'explain', 'me', 'run.read', 'run_1');
    assert.equal(may.status, 0);
    assert.match(may.out, /^user:t may run.read on run run_1, by scope:run:read\n/);
    const not = await sealwright('access', 'explain', 'user:ada', 'run.stop', '--address', '10.0.0.1');
    assert.equal(not.status, 1);
    assert.match(not.out, /may not run.stop on every run, by policy:office\n/);
    assert.match(not.out, /missing: policy:office forbids it/);
    assert(!not.out.includes('\x1b'), 'escaped');
    assert.deepEqual(server.calls.slice(-2), [
      'accessPolicies.explain {"action":"run.read","resource":"run_1"}',
      'accessPolicies.explain {"actor":"user:ada","action":"run.stop","address":"10.0.0.1"}',
    ]);
    assert.equal((await sealwright('access', 'explain', 'Ada', 'run.stop')).status, 2);
  });

  it('puts, prints, compares and removes policies', async () => {
    const text = 'permit (principal, action, resource);\n';
    writeFileSync(join(environment.folder, 'office.cedar'), text);
    const put = await sealwright('access', 'policies', 'put', 'office', 'office.cedar', '--reason', 'audit');
    assert.deepEqual([put.status, put.out], [0, 'office 2\n'], put.err);
    assert.deepEqual(server.calls, [
      `accessPolicies.put office ${JSON.stringify({ text, reason: 'audit' })}`,
    ]);
    const diff = await sealwright('access', 'policies', 'diff', 'office', 'office.cedar');
    assert.equal(diff.status, 1);
    assert.match(diff.out, /^- forbid .*\n\+ permit /m);
    assert.equal(
      (await sealwright('access', 'policies', 'get', 'office')).out,
      'forbid (principal, action, resource);\n',
    );
    assert.match(
      (await sealwright('access', 'policies', 'history', 'office')).out,
      /office +1 removed +user:t/,
    );
    assert.equal((await sealwright('access', 'policies', '--shipped')).out, 'the policies that ship\n');
    assert.equal((await sealwright('access', 'policies', 'ls', '--schema')).out, 'the schema\n');
    await sealwright('access', 'policies', 'rm', 'office');
    assert.equal(server.calls.at(-1), 'accessPolicies.remove office');
    assert.equal((await sealwright('access', 'policies', 'put', 'office', 'nowhere.cedar')).status, 1);
  });

  it('elevates, says who else has to approve, lists and decides', async () => {
    const made = await sealwright('access', 'elevate', 'admin', '--reason', 'pager', '--for', '30m');
    assert.match(made.out, /^elv_\w+ admin active until 2026/);
    assert.equal(server.calls.at(-1), 'elevations.request {"role":"admin","reason":"pager","seconds":1800}');
    const waiting = await sealwright('access', 'elevate', 'operator', '--reason', 'pager');
    assert.match(waiting.err, /somebody else has to approve it/);
    assert.equal((await sealwright('access', 'elevate', 'admin')).status, 2, 'a reason is asked for');
    assert.match((await sealwright('access', 'elevations')).out, /user:t +admin +active/);
    await sealwright('access', 'elevations', 'ls', '--everybody', '--state', 'requested');
    assert.equal(server.calls.at(-1), 'elevations.list {"state":"requested"}');
    for (const verb of ['approve', 'deny', 'end']) {
      await sealwright('access', 'elevations', verb, 'elv_1');
      assert.equal(server.calls.at(-1), `elevations.${verb} elv_1`);
    }
  });
});

describe('roles', () => {
  it('are listed, made and removed; a scope or reach that is none is refused here', async () => {
    assert.match((await sealwright('roles')).out, /admin +all +yes +identity:read/);
    const words = ['roles', 'put', 'lead', '--scope', 'run:read', '--reach', 'team', '--json'];
    assert.equal(JSON.parse((await sealwright(...words)).out).reach, 'team');
    assert.equal(server.calls.at(-1), 'roles.put lead {"scopes":["run:read"],"reach":"team"}');
    assert.equal((await sealwright('roles', 'put', 'lead', '--scope', '*', '--reach', 'team')).status, 2);
    assert.equal((await sealwright('roles', 'put', 'lead', '--reach', 'world')).status, 2);
    await sealwright('roles', 'rm', 'lead');
    assert.equal(server.calls.at(-1), 'roles.remove lead');
  });
});

describe('teams', () => {
  it('are made when somebody is added, and change member by member', async () => {
    const added = await sealwright('teams', 'add', 'red', 'user:ada', 'agent:scout');
    assert.equal(added.status, 0, added.err);
    assert.deepEqual(server.calls, [
      'teams.put red {"members":[]}',
      'teams.addMember red user:ada',
      'teams.addMember red agent:scout',
    ]);
    await sealwright('teams', 'remove', 'red', 'user:ada');
    assert.match((await sealwright('teams')).out, /red +- +agent:scout/);
    assert.match((await sealwright('teams', 'get', 'red')).out, /name +red/);
    assert.equal(
      (await sealwright('teams', 'put', 'red', '--member', 'ada')).status,
      2,
      'a kind is asked for',
    );
    await sealwright('teams', 'rm', 'red');
    assert.equal(server.calls.at(-1), 'teams.remove red');
  });
});
