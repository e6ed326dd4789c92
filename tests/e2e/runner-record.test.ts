import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readdirSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import type { AuditEvent } from '../../src/audit/event.ts';
import { StreamReader } from '../../src/audit/stream-reader.ts';
import { MortalServer, printedSeed, type Victim } from '../support/mortal-server.ts';

/** What the runner lets through is on its own record first, whoever is killed when (G7, G11). */

const random = printedSeed();
const deadlineMs = 20_000;

/** Paths that programs in sandboxes reached, in their order. */
const reached: string[] = [];
const service = createServer((request, response) => {
  reached.push(request.url ?? '');
  response.end('yes');
});
let server: MortalServer;

before(async () => {
  service.listen(0, '127.0.0.1');
  await once(service, 'listening');
  server = await MortalServer.open(random);
  const { port } = service.address() as AddressInfo;
  await server.client.policies.put('service', {
    document: { rules: [{ cidr: '127.0.0.1/32', protocol: 'http', ports: [port] }] },
  });
});

after(async () => {
  await server.remove();
  service.close();
  service.closeAllConnections();
});

let rounds = 0;

/** A run that reaches for one path after the other, each of them once, until it is stopped. */
async function knock(): Promise<string> {
  const { port } = service.address() as AddressInfo;
  rounds += 1;
  const url = `http://127.0.0.1:${port}/${rounds}`;
  const script = `i=0; while :; do i=$((i+1)); curl -sS --max-time 15 "${url}/$i"; sleep 0.01; done`;
  const { id: session } = await server.client.sessions.create({});
  const command = ['/bin/sh', '-c', script];
  return (await server.client.runs.create({ session, command, egress: ['service'] })).id;
}

async function eventually(holds: () => boolean | Promise<boolean>, what: string): Promise<void> {
  for (const late = performance.now() + deadlineMs; !(await holds()); await pause(20))
    assert(performance.now() < late, what);
}

const more = async (count: number, what: string) => {
  const before = reached.length;
  await eventually(() => reached.length >= before + count, what);
};

/** Events of every runner's stream, as control has them. */
async function recorded(): Promise<AuditEvent[]> {
  const audit = join(server.home, 'audit');
  const events: AuditEvent[] = [];
  for (const stream of readdirSync(audit).filter((name) => name.startsWith('runner-'))) {
    const reader = new StreamReader(join(audit, stream), 0);
    for (let lines = await reader.read(1_000); lines.length > 0; lines = await reader.read(1_000))
      events.push(...lines.map(({ bytes }) => JSON.parse(bytes.toString('utf8')) as AuditEvent));
    await reader.close();
  }
  return events;
}

/** Every path that was reached is on the record, once, and in the list of flows of its run. */
async function assertOnRecord(): Promise<void> {
  const told = async () => (await recorded()).filter(({ action }) => action === 'egress.connect');
  const missing = async () => {
    const paths = new Set((await told()).map(({ data }) => data?.path));
    return reached.filter((path) => !paths.has(path));
  };
  await eventually(async () => (await missing()).length === 0, 'what was reached is on the record');
  const flows = (await told()).map(({ resource, data }) => `${resource.id} ${data?.flow}`);
  assert.equal(new Set(flows).size, flows.length, 'no flow is there twice');
  assert.equal(new Set(reached).size, reached.length, 'the search finds what is there once');
}

describe('while control is dead', () => {
  it('sandboxes go on reaching what they may, and each flow is on the record afterwards, once', async () => {
    const run = await knock();
    await more(3, 'the run reaches the service');
    const up = server.instance.process.pid!;
    process.kill(up, 'SIGSTOP');
    const before = reached.length;
    try {
      process.kill(server.pids().control, 'SIGKILL');
      await more(20, 'connections are let through without control');
      await assert.rejects(server.client.runs.get(run), 'nobody answers meanwhile');
    } finally {
      process.kill(up, 'SIGCONT');
    }
    await server.ready();
    await more(3, 'and with the next control');
    await server.client.runs.stop(run);
    await server.client.runs.wait(run, { timeoutSeconds: 10 });
    await assertOnRecord();
    const flows = await server.client.runs.egress(run, { limit: 100 });
    assert(reached.length - before > 20);
    assert.equal(flows.counts?.allowed, reached.length, 'the list of flows has them too');
    await server.verifyAudit();
  });
});

describe('kill -9 at random moments while sandboxes reach out', () => {
  const victims: Victim[] = ['runner', 'control', 'both', 'control', 'runner', 'all'];
  for (const [index, victim] of random.shuffle(victims).entries())
    it(`round ${index + 1}: after kill -9 of ${victim} every flow that let a byte out is on the record, none twice`, async () => {
      const run = await knock();
      await more(2, 'the run reaches the service');
      await pause(random.between(0, 400));
      await server.kill(victim);
      if (victim === 'control') await more(2, 'the run goes on');
      await server.client.runs.stop(run).catch(() => undefined);
      await server.client.runs.wait(run, { timeoutSeconds: 10 });
      await assertOnRecord();
      await server.verifyAudit();
      const { counts } = await server.client.runs.egress(run, { limit: 1 });
      const mine = reached.filter((path) => path.startsWith(`/${rounds}/`)).length;
      assert((counts?.allowed ?? 0) >= mine, `${counts?.allowed} of ${mine} are in the list of flows`);
    });
});
