import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { after, before, beforeEach, describe, test } from 'node:test';
import type { Client } from '../../src/client/client.ts';
import type { PutPolicy } from '../../src/contract/schemas.ts';
import { FakeInternet, places } from '../support/fake-internet.ts';
import { processesOf } from '../support/host-traces.ts';
import { type Instance, startInstance } from '../support/instance.ts';
import { flowsOf, runOnce, sh, startRun } from '../support/workload.ts';

/** G4 inside TLS: where a rule looks at requests, every one of them is judged, by whatever client and version it comes. */

const skip = process.getuid?.() === 0 ? false : 'needs root for a network namespace of its own';

const zone = { 'site.example': [[places.site]], 'other.example': [[places.site]] } as const;

const looking: PutPolicy['document'] = {
  rules: [{ host: 'site.example', methods: ['GET', 'PUT'], paths: ['/open/**'] }, { host: 'other.example' }],
};
const tunnelling: PutPolicy['document'] = { rules: [{ host: 'site.example' }] };

const curl = 'curl -sS --max-time 8';
const reachedOpen = /reached 93\.184\.216\.34 GET site\.example\/open\//;

describe('G4 inside TLS', { skip }, () => {
  let internet: FakeInternet;
  let instance: Instance;
  let client: Client;

  before(async () => {
    internet = await FakeInternet.open(zone);
    instance = await startInstance({
      environment: { SEALWRIGHT_RESOLVERS: '127.0.0.1', SEALWRIGHT_EGRESS_CA_FILE: internet.caFile },
    });
    client = instance.client;
    await client.policies.put('looking', { document: looking, reason: 'the test' });
  });

  beforeEach(() => {
    internet.arrivals.length = 0;
  });

  after(async () => {
    await instance?.remove();
    internet?.close();
  });

  const inSandbox = async (script: string, more = {}) => {
    const ran = await runOnce(client, sh(script), { egress: ['looking'], ...more });
    return { ...ran, text: ran.stdout + ran.stderr };
  };

  const requests = () => internet.arrivals.map(({ what }) => what).filter((what) => what !== 'connection');

  test('what the rule names passes, everything else is told why, and each request is on the record', async () => {
    const ran = await inSandbox(
      [
        `${curl} https://site.example/open/a`,
        `${curl} -w '%{http_code}\\n' https://site.example/secret`,
        `${curl} -w '%{http_code}\\n' -X DELETE https://site.example/open/a`,
      ].join('; '),
    );
    assert.match(ran.stdout, reachedOpen, ran.text);
    assert.equal(ran.stdout.match(/^403$/gm)?.length, 2);
    assert.match(ran.stdout, /paths: \["\/secret"\]/);
    assert.deepEqual(requests(), ['GET site.example/open/a']);
    const flows = await flowsOf(client, ran.run.id);
    assert.deepEqual(
      flows
        .filter(({ path }) => path !== null)
        .map(({ verdict, method, path, rule, denial }) => [verdict, method, path, rule ?? denial])
        .toSorted(),
      [
        ['allowed', 'GET', '/open/a', 'looking#1'],
        ['denied', 'DELETE', '/open/a', 'request'],
        ['denied', 'GET', '/secret', 'request'],
      ],
    );
  });

  for (const [name, script] of Object.entries({
    curl: `${curl} https://site.example/open/`,
    'curl without its environment': `env -i ${curl} https://site.example/open/`,
    'curl with HTTP/2 offered': `${curl} --http2 https://site.example/open/`,
    'curl by the HTTP proxy': `${curl} -x "$SEALWRIGHT_HTTP_PROXY" https://site.example/open/`,
    'curl by the SOCKS proxy': `${curl} -x "$SEALWRIGHT_SOCKS_PROXY" https://site.example/open/`,
    wget: 'wget -qO- https://site.example/open/',
    'openssl s_client':
      "printf 'GET /open/ HTTP/1.1\\r\\nHost: site.example\\r\\nConnection: close\\r\\n\\r\\n' | openssl s_client -quiet -verify_return_error -connect site.example:443 -servername site.example 2>/dev/null",
    'gnutls-cli':
      "printf 'GET /open/ HTTP/1.1\\r\\nHost: site.example\\r\\nConnection: close\\r\\n\\r\\n' | gnutls-cli site.example",
    'Python urllib': `python3 -c "import urllib.request as u; print(u.urlopen('https://site.example/open/').read().decode())"`,
    'Python urllib without its environment': `env -i python3 -c "import urllib.request as u; print(u.urlopen('https://site.example/open/').read().decode())"`,
    'Node fetch': `node -e "fetch('https://site.example/open/').then(r=>r.text()).then(console.log)"`,
  })) {
    test(`${name} trusts the gateway for the site, and is not let to the rest of it`, async (t) => {
      const program = /^(?:env -i |printf .*\| )?(\S+)/.exec(script)![1]!;
      const there = await inSandbox(`command -v ${program}`);
      if (there.run.phase !== 'succeeded') return t.skip(`${program} is not installed`);
      const ran = await inSandbox(script);
      assert.match(ran.stdout, reachedOpen, ran.text);
      internet.arrivals.length = 0;
      const refused = await inSandbox(script.replaceAll('/open/', '/secret'));
      assert.doesNotMatch(refused.stdout, /reached/);
      assert.deepEqual(requests(), []);
    });
  }

  test('another Host inside the TLS of an allowed name reaches nothing', async () => {
    const ran = await inSandbox(
      `${curl} -w '%{http_code}\\n' -H 'Host: other.example' https://site.example/open/; ${curl} https://site.example/open/`,
    );
    assert.match(ran.stdout, /^403$/m);
    assert.match(ran.stdout, reachedOpen);
    assert.deepEqual(requests(), ['GET site.example/open/']);
  });

  test('what no rule looks into keeps the certificate of the site itself', async () => {
    const ran = await inSandbox(
      `printf %s "$CA" > /tmp/ca.pem; ${curl} --capath /nowhere --cacert /tmp/ca.pem https://other.example/any; ${curl} --capath /nowhere --cacert /tmp/ca.pem https://site.example/open/`,
      {
        env: { CA: readFileSync(internet.caFile, 'utf8') },
      },
    );
    assert.match(ran.stdout, /GET other\.example\/any/);
    assert.match(
      ran.stderr,
      /certificate/i,
      'a program that trusts the site alone does not trust the gateway',
    );
    assert.doesNotMatch(ran.stdout, /site\.example/);
  });

  test('a tunnel is cut within a second when the policy begins to look inside', async () => {
    await client.policies.put('changing', { document: tunnelling, reason: 'the test' });
    const script = `printf %s "$CA" > /tmp/ca.pem; ${curl.replace('8', '30')} -N --capath /nowhere --cacert /tmp/ca.pem https://site.example/slow`;
    const run = await startRun(client, sh(script), {
      egress: ['changing'],
      env: { CA: readFileSync(internet.caFile, 'utf8') },
    });
    while (!internet.arrivals.some(({ what }) => what.includes('/slow')))
      await new Promise((resolve) => setTimeout(resolve, 20));
    const begun = performance.now();
    await client.policies.put('changing', {
      document: { rules: [{ host: 'site.example', paths: ['/slow'] }] },
      reason: 'the test',
    });
    await client.runs.wait(run.id);
    assert.ok(performance.now() - begun < 5_000);
    const [flow] = await flowsOf(client, run.id);
    assert.equal(flow?.end?.outcome, 'cut', JSON.stringify(flow));
  });

  test('an upload of 400 MB is passed on as it comes, in constant memory', async () => {
    const gateway = processesOf(instance.home).find(({ command }) => command.includes('gateway.js'))!;
    const resident = () =>
      Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${gateway.pid}/status`, 'utf8'))![1]) * 1024;
    const before = resident();
    let most = 0;
    const watching = setInterval(() => {
      most = Math.max(most, resident());
    }, 20);
    const ran = await inSandbox(
      `head -c 400000000 /dev/zero | curl -sS --max-time 60 -T - https://site.example/open/upload`,
    );
    clearInterval(watching);
    assert.match(ran.stdout, /PUT site\.example\/open\/upload 400000000/, ran.text);
    assert.ok(most - before < 100_000_000, `${most - before} bytes more`);
  });
});
