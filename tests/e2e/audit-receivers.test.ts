import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import type { AuditEvent } from '../../src/audit/event.ts';
import { cli, type Instance, startInstance } from '../support/instance.ts';
import { lacksPrometheus, lacksRsyslog, Prometheus, Rsyslog } from '../support/real-receivers.ts';
import { firstOfEach, until } from '../support/sink-world.ts';

/** A started server whose record goes to the receivers that people have. */

function newFolder(t: TestContext): string {
  const folder = mkdtempSync(join(tmpdir(), 'sealwright-receivers-'));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

async function started(t: TestContext, folder: string, sinks: string): Promise<Instance> {
  const home = join(folder, 'home');
  mkdirSync(home, { mode: 0o755 });
  writeFileSync(join(home, 'sinks.yaml'), sinks);
  const instance = await startInstance({ home });
  t.after(() => instance.stop());
  return instance;
}

/** The record as it lies on the disk, by its streams. */
function recorded(home: string): Map<string, AuditEvent[]> {
  const folder = join(home, 'audit');
  const names = readdirSync(folder, { withFileTypes: true }).filter((entry) => entry.isDirectory());
  return new Map(names.map(({ name }) => [name, eventsBelow(join(folder, name))]));
}

function eventsBelow(stream: string): AuditEvent[] {
  return readdirSync(stream)
    .filter((name) => name.endsWith('.jsonl'))
    .sort()
    .flatMap((name) => readFileSync(join(stream, name), 'utf8').split('\n').slice(0, -1))
    .map((line) => JSON.parse(line));
}

test('rsyslog gets every event over TLS, also those from while it was killed', {
  skip: lacksRsyslog,
}, async (t) => {
  const folder = newFolder(t);
  const receiver = join(folder, 'rsyslog');
  mkdirSync(receiver);
  const rsyslog = new Rsyslog(receiver);
  await rsyslog.start();
  t.after(() => rsyslog.kill());
  const url = `syslog+tls://127.0.0.1:${rsyslog.port}`;
  const instance = await started(
    t,
    folder,
    `sinks:\n  - { name: siem, url: '${url}', caFile: ${rsyslog.authority} }\n`,
  );
  const { client, home } = instance;
  const received = () => rsyslog.messages().map(({ msg }) => JSON.parse(msg) as AuditEvent);
  const hasAll = (what: string) =>
    until(
      () => {
        const ids = new Set(received().map(({ id }) => id));
        return [...recorded(home).values()].flat().every(({ id }) => ids.has(id));
      },
      what,
      30_000,
    );
  const session = await client.sessions.create({ name: 'first' });
  await hasAll('what was recorded arrived');
  const made = rsyslog.messages().find(({ msg }) => msg.includes(session.id) && msg.includes('"attempt"'))!;
  assert.deepEqual([made.pri, made.app, made.msgid], ['110', 'sealwright', 'session.create']);
  assert.match(
    made.data,
    /^\[sealwright@32473 id="evt_\w+" stream="control" seq="\d+" outcome="allowed" actor="/,
  );

  await rsyslog.kill();
  for (let index = 0; index < 30; index += 1) await client.sessions.create({ name: `while-${index}` });
  const now = async () => (await client.auditSinks.list()).items[0]!;
  await until(async () => (await now()).lastError?.reason === 'ECONNREFUSED', 'it is tried again');
  const failing = await now();
  assert.equal(failing.state, 'retrying');
  assert(failing.streams.find(({ stream }) => stream === 'control')!.lagEvents >= 30);
  await rsyslog.start();
  await hasAll('what was recorded meanwhile arrived');
  const streams = recorded(home);
  assert(
    [...streams.keys()].some((name) => name.startsWith('runner-')),
    'also what the runner records',
  );
  for (const [name, events] of streams) {
    const arrived = firstOfEach(received().filter(({ stream }) => stream === name));
    assert.deepEqual(
      arrived.slice(0, events.length),
      events.map(({ id }) => id).slice(0, arrived.length),
      name,
    );
  }
  await until(async () => (await now()).state === 'running', 'it runs again');
  const shown = await cli(home, ['audit', 'sinks', '--local']);
  assert.match(shown.stdout.toString(), /^siem +running +control +\d+ /m);
});

test('Prometheus scrapes a server with a token, the lag of its sinks too', {
  skip: lacksPrometheus,
}, async (t) => {
  const folder = newFolder(t);
  const scraper = join(folder, 'prometheus');
  mkdirSync(scraper);
  const { client, url } = await started(
    t,
    folder,
    "sinks:\n  - { name: nowhere, url: 'loki+http://127.0.0.1:1', filter: { actions: [session.] } }\n",
  );
  const { token } = await client.tokens.create({ name: 'scraper', scopes: ['cluster:read'] });
  await client.sessions.create({ name: 'waits' });
  const prometheus = await Prometheus.start(scraper, { url, token });
  t.after(() => prometheus.close());
  const value = async (query: string) => Number((await prometheus.query(query))[0]?.value[1] ?? Number.NaN);
  await until(async () => (await value('up{job="sealwright"}')) === 1, 'it is scraped', 30_000);
  const lag = 'sealwright_audit_sink_lag_events{sink="nowhere",stream="control"}';
  await until(async () => (await value(lag)) > 0, 'the lag is seen', 30_000);
  await until(
    async () => (await value('sealwright_audit_sink_failed_sends_total')) > 0,
    'failures are seen',
    30_000,
  );
  await until(
    async () => (await value('sealwright_audit_sink_up{sink="nowhere"}')) === 0,
    'it is down',
    30_000,
  );
  assert.equal(await value('sealwright_audit_healthy'), 1);
  assert.equal(await value('sealwright_build_info'), 1);
  assert((await value('sealwright_audit_sink_lag_seconds')) > 0);
  assert((await value('count({job="sealwright"})')) > 50);
});
