import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import type { EgressFlowView, EgressSimulationView, SessionView } from '../../src/contract/schemas.ts';
import { type CliProcess, startCli } from '../support/cli-process.ts';
import { type Instance, startInstance } from '../support/instance.ts';

/** What a run reaches is said by its session, watched while it happens, and simulated before a policy changes. */

const folder = mkdtempSync(join(tmpdir(), 'sealwright-egress-'));
const home = join(folder, 'home');
/** A service of this machine that one policy names. */
const asked: string[] = [];
let goesOn = false;
const service = createServer((request, response) => {
  asked.push(request.url ?? '');
  response.end(goesOn ? 'yes' : 'not yet');
});
let instance: Instance;
let url: string;

before(async () => {
  service.listen(0, '127.0.0.1');
  await once(service, 'listening');
  const { port } = service.address() as AddressInfo;
  url = `http://127.0.0.1:${port}`;
  const rule = `  - cidr: 127.0.0.1/32\n    protocol: http\n    ports: [${port}]\n`;
  writeFileSync(join(folder, 'service.yaml'), `limits:\n  connections: 50\nrules:\n${rule}`);
  writeFileSync(join(folder, 'wider.yaml'), `rules:\n${rule.replace(']', ', 80]')}  - host: asked.example\n`);
  writeFileSync(join(folder, 'nothing.yaml'), 'rules: []\n');
  instance = await startInstance({ home });
});

after(async () => {
  await instance.remove();
  service.close();
  service.closeAllConnections();
  rmSync(folder, { recursive: true, force: true });
});

function start(...words: string[]): CliProcess {
  return startCli(home, words, { cwd: folder });
}

async function sealwright(...words: string[]) {
  const { status, stdout, stderr } = await start(...words).ended;
  return { status, out: String(stdout), said: String(stderr) };
}

async function json<T>(...words: string[]): Promise<T> {
  const { status, out, said } = await sealwright(...words, '--json');
  assert.equal(status, 0, said);
  return JSON.parse(out) as T;
}

const simulate = (...words: string[]) => json<EgressSimulationView>('egress', 'simulate', ...words);

test('a run reaches what its session names, another name overrides it, and none is nothing', async () => {
  assert.equal((await sealwright('policy', 'put', 'service', 'service.yaml')).out, 'service 1\n');
  assert.match((await sealwright('policy', 'get', 'service')).out, /\nlimits:\n {2}connections: 50\n/);
  const { egress } = await json<SessionView>('sessions', 'create', 'work', '--egress', 'service');
  assert.deepEqual(egress, { names: ['service'], mode: 'restricted' });
  assert.match((await sealwright('sessions')).out, / work +\S+ +no +service +0 /);
  const curl = ['curl', '-sS', '--max-time', '10', `${url}/first`];
  const run = async (...flags: string[]) =>
    await sealwright('run', '--session', 'work', ...flags, '--', ...curl);
  const reached = await run();
  assert.deepEqual([reached.status, reached.out], [0, 'not yet'], reached.said);
  for (const name of ['none', 'npm']) assert.equal((await run('--egress', name)).status, 7, 'refused');
  assert.deepEqual(asked, ['/first']);
  const unknown = await sealwright('sessions', 'create', '--egress', 'nowhere');
  assert.deepEqual([unknown.status, unknown.out], [1, '']);
  assert.match(unknown.said, /no preset or policy with the name nowhere/);
});

test('a run is watched to its end, each flow once, while control is killed and comes back', async () => {
  const script = `curl -sS ${url}/watched; until curl -sS ${url}/go | grep -q yes; do sleep 0.1; done`;
  const made = await sealwright('run', '--session', 'work', '--detach', '--', 'sh', '-c', script);
  const id = made.out.trim();
  const watching = start('egress', 'watch', id, '--json');
  await watching.said(/"path":"\/go"/);
  process.kill(instance.pids().control, 'SIGKILL');
  await new Promise((resolve) => setTimeout(resolve, 500));
  goesOn = true;
  const { status, stdout, stderr } = await watching.ended;
  assert.equal(status, 0, String(stderr));
  const flows = String(stdout)
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as EgressFlowView);
  assert.deepEqual([flows[0]?.path, flows[0]?.rule, flows.at(-1)?.path], ['/watched', 'service#1', '/go']);
  const ids = flows.map((flow) => flow.id);
  assert.deepEqual(
    ids,
    [...new Set(ids)].sort((a, b) => a - b),
  );
  const logged = await sealwright('egress', 'log', id, '--json');
  assert.equal(logged.out.trimEnd().split('\n').length, flows.length, 'none was missed');
  assert.equal((await instance.client.runs.get(id)).phase, 'succeeded');
});

test('a policy is simulated on what runs reached for, before anything changes', async () => {
  const script = 'curl -sS --max-time 5 http://127.0.0.1/; curl -sS --max-time 5 https://asked.example; true';
  const { out, said } = await sealwright(
    'run',
    '--session',
    'work',
    '--name',
    'denied',
    '--',
    'sh',
    '-c',
    script,
  );
  assert.match(out + said, /Sealwright denied this/);
  const same = await simulate('--policy', 'service');
  assert.deepEqual([same.totals.newlyDenied, same.totals.newlyAllowed], [0, 0]);
  assert(same.totals.unchanged > 4);
  const nothing = await simulate('--policy', 'nothing.yaml', '--since', '1h');
  assert.equal(nothing.totals.newlyDenied + nothing.totals.unchanged, same.totals.flows);
  assert.deepEqual(
    nothing.groups
      .map(({ would, denial }) => `${would} ${denial}`)
      .filter((each, at, all) => all.indexOf(each) === at),
    ['denied address-class'],
  );
  const wider = await simulate('--policy', 'wider.yaml', '--run', 'denied');
  const told = wider.groups.map(({ host, address, would, rule, unknown }) => [
    host ?? address,
    would,
    rule ?? unknown,
  ]);
  assert.deepEqual(told.sort(), [
    ['127.0.0.1', 'allowed', 'candidate#1'],
    ['asked.example', 'unknown', 'port'],
  ]);
  const table = await sealwright('egress', 'simulate', '--policy', './wider.yaml', '--session', 'work');
  assert.match(
    table.out,
    /^\d+ flows of \d+ runs since .* 0 newly denied, 1 newly allowed, \d+ unknown\n\nWAS /,
  );
  const early = await simulate('--policy', 'npm', '--since', new Date(Date.now() + 60_000).toISOString());
  assert.equal(early.totals.flows, 0);
  assert.match((await sealwright('policy', 'get', 'service')).out, /generation 1/);
});
