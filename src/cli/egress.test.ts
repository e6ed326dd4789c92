import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { ApiError } from '../client/api-error.ts';
import type { EgressFlowView, EgressSimulationView } from '../contract/schemas.ts';
import { parsePolicyText } from './policy-file.ts';
import { buildProgram, runProgram } from './program.ts';
import { ended, TestServer, testContext } from './test-api.ts';
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

function flow(id: number, more: Partial<EgressFlowView> = {}): EgressFlowView {
  return {
    ...{ id, at: '2026-01-02T03:04:05.678Z', host: 'a.example', address: '192.0.2.1', port: 443 },
    ...{ protocol: 'https', method: null, path: null, verdict: 'allowed', rule: 'web#1', denial: null },
    ...{ generation: 1, count: 1, end: null, ...more },
  };
}

const denied = { verdict: 'denied', rule: null, denial: 'no-rule', address: null } as const;

describe('egress log', () => {
  it('prints one line a flow, and nothing of it drives a terminal', async () => {
    server.run('r');
    server.flows.push(
      flow(1, { end: { at: '2026-01-02T03:04:06.000Z', outcome: 'closed', bytesOut: 10, bytesIn: 2048 } }),
      flow(2, { protocol: 'http', port: 80, method: 'GET', path: '/\u001b[2J\n' }),
      flow(3, { ...denied, host: 'evil\u202e.example', protocol: 'dns', count: 3 }),
      flow(4, { ...denied, host: null, address: '2001:db8::1', protocol: null }),
    );
    const { status, out } = await sealwright('egress', 'log', 'r');
    assert.equal(status, 0);
    assert.deepEqual(out.trimEnd().split('\n'), [
      '2026-01-02T03:04:05.678Z  allowed  a.example:443  https  web#1  closed, 10 B out, 2.0 KiB in',
      '2026-01-02T03:04:05.678Z  allowed  a.example:80  http  GET /\\e[2J\\n  web#1',
      '2026-01-02T03:04:05.678Z  denied   evil\\u{202e}.example (lookup)  no-rule  3 times',
      '2026-01-02T03:04:05.678Z  denied   [2001:db8::1]:443  no-rule  needs {"cidr":"2001:db8::1/128","ports":[443]}',
    ]);
    const only = await sealwright('egress', 'log', 'r', '--denied', '--json');
    assert.deepEqual(
      only.out
        .trimEnd()
        .split('\n')
        .map((line) => JSON.parse(line)),
      server.flows.slice(2),
    );
  });

  it('and watch follow a live run to its end and print every flow once', async () => {
    server.run('r', { phase: 'running' });
    for (const words of [['log', '-f'], ['watch']]) {
      server.flows.splice(0, Number.POSITIVE_INFINITY, flow(0), flow(1, { ...denied, host: 'a\u001b[2J' }));
      server.onFlow = () => {
        if (server.flows.length < 5) server.flows.push(flow(server.flows.length));
      };
      const { status, out, err } = await sealwright('egress', ...words, '--json', 'r');
      const ids = out
        .trimEnd()
        .split('\n')
        .map((line) => (JSON.parse(line) as EgressFlowView).id);
      assert.deepEqual([status, ids, err], [0, [0, 1, 2, 3, 4], '']);
      const refused = await sealwright('egress', ...words, '--denied', 'r');
      assert.equal(refused.out, '2026-01-02T03:04:05.678Z  denied   a\\e[2J:443  https  no-rule\n');
    }
  });
});

