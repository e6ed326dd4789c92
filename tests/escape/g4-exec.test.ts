import assert from 'node:assert/strict';
import { text } from 'node:stream/consumers';
import { after, before, beforeEach, describe, test } from 'node:test';
import type { Client } from '../../src/client/client.ts';
import type { EgressFlowView, PutPolicy } from '../../src/contract/schemas.ts';
import { FakeInternet, places } from '../support/fake-internet.ts';
import type { Instance } from '../support/instance.ts';
import { flowsOf, type Mode, modes, sh, startIn, startRun } from '../support/workload.ts';

/** G4: a command that is started beside a run reaches what the run's policy allows, and not more; its flows are the run's. */

const asRoot = process.getuid?.() === 0;
const skip = asRoot ? false : 'needs root for a network namespace of its own';

const web: PutPolicy['document'] = {
  rules: [
    { host: 'site.example', protocol: 'http' },
    { host: 'inside.example', protocol: 'http' },
  ],
};
const curl = 'curl -sS --max-time 8';

let internet: FakeInternet;

before(async () => {
  if (!asRoot) return;
  const zone = { 'site.example': [[places.site]], 'other.example': [[places.other]] };
  internet = await FakeInternet.open({ ...zone, 'inside.example': [[places.private]] });
});

after(() => internet?.close());

for (const { mode, skip: cannot } of modes)
  describe(`G4 for exec as ${mode}`, { skip: skip || cannot }, () => suite(mode));

function suite(mode: Mode): void {
  let instance: Instance;
  let client: Client;

  before(async () => {
    instance = await startIn(mode, { SEALWRIGHT_RESOLVERS: '127.0.0.1' });
    client = instance.client;
    await client.policies.put('web', { document: web });
  });

  beforeEach(() => {
    internet.arrivals.length = 0;
  });

  after(async () => {
    await instance?.remove();
  });

  /** A run that does nothing of itself. */
  async function idleRun(egress: readonly string[]) {
    const session = await client.sessions.create({ attach: { enabled: true } });
    const live = await startRun(client, sh('echo idle; exec sleep 300'), {
      session: session.id,
      egress: [...egress],
    });
    await live.shows(/idle/);
    return live;
  }

  /** What a command with pipes says, on both of them. */
  async function execed(run: string, script: string): Promise<string> {
    const { stdin, stdout, stderr, exit } = await client.attach.openExec(run, { command: sh(script) });
    stdin.end();
    const [out, err] = await Promise.all([text(stdout), text(stderr)]);
    const { code } = await exit;
    return `${out}${err}ended with ${code}\n`;
  }

  /** A run that goes on is told of in parts: its flows, once they are what they are to be. */
  async function flowsOnce(run: string, enough: (flows: readonly EgressFlowView[]) => boolean) {
    for (const end = performance.now() + 10_000; ; ) {
      const flows = await flowsOf(client, run);
      if (enough(flows)) return flows;
      assert(performance.now() < end, JSON.stringify(flows));
    }
  }

  const requests = () =>
    internet.arrivals.filter(({ what }) => what !== 'connection').map(({ at, what }) => `${at} ${what}`);

  test('what the policy names is reached, and recorded as a flow of the run with its rule', async () => {
    const live = await idleRun(['web']);
    const said = await execed(live.id, `${curl} http://site.example/beside`);
    assert.match(said, new RegExp(`^reached ${places.site} GET site\\.example/beside 0\\nended with 0\\n$`));
    assert.deepEqual(requests(), [`${places.site} GET site.example/beside`]);
    const flows = await flowsOnce(live.id, ({ length }) => length > 0);
    assert.deepEqual(
      flows.map(({ host, method, path, rule, verdict }) => ({ host, method, path, rule, verdict })),
      [{ host: 'site.example', method: 'GET', path: '/beside', rule: 'web#1', verdict: 'allowed' }],
    );
    await client.runs.stop(live.id);
  });

  test('what it does not name, private addresses, other protocols and ways around are refused and recorded', async () => {
    const live = await idleRun(['web']);
    const denied = [
      'http://other.example/',
      `http://${places.other}/`,
      `http://${places.metadata}/`,
      'http://inside.example/',
      'http://site.example:8080/',
      `http://${places.own}/`,
    ];
    const tries = denied.map((url) => `${curl} -f --noproxy '*' ${url}; echo "tried $?"`).join('\n');
    const said = await execed(live.id, `${tries}\n${curl} http://site.example/control`);
    assert.equal([...said.matchAll(/^tried [1-9]\d*$/gm)].length, denied.length, said);
    assert.match(said, /^reached .*\/control/m);
    assert.deepEqual(requests(), [`${places.site} GET site.example/control`]);
    const flows = await flowsOnce(live.id, (all) => all.some(({ path }) => path === '/control'));
    for (const host of ['other.example', places.other, 'inside.example'])
      assert.equal(flows.find((flow) => (flow.host ?? flow.address) === host)?.verdict, 'denied', host);
    assert.deepEqual(
      flows.filter(({ verdict }) => verdict === 'allowed').map(({ path }) => path),
      ['/control'],
    );
    await client.runs.stop(live.id);
  });

  test('without a policy nothing is reached, whatever another run in the same session may', async () => {
    const bare = await idleRun([]);
    const beside = await startRun(client, sh('echo idle; exec sleep 300'), {
      session: bare.session,
      egress: ['web'],
    });
    await beside.shows(/idle/);
    const ask = `${curl} http://site.example/; echo "status $?"`;
    assert.match(await execed(bare.id, ask), /status [1-9]/);
    assert.deepEqual(requests(), []);
    assert.match(await execed(beside.id, ask), /reached.*\nstatus 0/);
    const [flow, ...more] = await flowsOnce(bare.id, ({ length }) => length > 0);
    assert.deepEqual(
      [flow?.host, flow?.verdict, flow?.denial, more],
      ['site.example', 'denied', 'no-rule', []],
    );
    await client.runs.stop(bare.id);
    await client.runs.stop(beside.id);
  });

  test('a command that is under way is cut from what its run may no longer reach', async () => {
    await client.policies.put('moving', { document: web });
    const live = await idleRun(['moving']);
    const { stdout, exit } = await client.attach.openExec(live.id, {
      command: sh(`${curl} --max-time 60 -N http://site.example/slow`),
    });
    const shown = stdout[Symbol.asyncIterator]();
    assert.match(String((await shown.next()).value), /tick/);
    await client.policies.put('moving', {
      document: { rules: [{ host: 'other.example', protocol: 'http' }] },
    });
    while (!(await shown.next()).done);
    assert.notEqual((await exit).code, 0);
    const [flow] = await flowsOnce(live.id, ([first]) => first?.end?.outcome === 'cut');
    assert.equal(flow?.path, '/slow');
    await client.runs.stop(live.id);
  });
}
