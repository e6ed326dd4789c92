import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, beforeEach, describe, test } from 'node:test';
import type { Client } from '../../src/client/client.ts';
import type { PutPolicy } from '../../src/contract/schemas.ts';
import { segmentOf } from '../support/audit.ts';
import { FakeInternet, places } from '../support/fake-internet.ts';
import { processesOf, untilNone } from '../support/host-traces.ts';
import { cli, type Instance } from '../support/instance.ts';
import { flowsOf, type Mode, modes, runOnce, sh, startIn, startRun } from '../support/workload.ts';

/** G4: a sandbox reaches only what its policy allows, by name, address, DNS, IPv6, UDP, raw socket or another sandbox. */

const asRoot = process.getuid?.() === 0;
const skip = asRoot ? false : 'needs root for a network namespace of its own';

const zone = {
  'site.example': [[places.site]],
  'six.example': [[places.site6]],
  'other.example': [[places.other]],
  'deep.sub.site.example': [[places.site]],
  'evil-site.example': [[places.site]],
  'rebound.example': [[places.site], ['127.0.0.1', places.metadata]],
  'inside.example': [[places.private]],
  'metadata.example': [[places.metadata]],
  'plane.example': [[places.own]],
  'mixed.example': [[places.private, places.other]],
  'gone.example': [['93.184.216.200']],
} as const;

const web: PutPolicy['document'] = {
  rules: [
    { host: 'site.example' },
    { host: 'site.example', protocol: 'http', ports: [80, 8080] },
    { host: 'site.example', protocol: 'ssh' },
    { host: 'site.example', protocol: 'tcp', ports: [7] },
    { host: '*.sub.site.example', protocol: 'http' },
    { host: 'six.example', protocol: 'http' },
    { host: 'rebound.example', protocol: 'http' },
    { host: 'inside.example', protocol: 'http' },
    { host: 'metadata.example', protocol: 'http' },
    { host: 'plane.example', protocol: 'http' },
    { host: 'mixed.example', protocol: 'http' },
    { host: 'gone.example', protocol: 'http' },
    { host: 'nowhere.example', protocol: 'http' },
  ],
};

/** What a sandbox of the default policy, of none, or of `web` says to a script. */
const curl = 'curl -sS --max-time 8';

/** One for both modes: a process leaves its own network once. */
let internet: FakeInternet;

before(async () => {
  if (asRoot) internet = await FakeInternet.open(zone);
});

after(() => internet?.close());

for (const { mode, skip: cannot } of modes)
  describe(`G4 as ${mode}`, { skip: skip || cannot }, () => suite(mode));