describe('egress suggest', () => {
  it('writes a policy that can be put, from every page', async () => {
    server.run('r');
    for (let id = 0; id < 450; id += 1)
      server.flows.push(flow(id, { ...denied, host: `h${id % 3}.example` }));
    const { out } = await sealwright('egress', 'suggest', 'r');
    assert.match(
      out,
      /^# What run_\w+ reached for, from 450 recorded flows\. Read it before you allow it\.\n/,
    );
    const read = parsePolicyText(out, 'web');
    assert('document' in read, JSON.stringify(read));
    const rules = [{ host: 'h0.example' }, { host: 'h1.example' }, { host: 'h2.example' }];
    assert.deepEqual(read.document, { rules });
    assert.deepEqual(JSON.parse((await sealwright('egress', 'suggest', 'r', '--json')).out), { rules });
  });

  it('of a run that reached for nothing is the policy that lets nothing through', async () => {
    server.run('r');
    const read = parsePolicyText((await sealwright('egress', 'suggest', 'r')).out, 'web');
    assert('document' in read);
    assert.deepEqual(read.document, { rules: [] });
  });
});

describe('egress simulate', () => {
  type Group = EgressSimulationView['groups'][number];
  const group: Group = {
    ...{ host: 'a\u001b[2J', address: null, port: 443, protocol: 'https', method: 'GET', path: '/x\n' },
    ...{ was: 'allowed', would: 'denied', rule: null, denial: 'request', unknown: null, count: 4, runs: 2 },
  };

  it('sends policies, presets and files in their order, and the range', async () => {
    const run = server.run('r');
    const session = server.session('s');
    writeFileSync(join(environment.folder, 'web.yaml'), 'rules: [{host: a.example}]\n');
    const words = ['--policy', 'npm', '--policy', './web.yaml', '--policy', 'web', '--since', '12h'];
    await sealwright('egress', 'simulate', ...words, '--run', 'r', '--json');
    await sealwright('egress', 'simulate', '--policy', 'full', '--session', 's');
    const requests = server.calls.map((call) => JSON.parse(call.replace(/^policies\.simulate /, '')));
    const document = { rules: [{ host: 'a.example' }] };
    assert.deepEqual(requests[0].policies, [{ name: 'npm' }, { document }, { name: 'web' }]);
    assert.match(requests[0].since, /^\d{4}-\d\d-\d\dT[\d:.]+Z$/);
    assert.deepEqual([requests[0].run, requests[1].session], [run.id, session.id]);
    assert.deepEqual(requests[1], { policies: [{ name: 'full' }], session: session.id });
  });

  it('prints what would change, and nothing of it drives a terminal', async () => {
    const lookup = {
      ...group,
      host: 'b.example',
      port: 53,
      protocol: 'dns',
      method: null,
      path: null,
    } as Group;
    const told: Partial<Group> = { would: 'unknown', denial: null, unknown: 'port' };
    server.simulation = {
      ...server.simulation,
      ...{ runs: 3, groups: [group, { ...lookup, ...told }], truncated: true, more: { groups: 1, flows: 9 } },
      totals: { flows: 20, unchanged: 3, newlyDenied: 13, newlyAllowed: 0, unknown: 4 },
    };
    const { status, out, err } = await sealwright('egress', 'simulate', '--policy', 'npm');
    assert.equal(status, 0);
    assert.deepEqual(out.trimEnd().split('\n'), [
      '20 flows of 3 runs since 2026-01-01T00:00:00.000Z: 3 unchanged, 13 newly denied, 0 newly allowed, 4 unknown',
      '',
      'WAS      WOULD BE  FLOWS  RUNS  PROTOCOL  DESTINATION         BY                    REQUEST',
      'allowed  denied    4      2     https     a\\e[2J:443          request               GET /x\\n',
      'allowed  unknown   4      2     dns       b.example (lookup)  port is not recorded  -',
    ]);
    assert.match(err, /9 more flows are not listed\n.*older flows were left out/);
    const { out: json } = await sealwright('egress', 'simulate', '--policy', 'npm', '--json');
    assert.deepEqual(JSON.parse(json), server.simulation);
  });

  it('sends nothing that it cannot read', async () => {
    writeFileSync(join(environment.folder, 'bad.yaml'), 'rules: [{host: 127.0.0.1}]\n');
    for (const [status, ...words] of [
      [2],
      [1, '--policy', 'bad.yaml'],
      [1, '--policy', './nowhere'],
      [2, '--policy', 'npm', '--since', 'yesterday'],
      [2, '--policy', 'npm', '--run', 'r', '--session', 's'],
    ] as const)
      assert.equal((await sealwright('egress', 'simulate', ...words)).status, status, words.join(' '));
    assert.deepEqual(server.calls, []);
  });
});

