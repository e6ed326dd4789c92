import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { createServer, type Server } from 'node:net';
import { after, before, beforeEach, describe, test } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import type { Client } from '../../src/client/client.ts';
import type { EgressFlowView, PutPolicy } from '../../src/contract/schemas.ts';
import { FakeInternet, places } from '../support/fake-internet.ts';
import { type Instance, startInstance } from '../support/instance.ts';
import { flowsOf, runOnce, sh, startRun } from '../support/workload.ts';

/** G4 by the explicit proxies: a program that is set up for one reaches what it would reach without, and no more. */

const asRoot = process.getuid?.() === 0;
const skip = asRoot ? false : 'needs root for a network namespace of its own';

const zone = {
  'site.example': [[places.site]],
  'other.example': [[places.other]],
  'inside.example': [[places.private]],
  'metadata.example': [[places.metadata]],
} as const;

const web: PutPolicy['document'] = {
  rules: [
    { host: 'site.example' },
    { host: 'site.example', protocol: 'http', ports: [80, 8080] },
    { host: 'site.example', protocol: 'tcp', ports: [7, 1080, 3128] },
    { host: 'inside.example', protocol: 'http' },
    { host: 'metadata.example', protocol: 'http' },
  ],
};

const http = 'http://198.18.0.1:3128';
const curl = 'curl -sS --max-time 8';
/** Every way through a proxy that curl has; by the last it looks names up itself. */
const ways = {
  request: `${curl} -x ${http}`,
  tunnel: `${curl} --proxytunnel -x ${http}`,
  'socks by name': `${curl} --socks5-hostname 198.18.0.1:1080`,
  'socks by address': `${curl} --socks5 198.18.0.1:1080`,
} as const;
type Way = keyof typeof ways;
const everyWay = Object.keys(ways) as Way[];