function suite(mode: Mode): void {
  let instance: Instance;
  let client: Client;
  let ca: string;

  before(async () => {
    ca = readFileSync(internet.caFile, 'utf8');
    instance = await startIn(mode, { SEALWRIGHT_RESOLVERS: '127.0.0.1' });
    client = instance.client;
    await client.policies.put('web', { document: web, reason: 'the test' });
  });

  beforeEach(() => {
    internet.arrivals.length = 0;
    internet.lookups.length = 0;
  });

  after(async () => {
    await instance?.remove();
  });

  const inSandbox = async (script: string, egress: readonly string[] = ['web'], more = {}) => {
    const prelude = 'printf %s "$CA" > /tmp/ca.pem; export CURL_CA_BUNDLE=/tmp/ca.pem;';
    const ran = await runOnce(client, sh(`${prelude} ${script}`), {
      egress: [...egress],
      env: { CA: ca },
      ...more,
    });
    return { ...ran, text: ran.stdout + ran.stderr };
  };

  const reached = () => internet.arrivals.map(({ at, port, what }) => `${at}:${port} ${what}`);

  test('names are found by programs that ask for one family, and only where the host has it', async () => {
    const ran = await inSandbox(
      'getent ahostsv4 site.example; getent ahostsv6 site.example; getent hosts site.example',
    );
    assert.match(ran.stdout, /^198\.18\.\d+\.\d+\s+STREAM site\.example$/m, ran.text);
    assert.match(ran.stdout, /^fd73:6561:6c77::[0-9a-f]+\s+STREAM site\.example$/m);
    const none = await inSandbox('getent ahostsv4 unknown.example; getent ahostsv6 unknown.example');
    assert.equal(none.stdout, '');
  });

  test('what the policy names is reached, by every protocol of it, and recorded with its rule', async () => {
    const ran = await inSandbox(
      [
        `${curl} http://site.example/plain`,
        `${curl} http://site.example:8080/other-port`,
        `${curl} https://site.example/secret`,
        `${curl} http://deep.sub.site.example/wild`,
        `${curl} -6 http://six.example/six`,
        "perl -MSocket -e 'socket(S,PF_INET,SOCK_STREAM,0);connect(S,pack_sockaddr_in(7,inet_aton(q(site.example))))||die $!;syswrite S,q(ping);sysread S,$b,4;print qq($b\\n)'",
      ].join(' && '),
    );
    assert.equal(ran.run.phase, 'succeeded', ran.text);
    for (const said of [
      'GET site.example/plain',
      'GET site.example:8080/other-port',
      'GET site.example/secret',
    ])
      assert.match(ran.stdout, new RegExp(`reached ${places.site.replaceAll('.', '\\.')} ${said}`));
    assert.match(ran.stdout, /GET deep\.sub\.site\.example\/wild/);
    assert.match(ran.stdout, /reached 2606:2800:220::34 GET six\.example\/six/);
    assert.match(ran.stdout, /^ping$/m);
    const flows = await flowsOf(client, ran.run.id);
    assert.deepEqual(
      flows.filter(({ verdict }) => verdict === 'denied'),
      [],
    );
    const secret = flows.find(({ port }) => port === 443);
    assert.deepEqual(
      [secret?.host, secret?.protocol, secret?.rule, secret?.verdict],
      ['site.example', 'https', 'web#1', 'allowed'],
    );
    assert.equal(secret?.address, places.site);
    assert(secret.end !== null && secret.end.bytesIn > 0 && secret.end.bytesOut > 0);
    const plain = flows.find(({ path }) => path === '/plain');
    assert.deepEqual([plain?.method, plain?.rule], ['GET', 'web#2']);
  });

  test('without a policy nothing is reached, nothing is looked up, and the denial comes at once', async () => {
    const startedAt = performance.now();
    const ran = await inSandbox(`${curl} https://site.example/; echo status $?`, []);
    assert.match(ran.text, /status 6/, 'curl: could not resolve host');
    assert(performance.now() - startedAt < 5_000);
    assert.deepEqual([reached(), internet.lookups], [[], []]);
    const [flow] = await flowsOf(client, ran.run.id);
    assert.deepEqual([flow?.host, flow?.verdict, flow?.denial], ['site.example', 'denied', 'no-rule']);
  });

  const spellings = [
    places.other,
    places.site,
    `[${places.site6}]`,
    `[::ffff:${places.other}]`,
    '0x5db8d863',
    '1572395107',
    '0135.0270.0330.0143',
    '93.184.55395',
    '[64:ff9b::5db8:d863]',
    '[2002:5db8:d863::1]',
    places.metadata,
    '[::ffff:169.254.169.254]',
    '2852039166',
    places.private,
    places.cgnat,
    places.own,
    '127.0.0.1',
    '[::1]',
    'localhost',
    '0.0.0.0',
    '[::]',
    '127.1',
    '[fe80::1%25lo]',
    '224.0.0.1',
    '255.255.255.255',
  ];
  for (const mode of ['web', 'nothing'] as const)
    test(`a literal address in any spelling reaches nothing with ${mode}, though names are reached`, async () => {
      const script = spellings
        .flatMap((host) => [
          `${curl} -o /dev/null http://${host}/`,
          `${curl} -k -o /dev/null https://${host}/`,
        ])
        .join('; ');
      const ran = await inSandbox(`${script}; true`, mode === 'web' ? ['web'] : []);
      assert.equal(ran.run.phase, 'succeeded');
      assert.deepEqual(reached(), []);
      assert.deepEqual(internet.lookups, [], 'nor is any of it asked of the resolver');
      const control = await inSandbox(`${curl} http://site.example/control`);
      assert.match(control.stdout, /reached/);
    });

  const impostors = [
    'evil-site.example', // ends like an allowed name
    'site.example.other.example',
    'sub.site.example', // the apex of a wildcard is not below it
    'other.example',
    'xn--ste-hma.example',
  ];
  test('a name that only looks like an allowed one does not exist, and no packet asks for it', async () => {
    const script = impostors.map((host) => `${curl} http://${host}/ ; getent hosts ${host}`).join('; ');
    const ran = await inSandbox(`${script}; true`);
    assert.deepEqual([reached(), internet.lookups], [[], []]);
    const denied = (await flowsOf(client, ran.run.id)).filter(({ verdict }) => verdict === 'denied');
    assert.deepEqual([...new Set(denied.map(({ host }) => host))].sort(), [...impostors].sort());
  });

  test('spellings of an allowed name are that name', async () => {
    const ran = await inSandbox(
      `${curl} http://SITE.Example/case && ${curl} -H 'Host: site.example' http://site.example./dot`,
    );
    assert.equal(ran.run.phase, 'succeeded', ran.text);
    const flows = await flowsOf(client, ran.run.id);
    assert(flows.every(({ host, verdict }) => host === 'site.example' && verdict === 'allowed'));
  });

  test('the address of one name lets no request for another through: Host, absolute-form, SNI', async () => {
    const attempts = [
      `${curl} -H 'Host: other.example' http://site.example/host`,
      `${curl} --request-target http://other.example/absolute http://site.example/absolute`,
      `${curl} -k --connect-to other.example:443:site.example:443 https://other.example/sni`,
    ];
    const ran = await inSandbox(`${attempts.join('; ')}; ${curl} http://site.example/control`);
    const requests = reached().filter((line) => !line.endsWith('connection'));
    assert.deepEqual(requests, [`${places.site}:80 GET site.example/control`]);
    const denials = (await flowsOf(client, ran.run.id)).flatMap(({ denial }) => denial ?? []);
    assert.deepEqual(new Set(denials), new Set(['name-mismatch', 'malformed']));
  });

  for (const [name, why] of [
    ['inside.example', 'a private address'],
    ['metadata.example', 'the metadata address'],
    ['plane.example', "the control plane's own address"],
    ['nowhere.example', 'no address'],
  ] as const)
    test(`an allowed name with ${why} is not dialled`, async () => {
      const ran = await inSandbox(`${curl} -w '%{http_code}' http://${name}/; true`);
      assert.match(ran.stdout, /403/);
      assert.deepEqual(reached(), []);
      const denial = name === 'nowhere.example' ? 'unresolved' : 'address-class';
      assert(
        (await flowsOf(client, ran.run.id)).some((flow) => flow.host === name && flow.denial === denial),
        'and that is on record',
      );
    });

  test('of a name with a private and a public address only the public one is dialled', async () => {
    const ran = await inSandbox(`${curl} http://mixed.example/mixed`);
    assert.match(ran.stdout, new RegExp(`reached ${places.other.replaceAll('.', '\\.')}`));
    assert(internet.arrivals.every(({ at }) => at === places.other));
  });

  test('a name that is bound anew to loopback reaches the address that was checked or none', async () => {
    await inSandbox(`for i in 1 2 3 4; do ${curl} http://rebound.example/$i; sleep 0.6; done; true`);
    const places_ = new Set(internet.arrivals.map(({ at }) => at));
    assert(places_.size <= 1 && (places_.size === 0 || places_.has(places.site)));
  });

  test('a redirect to where no rule leads is not followed through', async () => {
    const ran = await inSandbox(`${curl} -L -w '%{http_code}' http://site.example/redirect; true`);
    assert.match(ran.stdout, /403/);
    assert(internet.arrivals.every(({ at }) => at === places.site));
  });

  test('requests that two parsers could read differently never arrive', async () => {
    const raw = (text: string) =>
      `printf '${text}' | perl -MSocket -e 'socket(S,PF_INET,SOCK_STREAM,0);connect(S,pack_sockaddr_in(80,inet_aton(q(site.example))));local $/;$r=<STDIN>;syswrite S,$r;shutdown S,1;print <S>'`;
    const head = 'POST /smuggle HTTP/1.1\\r\\nHost: site.example\\r\\n';
    const ran = await inSandbox(
      [
        raw(
          `${head}Content-Length: 4\\r\\nTransfer-Encoding: chunked\\r\\n\\r\\n0\\r\\n\\r\\nGET /x HTTP/1.1\\r\\n\\r\\n`,
        ),
        raw(`${head}Content-Length: 3\\r\\nContent-Length: 4\\r\\n\\r\\nabcd`),
        raw(`${head}Transfer-Encoding : chunked\\r\\n\\r\\n0\\r\\n\\r\\n`),
        raw('GET /smuggle HTTP/1.1\\nHost: site.example\\n\\n'),
        raw('GET /control HTTP/1.1\\r\\nHost: site.example\\r\\nConnection: close\\r\\n\\r\\n'),
      ].join('; '),
    );
    const requests = reached().filter((line) => !line.endsWith('connection'));
    assert.deepEqual(requests, [`${places.site}:80 GET site.example/control`], ran.text);
  });

  test('UDP, ICMP and raw sockets reach nothing, and no resolver but the own is asked', async () => {
    const ran = await inSandbox(`perl -MSocket -e '
      my $to = sub { pack_sockaddr_in($_[1], inet_aton($_[0])) };
      for my $host ("${places.site}", "8.8.8.8", "127.0.0.1") {
        for my $port (53, 443, 123) {
          socket(my $s, PF_INET, SOCK_DGRAM, 0) or next;
          send($s, "x" x 40, 0, $to->($host, $port));
        }
      }
      for my $type ([PF_INET, SOCK_RAW, 1], [PF_INET, SOCK_DGRAM, 1], [17, SOCK_RAW, 768]) {
        print socket(my $s, $type->[0], $type->[1], $type->[2]) ? "socket\\n" : "refused\\n";
      }'`);
    assert.match(ran.stdout, /^refused$/m);
    assert.deepEqual([reached(), internet.lookups], [[], []]);
  });

  test('QUIC is refused at once, so that programs fall back to TLS, which works', async () => {
    const ran = await inSandbox(`perl -MSocket -e '
      socket(my $s, PF_INET, SOCK_DGRAM, 0);
      connect($s, pack_sockaddr_in(443, inet_aton("site.example")));
      send($s, "x" x 1200, 0);
      print defined recv($s, my $answer, 1200, 0) ? "answered\n" : "QUIC: $!\n"' && ${curl} https://site.example/tls`);
    assert.match(ran.stdout, /^QUIC: Connection refused$/m, ran.text);
    assert.match(ran.stdout, /reached .* GET site\.example\/tls/);
  });

  test('nothing that is asked of DNS leaves, so nothing can be told through it', async () => {
    const ran = await inSandbox(
      'for i in 1 2 3 4 5 6 7 8 9; do getent hosts secret-$i.site.example; getent hosts secret-$i.other.example; done; getent hosts site.example',
    );
    assert.match(ran.stdout, /site\.example/);
    assert.deepEqual(internet.lookups, []);
  });

  test('one sandbox does not reach another, at the same address and port', async () => {
    const listener = await startRun(
      client,
      [
        'perl',
        '-MSocket',
        '-e',
        '$|=1;socket(S,PF_INET,SOCK_STREAM,0);bind(S,pack_sockaddr_in(9000,INADDR_ANY))||die;listen(S,5);print qq(up\\n);$SIG{ALRM}=sub{exit};alarm 8;while(accept(C,S)){print qq(met\\n);close C}',
      ],
      { egress: ['web'] },
    );
    await listener.shows(/up/);
    const ran = await inSandbox(
      `for h in 127.0.0.1 198.18.0.1 198.18.1.0 10.0.0.1; do ${curl} http://$h:9000/; done; true`,
    );
    assert.match(ran.stderr, /Failed to connect|refused/i);
    const { stdout } = await listener.ended;
    assert.doesNotMatch(stdout, /met/);
  });

  test('a policy that changes cuts what it no longer allows within a second, and lets the rest live', async () => {
    await client.policies.put('moving', { document: web });
    const live = await startRun(
      client,
      sh(
        `${curl} --max-time 30 -N http://site.example/slow & ${curl} --max-time 30 -N http://site.example:8080/slow | sed -u s/tick/stay/ & wait`,
      ),
      { egress: ['moving'] },
    );
    await live.shows(/tick(.|\n)*stay|stay(.|\n)*tick/);
    const less: PutPolicy['document'] = {
      rules: [{ host: 'site.example', protocol: 'http', ports: [8080] }],
    };
    const changedAt = performance.now();
    await client.policies.put('moving', { document: less });
    while ((await flowsOf(client, live.id)).every(({ end }) => end?.outcome !== 'cut'))
      assert(performance.now() - changedAt < 5_000, 'it is cut');
    const end = (await flowsOf(client, live.id)).find(({ end }) => end?.outcome === 'cut')!;
    assert.equal(end.port, 80);
    await live.goesOn();
    await client.runs.stop(live.id);
    await live.ended;
  });

  test('a program that holds a port of its own cannot keep a change of policy out', async () => {
    await client.policies.put('held', { document: web });
    const holding =
      "perl -MSocket -e 'socket(S,PF_INET6,SOCK_STREAM,0);bind(S,Socket::pack_sockaddr_in6(9100,Socket::inet_pton(AF_INET6,q(::))))||die;listen(S,5);sleep 30' &";
    const live = await startRun(
      client,
      sh(`${holding} ${curl} --max-time 30 -N http://site.example/slow & wait`),
      { egress: ['held'] },
    );
    await live.shows(/tick/);
    const other: PutPolicy['document'] = {
      rules: [{ host: 'other.example', protocol: 'tcp', ports: [9100] }],
    };
    const changedAt = performance.now();
    await client.policies.put('held', { document: other });
    while ((await flowsOf(client, live.id)).every(({ end }) => end?.outcome !== 'cut'))
      assert(performance.now() - changedAt < 5_000, 'it is cut');
    await client.runs.stop(live.id);
    await live.ended;
  });

  test('full mode reaches public names and addresses, and still no private ones', async () => {
    const more = { egressReason: 'vendor installer' };
    const ran = await inSandbox(
      `${curl} http://other.example/name; ${curl} http://${places.other}/literal; ${[places.metadata, places.private, places.own, '127.0.0.1', 'inside.example', 'metadata.example'].map((host) => `${curl} http://${host}/; ${curl} -k https://${host}/`).join('; ')}; true`,
      ['full'],
      more,
    );
    const requests = reached().filter((line) => !line.endsWith('connection'));
    assert.deepEqual(
      requests.sort(),
      [`${places.other}:80 GET ${places.other}/literal`, `${places.other}:80 GET other.example/name`],
      ran.text,
    );
    assert(internet.arrivals.every(({ at }) => at === places.other));
    await assert.rejects(runOnce(client, ['true'], { egress: ['full'] }), /reason/i);
  });

  test('a gateway that is killed takes no run with it, lets nothing out meanwhile, and is back', async () => {
    const live = await startRun(
      client,
      sh(
        `${curl} http://site.example/before; while ! [ -e /tmp/go ]; do sleep 0.1; ${curl} http://site.example/again >/tmp/out 2>&1 && grep -q reached /tmp/out && [ -e /tmp/seen ] && touch /tmp/go; touch /tmp/seen; done; echo after`,
      ),
      { egress: ['web'] },
    );
    await live.shows(/reached/);
    const { runner } = instance.pids();
    const gateway = processesOf(instance.home).find(({ command }) => command.includes('dist/gateway.js'));
    assert(gateway !== undefined, 'there is a gateway');
    process.kill(gateway.pid, 'SIGKILL');
    assert.deepEqual(
      await untilNone(() => processesOf(instance.home).filter(({ pid }) => pid === gateway.pid), 5_000),
      [],
    );
    const { run, stdout } = await live.ended;
    assert.equal(run.phase, 'succeeded', stdout);
    assert.equal(instance.pids().runner, runner, 'the runner is the same');
    const ran = await inSandbox(`${curl} http://site.example/new`);
    assert.match(ran.stdout, /reached/);
  });

  test('a program that is denied without end fills no log: the first denial and counts', async () => {
    const ran = await inSandbox(
      'i=0; while [ $i -lt 300 ]; do getent hosts no.example; i=$((i+1)); done; true',
    );
    const flows = (await flowsOf(client, ran.run.id)).filter(({ host }) => host === 'no.example');
    assert(flows.length >= 2 && flows.length < 20, `${flows.length} records`);
    assert(flows.reduce((sum, { count }) => sum + count, 0) >= 300);
  });

  test('the log of flows and the record can be read by the command line, and the record verifies', async () => {
    const ran = await inSandbox(`${curl} http://site.example/told; ${curl} http://denied.example/; true`);
    const log = await cli(instance.home, ['egress', 'log', ran.run.id, '--json']);
    assert.equal(log.status, 0, log.stderr);
    assert.match(log.stdout.toString(), /site\.example/);
    assert.match(log.stdout.toString(), /denied\.example/);
    // On the runner's own stream, of which control keeps a mirror.
    const mirrored = readdirSync(join(instance.home, 'audit')).filter((name) => name.startsWith('runner-'));
    const segments = mirrored.map((stream) => segmentOf(join(instance.home, 'audit'), stream));
    const audit = execFileSync('grep', ['-c', 'egress.connect', ...segments]);
    assert(Number(audit) > 0);
    assert.equal((await cli(instance.home, ['audit', 'verify'])).status, 0);
  });
}
