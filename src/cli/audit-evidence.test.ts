import assert from 'node:assert/strict';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { before, describe, type TestContext, test } from 'node:test';
import { actorOf, callerOf, TestControl } from '../../tests/support/test-control.ts';
import { buildProgram, runProgram } from './program.ts';
import { TestServer, testContext } from './test-api.ts';
import { testEnvironment } from './test-environment.ts';

let bundle = Buffer.alloc(0);
let key = '';

before(async () => {
  await using control = await TestControl.open();
  const session = await control.session(callerOf(actorOf('ann')));
  const auditor = callerOf(actorOf('eve', 'all', ['audit:read']));
  const lines: string[] = [];
  for await (const line of await control.control.auditEvidence.export(auditor, { session }))
    lines.push(`${line}\n`);
  bundle = Buffer.from(lines.join(''));
  key = control.audit.key();
});

function opened(t: TestContext) {
  const environment = testEnvironment({});
  t.after(() => environment.dispose());
  const server = new TestServer();
  server.evidence = bundle;
  const path = (name: string) => join(environment.folder, name);
  const sealwright = async (...words: string[]) => {
    environment.stdout.chunks.length = 0;
    environment.stderr.chunks.length = 0;
    const context = testContext(environment, server);
    const program = buildProgram(context, () => {});
    const status = await runProgram(program, ['audit', ...words], context);
    return { status, out: environment.stdout.text, err: environment.stderr.text };
  };
  return { server, path, sealwright };
}

describe('audit export', () => {
  test('writes a bundle that it has verified, and its report', async (t) => {
    const { server, path, sealwright } = opened(t);
    const made = await sealwright('export', '--from', '2h', '-o', path('e.json'), '--html', path('e.html'));
    assert.equal(made.status, 0, made.err);
    assert.match(server.calls.at(-1)!, /^audit.evidence \{"since":"\d{4}-/);
    assert.deepEqual(readFileSync(path('e.json')), bundle);
    assert.match(made.err, /intact; 2 events/);
    assert.match(readFileSync(path('e.html'), 'utf8'), /session\.create/);
  });

  test('fails where what came does not verify, and wants one question', async (t) => {
    const { server, path, sealwright } = opened(t);
    server.evidence = bundle.subarray(0, bundle.length - 20);
    const cut = await sealwright('export', '--from', '2h', '-o', path('e.json'), '--html', path('e.html'));
    assert.equal(cut.status, 1);
    assert.match(cut.err, /does not verify/);
    assert.equal(existsSync(path('e.html')), false);
    assert.equal((await sealwright('export', '-o', path('e.json'))).status, 2);
    assert.equal(
      (await sealwright('export', '--run', 'a', '--session', 'b', '-o', path('e.json'))).status,
      2,
    );
  });
});

describe('audit verify and report', () => {
  test('take a bundle for what it is, by the statuses of logs', async (t) => {
    const { path, sealwright } = opened(t);
    writeFileSync(path('e.json'), bundle);
    const verified = await sealwright('verify', path('e.json'));
    assert.equal(verified.status, 0, verified.out);
    assert.match(verified.out, /asked for by user:eve at .*: session ses_/);
    assert.match(verified.out, /held against the keys that it names itself/);
    const trusted = await sealwright('verify', path('e.json'), '--key', key, '--json');
    assert.equal(trusted.status, 0);
    assert.equal(JSON.parse(trusted.out).evidence[0].events, 2);
    writeFileSync(path('bad.json'), bundle.toString().replace('user:ann', 'user:eve'));
    const tampered = await sealwright('verify', path('bad.json'), path('e.json'));
    assert.equal(tampered.status, 1);
    assert.match(tampered.out, /is not in the log that the checkpoint was signed for|does not follow/);
    assert.equal((await sealwright('verify', path('e.json'), path('absent'))).status, 2);
  });

  test('a report is of what verifies, unless it is asked for and says so', async (t) => {
    const { path, sealwright } = opened(t);
    writeFileSync(path('e.json'), bundle);
    assert.equal((await sealwright('report', path('e.json'), '-o', path('a.html'), '--key', key)).status, 0);
    const right = readFileSync(path('a.html'), 'utf8');
    assert.match(right, /<p class="verdict">Verified/);
    await sealwright('report', path('e.json'), '-o', path('b.html'), '--key', key);
    assert.equal(readFileSync(path('b.html'), 'utf8'), right, 'the same bundle gives the same report');
    writeFileSync(path('bad.json'), bundle.toString().replace('user:ann', 'user:eve'));
    const refused = await sealwright('report', path('bad.json'), '-o', path('c.html'));
    assert.equal(refused.status, 1);
    assert.equal(existsSync(path('c.html')), false);
    assert.equal(
      (await sealwright('report', path('bad.json'), '-o', path('c.html'), '--unverified')).status,
      0,
    );
    assert.match(readFileSync(path('c.html'), 'utf8'), /verdict bad">NOT VERIFIED/);
    assert.equal(
      (await sealwright('report', path('absent'), '-o', path('d.html'), '--unverified')).status,
      1,
    );
  });
});