describe('run', () => {
  it('hands over what it may reach, and why', async () => {
    await sealwright('run', '--egress', 'npm', '--egress', 'web', '--', 'x');
    await sealwright('run', '--egress', 'full', '--reason', 'an incident', '--', 'x');
    const requests = server.calls
      .filter((call) => call.startsWith('runs.create'))
      .map((call) => JSON.parse(call.slice(12)));
    assert.deepEqual(
      requests.map(({ egress, egressReason }) => [egress, egressReason]),
      [
        [['npm', 'web'], undefined],
        [['full'], 'an incident'],
      ],
    );
  });

  it('asks for nothing in so many words, whatever its session says', async () => {
    await sealwright('run', '--egress', 'none', '--', 'x');
    assert.deepEqual(JSON.parse(server.calls.at(-1)!.slice(12)).egress, []);
    assert.equal((await sealwright('run', '--egress', 'none', '--egress', 'npm', '--', 'x')).status, 125);
  });

  it('names the hosts that were denied in one line, each once, and ends as the command did', async () => {
    server.logs = [[ended(7)]];
    assert.equal((await sealwright('run', '--', 'x')).err, '');
    server.flows.push(flow(1), flow(2, { ...denied, host: 'a\u001b[2J' }), flow(3, { ...denied, host: 'b' }));
    server.flows.push(flow(4, { ...denied, host: 'b' }));
    const two = await sealwright('run', '--', 'x');
    assert.equal(two.status, 7);
    assert.match(
      two.err,
      /^sealwright: 2 hosts were denied: a\\e\[2J, b; see sealwright egress suggest run_\w+\n$/,
    );
    server.flows.splice(0, 3);
    assert.match((await sealwright('run', '--', 'x')).err, /^sealwright: 1 host was denied: b; /);
    for (let id = 10; id < 1_500; id += 1) server.flows.push(flow(id, { ...denied, host: `h${id}` }));
    assert.match((await sealwright('run', '--', 'x')).err, /more than 1000 hosts .*, h15, h16, …; see/);
    assert.equal((await sealwright('run', '--json', '--', 'x')).err, '');
  });

  it('that may not read its flows ends all the same', async () => {
    server.logs = [[ended(3)]];
    const refused = new ApiError({ status: 403, code: 'access.denied', detail: 'no' });
    const api = { ...server.api, runs: { ...server.api.runs, egress: async () => Promise.reject(refused) } };
    const context = { ...testContext(environment, server), connect: async () => api };
    const program = buildProgram(context, () => {});
    assert.equal(await runProgram(program, ['run', '--', 'x'], context), 3);
    assert.equal(environment.stderr.text, '');
  });
});

describe('sessions create', () => {
  it('says what the runs of the session may reach, and ls shows it', async () => {
    const { out } = await sealwright('sessions', 'create', 'work', '--egress', 'npm', '--egress', 'web');
    assert.match(out, /^ses_\w+\n$/);
    await sealwright('sessions', 'create', '--egress', 'full', '--reason', 'why', '--json');
    const requests = server.calls.map((call) => JSON.parse(call.replace('sessions.create ', '')));
    assert.deepEqual(requests, [
      { name: 'work', egress: ['npm', 'web'] },
      { egress: ['full'], egressReason: 'why' },
    ]);
    const { out: listed } = await sealwright('sessions');
    assert.match(listed, / EGRESS +LIVE /);
    assert.match(listed, / npm, web +0 /);
  });

  it('gives the session to a team, and ls shows it', async () => {
    await sealwright('sessions', 'create', 'work', '--team', 'blue');
    assert.deepEqual(server.calls, ['sessions.create {"name":"work","team":"blue"}']);
    assert.match((await sealwright('sessions')).out, / OWNER +TEAM +AGE\n.* user:t +blue /);
  });
});
