import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer, type Server } from 'node:net';
import { after, before, beforeEach, describe, test } from 'node:test';
import type { Client } from '../../src/client/client.ts';
import type { PutPolicy } from '../../src/contract/schemas.ts';
import { FakeInternet, places } from '../support/fake-internet.ts';
import { processesOf, untilNone } from '../support/host-traces.ts';
import { type Instance, startInstance } from '../support/instance.ts';
import { flowsOf, runOnce, sh, startRun } from '../support/workload.ts';

/** G4: what a policy allows is bounded too: bytes out, connections at a time, requests in a minute. */

const asRoot = process.getuid?.() === 0;
const skip = asRoot ? false : 'needs root for a network namespace of its own';

const sinkPort = 7001;
const rules: PutPolicy['document']['rules'] = [
  { host: 'site.example', protocol: 'http' },
  { host: 'site.example', protocol: 'tcp', ports: [sinkPort] },
];
const curl = 'curl -sS --max-time 20';

describe('G4 by limits', { skip }, () => {
  let internet: FakeInternet;
  let instance: Instance;
  let client: Client;
  let sink: Server;
  let sunk = 0;

  before(async () => {
    internet = await FakeInternet.open({ 'site.example': [[places.site]] });
    sink = createServer((socket) => {
      socket
        .on('error', () => undefined)
        .on('data', (chunk) => {
          sunk += chunk.length;
        });
    }).listen(sinkPort, places.site);
    await once(sink, 'listening');
    instance = await startInstance({ environment: { SEALWRIGHT_RESOLVERS: '127.0.0.1' } });
    client = instance.client;
  });

  beforeEach(() => {
    internet.arrivals.length = 0;
    sunk = 0;
  });

  after(async () => {
    await instance?.remove();
    sink?.close();
    internet?.close();
  });

  const put = async (limits: NonNullable<PutPolicy['document']['limits']>) =>
    await client.policies.put('bounded', { document: { limits, rules } });
  const requests = () => internet.arrivals.filter(({ what }) => what.startsWith('GET')).length;
  /** Ends once the other side has all of it, or has cut it off. */
  const perl = `socket(S, PF_INET, SOCK_STREAM, 0); connect(S, pack_sockaddr_in(${sinkPort}, inet_aton("site.example"))) or exit 7;
    my $left = shift; while ($left > 0) { my $n = syswrite(S, "x" x ($left > 65536 ? 65536 : $left)); exit 8 unless $n; $left -= $n }
    shutdown(S, 1); exit(defined sysread(S, my $end, 1) ? 0 : 9)`;
  const send = (bytes: number) => `perl -MSocket -e "$SEND" ${bytes}`;
  const options = { egress: ['bounded'], env: { SEND: perl } };

  test('of ten connections at once as many are open as the limit says, and the others are told', async () => {
    await put({ connections: 3 });
    const live = await startRun(
      client,
      sh(`for i in 1 2 3 4 5 6 7 8 9 10; do ${curl} -N http://site.example/slow & done; wait`),
      { egress: ['bounded'] },
    );
    await live.shows(/(connections: 3[\s\S]*){7}/);
    await live.goesOn();
    assert.equal(requests(), 3);
    await client.runs.stop(live.id);
    await live.ended;
    const flows = await flowsOf(client, live.id);
    assert.equal(flows.filter(({ verdict }) => verdict === 'allowed').length, 3);
    assert.equal(
      flows.reduce((sum, { denial, count }) => sum + (denial === 'limit' ? count : 0), 0),
      7,
    );
  });

  test('of ten requests at once as many go out as the limit of a minute says', async () => {
    await put({ requestsPerMinute: 4 });
    const ran = await runOnce(
      client,
      sh(
        `for i in 1 2 3 4 5 6 7 8 9 10; do ${curl} -w '%{http_code}\\n' http://site.example/$i & done; wait`,
      ),
      { egress: ['bounded'] },
    );
    assert.equal(requests(), 4, ran.stdout);
    assert.equal(ran.stdout.match(/^429$/gm)?.length, 6);
  });

  test('no byte past the limit leaves a run, by ten at once neither, and another run has its own', async () => {
    await put({ bytesOut: 1_000_000 });
    const fits = await runOnce(client, sh(send(1_000_000)), options);
    assert.equal(fits.run.phase, 'succeeded', fits.stderr);
    assert.equal(sunk, 1_000_000);
    sunk = 0;
    const ten = Array.from({ length: 10 }, () => `${send(300_000)} &`).join(' ');
    const ran = await runOnce(client, sh(`${ten} wait; ${curl} http://site.example/late`), options);
    assert(sunk > 0 && sunk <= 1_000_000, `${sunk} bytes`);
    assert.equal(requests(), 0);
    assert.match(ran.stdout, /bytesOut: 1000000/);
    const flows = await flowsOf(client, ran.run.id);
    assert(flows.some(({ denial }) => denial === 'limit'));
    assert(flows.some(({ end }) => end?.outcome === 'cut'));
  });

  test('a limit below what a live run has sent already cuts it at once', async () => {
    await put({ connections: 100 });
    const live = await startRun(
      client,
      sh(`${send(500_000)} && ${curl} -N http://site.example/slow; ${curl} http://site.example/late`),
      options,
    );
    await live.shows(/tick/);
    const changedAt = performance.now();
    await put({ bytesOut: 400_000 });
    const { stdout } = await live.ended;
    assert(performance.now() - changedAt < 5_000, 'it did not wait for its own end');
    assert.match(stdout, /bytesOut: 400000/);
    const allowed = (await flowsOf(client, live.id)).filter(({ verdict }) => verdict === 'allowed');
    assert.deepEqual(new Set(allowed.map(({ end }) => end?.outcome)), new Set(['closed', 'cut']));
  });

  test('a gateway that is killed does not give a run its bytes anew', async () => {
    await put({ bytesOut: 1_000_000 });
    const live = await startRun(
      client,
      sh(
        `${send(800_000)}; ${curl} -N http://site.example/slow; until getent hosts site.example; do sleep 0.1; done; ${send(800_000)}; echo exit $?`,
      ),
      options,
    );
    await live.shows(/tick/);
    const first = async () => (await flowsOf(client, live.id)).find(({ port }) => port === sinkPort);
    while ((await first())?.end?.bytesOut !== 800_000) await live.goesOn();
    const gateway = processesOf(instance.home).find(({ command }) => command.includes('dist/gateway.js'));
    assert(gateway !== undefined, 'there is a gateway');
    process.kill(gateway.pid, 'SIGKILL');
    await untilNone(() => processesOf(instance.home).filter(({ pid }) => pid === gateway.pid), 5_000);
    const { stdout } = await live.ended;
    assert.match(stdout, /exit [89]/);
    assert(sunk >= 800_000 && sunk <= 1_000_000, `${sunk} bytes`);
    const again = (await flowsOf(client, live.id)).filter(
      ({ port, verdict }) => port === sinkPort && verdict === 'allowed',
    );
    assert.deepEqual(
      again.map(({ end }) => end?.outcome),
      ['closed', 'cut'],
      'the gateway is back',
    );
  });
});
