import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, it } from 'node:test';
import type { FlagView } from '../contract/flags-schemas.ts';
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

function file(text: string): string {
  writeFileSync(join(environment.folder, 'flags.yaml'), text);
  return 'flags.yaml';
}

function flag(more: Partial<FlagView> = {}): void {
  server.flags.length = 0;
  server.flags.push({
    ...{ name: 'sso-tickets', opens: 'a ticket', since: '0.1.0', rule: 'off', source: 'default' },
    ...{ set: null, problem: null },
    ...more,
  });
}

describe('flags', () => {
  it('are listed with who says so, and what is wrong is said beside the list', async () => {
    flag({ rule: ['admins', { teams: ['platform'] }, { percentage: 5 }], source: 'file' });
    server.flagProblems.push('the flags file: x\u001b[2J is not a flag');
    const { status, out, err } = await sealwright('flags');
    assert.equal(status, 0);
    assert.match(out, /^FLAG +RULE +SOURCE/);
    assert.match(out, /sso-tickets +admins; teams platform; 5 % +file +- /);
    assert.equal(err, 'sealwright: the flags file: x\\e[2J is not a flag\n');
    assert.deepEqual(JSON.parse((await sealwright('flags', 'ls', '--json')).out), server.flags);
    assert.equal(JSON.parse((await sealwright('flags', 'get', 'sso-tickets', '--json')).out).since, '0.1.0');
    assert.match((await sealwright('flags', 'get', 'sso-tickets')).out, /rule +admins; teams platform; 5 %/);
  });

  it('are set on, off or in stages, and to nothing else', async () => {
    flag();
    const set = async (...words: string[]) =>
      (await sealwright('flags', 'set', 'sso-tickets', ...words)).status;
    assert.equal(await set('on'), 0);
    assert.equal(await set('off'), 0);
    assert.equal(await set('--admins', '--team', 'a', '--team', 'b', '--team', 'a', '--percentage', '10'), 0);
    for (const words of [
      ['--percentage', 'ten'],
      ['--percentage', '-1'],
      ['true'],
      ['ON'],
      [],
      ['on', '--admins'],
    ])
      assert.notEqual(await set(...words), 0, words.join(' '));
    assert.deepEqual(server.calls, [
      'flags.put sso-tickets "on"',
      'flags.put sso-tickets "off"',
      'flags.put sso-tickets ["admins",{"teams":["a","b"]},{"percentage":10}]',
    ]);
    assert.equal((await sealwright('flags', 'rm', 'sso-tickets')).out, 'sso-tickets\n');
  });

  it('that the file decides are set with a word that this changes nothing', async () => {
    flag({ source: 'file' });
    const { out, err } = await sealwright('flags', 'set', 'sso-tickets', 'on');
    assert.equal(out, 'sso-tickets off\n');
    assert.match(err, /flags file says otherwise/);
    flag();
    assert.equal((await sealwright('flags', 'set', 'sso-tickets', 'on')).err, '');
  });

  it('say why, and end with 1 where they are off', async () => {
    const why = () => sealwright('flags', 'why', 'sso-tickets', '--actor', 'user:ada');
    flag();
    assert.deepEqual(await why(), {
      status: 1,
      out: 'sso-tickets is off for user:ada: nobody set it\n',
      err: '',
    });
    flag({ rule: 'on', source: 'api' });
    assert.deepEqual(await why(), {
      status: 0,
      out: 'sso-tickets is on for user:ada: what was set says on\n',
      err: '',
    });
    flag({ source: 'file', problem: 'the flags file cannot be used' });
    assert.match((await why()).out, /off for user:ada: the flags file cannot be used/);
  });
});

describe('flags check', () => {
  it('names what the file says, without a server', async () => {
    const { status, out } = await sealwright('flags', 'check', file('sso-tickets:\n  - admins\n'));
    assert.deepEqual([status, out], [0, 'flags.yaml names sso-tickets admins\n']);
    const { out: json } = await sealwright('flags', 'check', 'flags.yaml', '--json');
    assert.deepEqual(JSON.parse(json), { ok: true, rules: { 'sso-tickets': ['admins'] } });
    assert.match((await sealwright('flags', 'check', file('# nothing\n'))).out, /names no flag/);
  });

  it('says where the server would not understand it', async () => {
    for (const [text, place] of [
      ['sso-tickets: on\nsso-ticket: on\n', /flags\.yaml:2:1: sso-ticket is not a flag/],
      ['sso-tickets:\n  - admins\n  - teams: []\n', /flags\.yaml:3:5: sso-tickets\[1\]\.teams names no team/],
      ['sso-tickets: [admins\n', /flags\.yaml:\d+:\d+: /],
    ] as const) {
      const { status, err } = await sealwright('flags', 'check', file(text));
      assert.equal(status, 1);
      assert.match(err, place);
      const json = JSON.parse((await sealwright('flags', 'check', 'flags.yaml', '--json')).out);
      assert.equal(json.ok, false);
    }
    assert.equal((await sealwright('flags', 'check', 'absent.yaml')).status, 1);
  });
});