describe('G4 by proxies', { skip }, () => {
  let internet: FakeInternet;
  let instance: Instance;
  let client: Client;
  let ca: string;
  const servers: Server[] = [];

  before(async () => {
    internet = await FakeInternet.open(zone);
    ca = readFileSync(internet.caFile, 'utf8');
    // A real host may have the ports of the proxies.
    for (const port of [1080, 3128]) {
      const server = createServer((socket) => socket.end(`site at ${port}\n`)).listen(port, places.site);
      await once(server, 'listening');
      servers.push(server);
    }
    instance = await startInstance({ environment: { SEALWRIGHT_RESOLVERS: '127.0.0.1' } });
    client = instance.client;
    await client.policies.put('web', { document: web, reason: 'the test' });
  });

  beforeEach(() => {
    internet.arrivals.length = 0;
    internet.lookups.length = 0;
  });

  after(async () => {
    await instance?.remove();
    for (const server of servers) server.close();
    internet?.close();
  });

  const inSandbox = async (script: string) => {
    const prelude = 'printf %s "$CA" > /tmp/ca.pem; export CURL_CA_BUNDLE=/tmp/ca.pem;';
    const ran = await runOnce(client, sh(`${prelude} ${script}`), { egress: ['web'], env: { CA: ca } });
    return { ...ran, text: ran.stdout + ran.stderr };
  };

  const requests = () =>
    internet.arrivals.filter(({ what }) => what !== 'connection').map(({ port, what }) => `${port} ${what}`);

  for (const way of everyWay)
    test(`by ${way} a program reaches what the policy names, and each flow is recorded as without`, async () => {
      const ran = await inSandbox(
        [
          `${ways[way]} http://site.example/plain`,
          `${ways[way]} http://SITE.example:8080/port`,
          `${ways[way]} https://site.example/secret`,
        ].join(' && '),
      );
      assert.equal(ran.run.phase, 'succeeded', ran.text);
      assert.deepEqual(requests(), [
        '80 GET site.example/plain',
        '8080 GET site.example:8080/port',
        '443 GET site.example/secret',
      ]);
      const direct = await inSandbox(
        `${curl} http://site.example/plain; ${curl} http://site.example:8080/port; ${curl} https://site.example/secret`,
      );
      const facts = (flows: readonly EgressFlowView[]) =>
        flows.map(({ host, address, port, protocol, method, path, verdict, rule }) =>
          JSON.stringify([host, address, port, protocol, method, path, verdict, rule]),
        );
      assert.deepEqual(facts(await flowsOf(client, ran.run.id)), facts(await flowsOf(client, direct.run.id)));
    });

  const forbidden = [
    'http://other.example/',
    'https://other.example/',
    'http://site.example:8081/',
    'http://inside.example/',
    'http://metadata.example/',
    `http://${places.other}/`,
    `https://${places.site}/`,
    `http://${places.metadata}/latest`,
    `http://[::ffff:${places.metadata}]/`,
    `http://${places.private}/`,
    `http://${places.own}/`,
    'http://localhost/',
    'http://127.0.0.1/',
    'http://[::1]/',
    'http://0177.0.0.1/',
    'http://2130706433/',
    'http://198.18.0.1:3128/',
    'http://198.18.0.1:1080/',
    'http://198.18.0.1:53/',
    'http://198.19.200.200/',
  ];
  for (const way of everyWay)
    test(`by ${way} nothing else is reached: names, addresses and spellings of them, the proxies themselves`, async () => {
      const tries = forbidden.map((url) => `${ways[way]} -k -o /dev/null '${url}'`).join('; ');
      const ran = await inSandbox(`${tries}; ${ways[way]} http://site.example/control`);
      assert.match(ran.stdout, /reached/, ran.text);
      assert.deepEqual(requests(), ['80 GET site.example/control']);
      assert.deepEqual(
        [...new Set(internet.lookups)].sort(),
        ['inside.example', 'metadata.example', 'site.example'],
        'nothing is looked up but what a rule names',
      );
      const denied = (await flowsOf(client, ran.run.id)).filter(({ verdict }) => verdict === 'denied');
      assert(denied.length >= 12, `${denied.length} denials`);
    });

  test('a denial through a proxy is legible: a status and a body, or the reply of SOCKS', async () => {
    const ran = await inSandbox(
      [
        `${ways.request} -w '%{http_code}\\n' http://other.example/`,
        `${ways.tunnel} -v http://other.example/`,
        `${ways['socks by name']} http://other.example/`,
        `${ways.request} http://site.example:443/`,
        `printf 'GET / HTTP/1.1\\r\\nHost: site.example\\r\\n\\r\\n' | perl -MSocket -e 'socket(S,PF_INET,SOCK_STREAM,0);connect(S,pack_sockaddr_in(3128,inet_aton(q(198.18.0.1))));$r=join"",<STDIN>;syswrite S,$r;print <S>'`,
        'true',
      ].join('; '),
    );
    assert.match(ran.stdout, /no rule of the run's policy allows other\.example:80[\s\S]*403/);
    assert.match(ran.stderr, /response 403|HTTP code 403/);
    assert.match(ran.stderr, /SOCKS5.*\(2\)/);
    assert.match(ran.stdout, /what was sent is not what the rule is for: site\.example:443/);
    assert.match(ran.stdout, /this is a proxy/);
  });

  test('one connection to the proxy asks for many hosts, and each is judged on its own', async () => {
    const urls = ['http://site.example/1', 'http://other.example/2', 'http://site.example/3'];
    const ran = await inSandbox(`${ways.request} ${urls.join(' ')}; true`);
    assert.match(ran.stdout, /site\.example\/1[\s\S]*denied[\s\S]*site\.example\/3/);
    assert.deepEqual(requests(), ['80 GET site.example/1', '80 GET site.example/3']);
  });

  test('names in a tunnel cannot be swapped: SNI, Host, absolute-form', async () => {
    const ran = await inSandbox(
      [
        `${ways.tunnel} -k --connect-to other.example:443:site.example:443 https://other.example/sni`,
        `${ways['socks by name']} -k --connect-to other.example:443:site.example:443 https://other.example/sni`,
        `${ways.tunnel} -H 'Host: other.example' http://site.example/host`,
        `${ways.request} -H 'Host: other.example' http://site.example/host`,
        `${ways.request} http://site.example/control`,
      ].join('; '),
    );
    assert.deepEqual(requests(), ['80 GET site.example/control'], ran.text);
  });

  for (const way of everyWay)
    test(`by ${way} a redirect to where no rule leads is not followed through`, async () => {
      await inSandbox(`${ways[way]} -L http://site.example/redirect; true`);
      assert.deepEqual(requests(), ['80 GET site.example/redirect']);
    });

  test('proxies cannot be chained through each other', async () => {
    const ran = await inSandbox(
      [
        `${curl} --preproxy socks5h://198.18.0.1:1080 -x ${http} http://site.example/chain`,
        `${curl} --preproxy socks5h://198.18.0.1:1080 --proxytunnel -x ${http} https://site.example/chain`,
        `${ways.request} http://site.example/control`,
      ].join('; '),
    );
    assert.deepEqual(requests(), ['80 GET site.example/control'], ran.text);
  });

  test('ten at once by every way are served, and ten that are denied are denied', async () => {
    const script = everyWay
      .flatMap((way) =>
        Array.from({ length: 10 }, (_, at) => [
          `${ways[way]} http://site.example/${at} &`,
          `${ways[way]} http://other.example/${at} &`,
        ]).flat(),
      )
      .join(' ');
    const ran = await inSandbox(`${script} wait`);
    assert.equal(requests().length, 40, ran.text);
    assert(requests().every((line) => line.includes('site.example')));
  });

  test('a policy that changes cuts what goes through the proxies within a second', async () => {
    await client.policies.put('moving', { document: web });
    const live = await startRun(
      client,
      sh(
        `${everyWay.map((way) => `${ways[way]} --max-time 30 -N http://site.example/slow &`).join(' ')} wait`,
      ),
      { egress: ['moving'] },
    );
    await live.shows(/(tick\s+){8}/);
    const open = async () => (await flowsOf(client, live.id)).filter(({ verdict }) => verdict === 'allowed');
    // The list follows the runner's record, which control is not asked about, by a moment.
    for (const late = performance.now() + 1_000; (await open()).length < 4 && performance.now() < late; )
      await pause(5);
    assert.equal((await open()).length, 4);
    const changedAt = performance.now();
    await client.policies.put('moving', { document: { rules: [{ host: 'site.example' }] } });
    while ((await open()).some(({ end }) => end?.outcome !== 'cut'))
      assert(performance.now() - changedAt < 5_000, 'all are cut');
    await live.ended;
  });

  test('a host that has the ports of the proxies is reached there, and a workload may have them itself', async () => {
    const at = (port: number, host: string) =>
      `perl -MSocket -e 'socket(S,PF_INET,SOCK_STREAM,0);connect(S,pack_sockaddr_in(${port},inet_aton(q(${host}))))||die $!;print <S>'`;
    const own =
      "perl -MSocket -e 'my $me=pack_sockaddr_in(3128,inet_aton(q(127.0.0.1)));socket(S,PF_INET,SOCK_STREAM,0);bind(S,$me)||die qq(no $!);listen(S,5);if(fork){alarm 5;accept(C,S);print C qq(own\\n)}else{socket(D,PF_INET,SOCK_STREAM,0);connect(D,$me)||die $!;print <D>}'";
    const ran = await inSandbox(
      `${at(3128, 'site.example')}; ${at(1080, 'site.example')}; ${ways.request} http://site.example/beside`,
    );
    assert.match(ran.stdout, /site at 3128\nsite at 1080\nreached/, ran.text);
    await client.policies.put('plain', { document: { rules: [{ host: 'site.example' }] } });
    const alone = await runOnce(client, sh(own), {
      egress: ['plain'],
    });
    assert.match(alone.stdout, /own/, alone.stdout + alone.stderr);
  });

  test('in full mode proxies reach every public name, address and port, and still no private ones', async () => {
    const private_ = [
      places.metadata,
      places.private,
      places.own,
      '127.0.0.1',
      'inside.example',
      'metadata.example',
    ];
    const script = everyWay
      .flatMap((way) => [
        `${ways[way]} http://other.example:8080/name`,
        `${ways[way]} http://${places.other}:8080/literal`,
        ...private_.map((host) => `${ways[way]} http://${host}/; ${ways[way]} -k https://${host}/`),
      ])
      .join('; ');
    const more = { egress: ['full'], egressReason: 'the test' };
    const ran = await runOnce(client, sh(`${script}; true`), more);
    const expected = everyWay.flatMap(() => [
      '8080 GET other.example:8080/name',
      `8080 GET ${places.other}:8080/literal`,
    ]);
    assert.deepEqual(requests(), expected, ran.stdout + ran.stderr);
  });

  test('the environment says where the proxies are and sets none', async () => {
    const ran = await inSandbox(
      'env | grep -i proxy | sort; curl -sS --max-time 8 -x "$SEALWRIGHT_HTTP_PROXY" http://site.example/a; curl -sS --max-time 8 -x "$SEALWRIGHT_SOCKS_PROXY" http://site.example/b',
    );
    assert.equal(
      ran.stdout.split('reached')[0],
      'SEALWRIGHT_HTTP_PROXY=http://198.18.0.1:3128\nSEALWRIGHT_SOCKS_PROXY=socks5h://198.18.0.1:1080\n',
    );
    assert.deepEqual(requests(), ['80 GET site.example/a', '80 GET site.example/b']);
  });
});
