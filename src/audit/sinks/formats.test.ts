import assert from 'node:assert/strict';
import {
  appendFileSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, test } from 'node:test';
import {
  dialects,
  openFileReceiver,
  openHttpReceiver,
  openSyslogReceiver,
} from '../../../tests/support/sink-receivers.ts';
import { SinkWorld, until } from '../../../tests/support/sink-world.ts';
import type { AuditEvent } from '../event.ts';
import { segmentEvents, segmentPath } from '../segments.ts';
import { sinkLimits } from './limits.ts';
import { frameOf } from './syslog.ts';
import { webhookKey, webhookSignature } from './webhook.ts';

let world: SinkWorld;
beforeEach(() => {
  world = new SinkWorld();
});
afterEach(() => world.close());

test('Loki gets few labels, ids as metadata, times that keep the order, its tenant and its token', async (t) => {
  const receiver = await openHttpReceiver(dialects.loki);
  t.after(() => receiver.close());
  const [first] = world.append('control', 3);
  await world.start({ ...receiver.settings, tenant: 'acme', labels: { site: 'berlin', job: 'other' } });
  await until(() => receiver.events().length === 3, 'they arrived');
  const { headers, path, body } = receiver.last!;
  assert.equal(path, '/loki/api/v1/push');
  assert.equal(headers['x-scope-orgid'], 'acme');
  assert.equal(headers.authorization, 'Bearer a-token-of-the-tests');
  const { streams } = JSON.parse(body);
  assert.equal(streams.length, 1);
  const labels = { job: 'sealwright', object: 'run', outcome: 'allowed', site: 'berlin', stream: 'control' };
  assert.deepEqual(streams[0].stream, labels);
  const [time, line, metadata] = streams[0].values[0];
  assert.equal(time, `${Date.parse(first!.at)}000001`);
  assert.deepEqual(JSON.parse(line), first);
  assert.deepEqual(metadata, {
    ...{ event_id: first!.id, seq: '1', action: 'run.create', actor: 'user:alice' },
    ...{ resource: 'run_1', session: 'ses_1' },
  });
});

test('a writer that was taken over cannot make labels of its own, nor say where its event stands', async (t) => {
  const receiver = await openHttpReceiver(dialects.loki);
  t.after(() => receiver.close());
  const [whole] = world.append('control', 1);
  const odd = { ...whole!, id: 'evt_odd', action: 'x1.y', seq: 77 };
  appendFileSync(join(world.folder, 'control', '0000000000000001.jsonl'), `${JSON.stringify(odd)}\n`);
  receiver.refuses.add('evt_odd');
  const sinks = await world.start({ ...receiver.settings, url: `${receiver.settings.url}/loki/api/v1/push` });
  await until(async () => (await sinks.status())[0]?.deadLetters === 1, 'it is put aside');
  const letter = JSON.parse(readFileSync(join(world.stateFolder, 'receiver.dead.jsonl'), 'utf8'));
  assert.deepEqual([letter.seq, letter.id], [2, 'evt_odd']);
  assert.match(receiver.last!.body, /"object":"other"/);
  assert.equal((await sinks.status())[0]?.url, receiver.settings.url, 'the path is not shown');
});

test('a user and a password are Basic authentication', async (t) => {
  const receiver = await openHttpReceiver(dialects.loki, { tls: false });
  t.after(() => receiver.close());
  world.append('control', 1);
  await world.start({ ...receiver.settings, user: 'ada', secret: 'päss' });
  await until(() => receiver.events().length === 1, 'it arrived');
  assert.equal(receiver.last!.headers.authorization, `Basic ${Buffer.from('ada:päss').toString('base64')}`);
});

test('OTLP gets one record for each event; what it rejects in part is a dead letter and not sent again', async (t) => {
  const partial = { partialSuccess: { rejectedLogRecords: '1', errorMessage: 'too old\x1b[2J' } };
  const refusal = () => ({ status: 200, body: JSON.stringify(partial) });
  const receiver = await openHttpReceiver({ ...dialects.otlp, refusal });
  t.after(() => receiver.close());
  const [first, second] = world.append('control', 2);
  receiver.refuses.add(second!.id);
  const sinks = await world.start({ ...receiver.settings, labels: { env: 'prod' } });
  await until(async () => (await sinks.status())[0]?.deadLetters === 2, 'both are put aside');
  const { path, body } = receiver.last!;
  assert.equal(path, '/v1/logs');
  const [resourceLogs] = JSON.parse(body).resourceLogs;
  assert.deepEqual(resourceLogs.resource.attributes[0], { key: 'env', value: { stringValue: 'prod' } });
  const [record] = resourceLogs.scopeLogs[0].logRecords;
  assert.equal(record.timeUnixNano, `${Date.parse(first!.at)}000000`);
  assert.deepEqual([record.severityNumber, record.severityText], [9, 'INFO']);
  assert.deepEqual(record.attributes[0], { key: 'log.record.uid', value: { stringValue: first!.id } });
  assert.equal(receiver.asked, 1);
  await until(() => world.problems.length > 0, 'operators are told');
  assert.match(world.problems[0] ?? '', /rejected 1 of 2: too old \[2J$/);
  assert.deepEqual(await sinks.redeliver('receiver'), { delivered: 1, remaining: 1, stoppedBy: null });
});

test('a webhook is signed as Standard Webhooks says, with the same id when it is sent again', async (t) => {
  const key = webhookKey('whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw')!;
  const known = { id: 'msg_p5jXN8AQM9LWM0D4loKWxJek', timestamp: '1614265330', body: '{"test": 2432232314}' };
  assert.equal(webhookSignature(key, known), 'v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=');
  assert.equal(webhookKey('whsec_c2hvcnQ='), null);
  assert.equal(webhookKey('x'.repeat(23)), null);
  const receiver = await openHttpReceiver(dialects.webhook);
  t.after(() => receiver.close());
  world.append('control', 2);
  receiver.behave = 'busy';
  await world.start(receiver.settings);
  await until(() => receiver.asked >= 2, 'it is tried again');
  const before = receiver.last!.headers['webhook-id'];
  receiver.behave = 'take';
  await until(() => receiver.events().length === 2, 'they arrived');
  const { headers, body } = receiver.last!;
  const id = String(headers['webhook-id']);
  assert.equal(id, before);
  const timestamp = String(headers['webhook-timestamp']);
  assert(Math.abs(Number(timestamp) - Date.now() / 1000) < 30);
  const mine = webhookKey(receiver.settings.secret!)!;
  assert.equal(headers['webhook-signature'], webhookSignature(mine, { id, timestamp, body }));
  assert.equal(JSON.parse(body).sink, 'receiver');
});

test('syslog gets RFC 5424 with its octets counted, and no event ends a message or a value', async (t) => {
  const receiver = await openSyslogReceiver();
  t.after(() => receiver.close());
  const [first] = world.append('control', 1);
  await world.start({ ...receiver.settings });
  await until(() => receiver.messages.length === 1, 'it arrived');
  const header = `<110>1 ${first!.at} host.example sealwright - run.create`;
  const data = `id="${first!.id}" stream="control" seq="1" outcome="allowed" actor="user:alice"`;
  assert.equal(receiver.messages[0], `${header} [sealwright@32473 ${data}] ${JSON.stringify(first)}`);
  const hostile: AuditEvent = {
    ...first!,
    action: 'x y\n',
    outcome: 'denied',
    actor: { id: 'user:"]\\\n<1>1 é', kind: 'user' },
  };
  const frame = frameOf({ event: hostile, text: '{}' }, { hostname: 'a b', facility: 4 }).toString('utf8');
  assert.equal(
    frame.replace(/^\d+ /, ''),
    `<36>1 ${first!.at} ab sealwright - xy [sealwright@32473 id="${first!.id}" stream="control" seq="1" outcome="denied" actor="user:\\"\\]\\\\ <1>1 é"] {}`,
  );
  assert.equal(Number(frame.split(' ', 1)[0]), Buffer.byteLength(frame.replace(/^\d+ /, '')));
});

test('a file is 0600, is renamed when it has grown, ends torn lines and follows its name', async () => {
  const path = join(world.path, 'out.jsonl');
  writeFileSync(path, '{"torn', { mode: 0o600 });
  world.append('control', 1500);
  const receiver = openFileReceiver(path);
  const sinks = await world.start({ ...receiver.settings, rotateMebibytes: 1, keptFiles: 2 });
  const sent = async (seq: number) =>
    await until(async () => (await sinks.status())[0]?.streams[0]?.sentSeq === seq, `${seq} are sent`);
  await sent(1500);
  assert.equal(statSync(path).mode & 0o777, 0o600);
  const [torn, ...lines] = readFileSync(path, 'utf8').trimEnd().split('\n');
  assert.equal(torn, '{"torn');
  assert.deepEqual(
    lines.map((line) => JSON.parse(line)),
    world.events('control'),
  );
  appendFileSync(path, `${' '.repeat(1024 * 1024 - 1)}\n`);
  world.append('control', 1);
  await sent(1501);
  assert.deepEqual(receiver.events(), world.events('control').slice(-1));
  assert(readdirSync(world.path).includes('out.jsonl.1'));
  renameSync(path, `${path}.moved`);
  world.append('control', 1);
  await sent(1502);
  assert.deepEqual(receiver.events(), world.events('control').slice(-1));
  renameSync(path, `${path}.again`);
  symlinkSync(`${path}.again`, path);
  world.append('control', 1);
  await until(async () => (await sinks.status())[0]!.failedSends > 0, 'a link is not followed');
  assert.equal((await sinks.status())[0]?.lastError?.reason, 'ELOOP');
});

test('a filter keeps back what it does not name and goes past it', async () => {
  const receiver = openFileReceiver(join(world.path, 'out.jsonl'));
  world.append('control', 3, 'run.create');
  world.append('control', 2, 'egress.connect');
  world.append('control', 3, 'egress-like.create');
  const sinks = await world.start({
    ...receiver.settings,
    format: 'ocsf',
    filter: { actions: ['egress.'], outcomes: ['allowed'] },
  });
  await until(async () => (await sinks.status())[0]?.streams[0]?.sentSeq === 8, 'it went past all');
  const shown = receiver.events() as unknown as { class_uid: number; metadata: { sequence: number } }[];
  assert.deepEqual(
    shown.map(({ class_uid, metadata }) => [class_uid, metadata.sequence]),
    [
      [4001, 4],
      [4001, 5],
    ],
  );
});

test('a line that is no event is put aside and holds nothing up', async () => {
  const receiver = openFileReceiver(join(world.path, 'out.jsonl'));
  world.append('control', 1);
  const whole = world.events('control')[0]!;
  const hostile = [
    { ...whole, action: 'x'.repeat(10_000) },
    { ...whole, outcome: 'odd' },
    { ...whole, stream: ['control'] },
    { ...whole, stream: 'another' },
    { ...whole, seq: '1' },
  ].map((event) => JSON.stringify(event));
  const lines = ['{"id":"evt_half"}', 'not JSON', 'null', ...hostile];
  appendFileSync(join(world.folder, 'control', '0000000000000001.jsonl'), `${lines.join('\n')}\n`);
  const sinks = await world.start(receiver.settings);
  await until(async () => (await sinks.status())[0]?.streams[0]?.sentSeq === 9, 'it went past them');
  assert.equal(receiver.events().length, 1);
  assert.equal((await sinks.status())[0]?.deadLetters, 8);
});

test('more streams than can be sent stop a sink in plain sight, and none is left out in silence', async () => {
  const receiver = openFileReceiver(join(world.path, 'out.jsonl'));
  for (let index = 0; index <= sinkLimits.streamsMax; index += 1) world.append(`s-${index}`, 1);
  const sinks = await world.start(receiver.settings);
  await until(async () => (await sinks.status())[0]!.failedSends > 0, 'it says so');
  const [status] = await sinks.status();
  assert.equal(status?.lastError?.reason, `this machine: more than ${sinkLimits.streamsMax} streams`);
  assert.deepEqual([status?.state, status?.streams, receiver.events()], ['retrying', [], []]);
});

test('events that were archived before they were sent are named, and the others go on', async () => {
  const receiver = openFileReceiver(join(world.path, 'out.jsonl'));
  world.append('control', 2);
  const sinks = await world.start(receiver.settings);
  await until(async () => (await sinks.status())[0]?.streams[0]?.sentSeq === 2, 'they are sent');
  await world.stop();
  const [whole] = world.events('control');
  const folder = join(world.folder, 'control');
  rmSync(segmentPath(folder, 1));
  const next = segmentEvents + 1;
  writeFileSync(segmentPath(folder, next), `${JSON.stringify({ ...whole, seq: next, id: 'evt_next' })}\n`);
  const again = await world.start(receiver.settings);
  await until(async () => (await again.status())[0]?.streams[0]?.sentSeq === next, 'it goes on');
  assert.equal(
    (await again.status())[0]?.lastError?.reason,
    `events 3 to ${segmentEvents} of control left the log before they were sent`,
  );
  assert.equal(receiver.events().at(-1)?.id, 'evt_next');
});
