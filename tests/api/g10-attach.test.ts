import assert from 'node:assert/strict';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { pino } from 'pino';
import { attachCloseCodes, attachStreams, type ServerFrame } from '../../src/contract/attach.ts';
import type { AttachTicketView } from '../../src/contract/attach-schemas.ts';
import { newId, type RunId, type SessionId } from '../../src/model/ids.ts';
import type { AttachRole } from '../../src/model/terminal.ts';
import { type OpenServer, openServer } from '../../src/server/server.ts';
import { attachable, driverCaller, runningIn } from '../support/attach-clients.ts';
import type { FakeTerminal } from '../support/fake-terminals.ts';
import { openRaw, rawExchange } from '../support/raw-http.ts';
import { opcodes, RawWebSocket, upgradeText } from '../support/raw-websocket.ts';
import { actorOf, TestControl } from '../support/test-control.ts';
import { wideRates } from '../support/test-server.ts';

/**
 * G10: viewers cannot type. Over real WebSockets, with the control that decides and records, in front of a runner that
 * only keeps what it is told to type.
 */

const ann = driverCaller();

let control: TestControl;
let server: OpenServer;
let run: RunId;
let session: SessionId;
let terminal: FakeTerminal;
const tokens: Record<string, string> = {};

before(async () => {
  control = await TestControl.open({ config: { maxRunsPerSession: 4, maxRuns: 64 } });
  server = await openServer({
    control: control.control,
    logger: pino({ level: 'silent' }),
    listen: { host: '127.0.0.1', port: 0 },
    localSocketPath: join(control.folder, 'local.sock'),
    identity: { localOwner: actorOf('nobody') },
    version: '0.0.0-test',
    rateLimits: wideRates,
  });
  for (const [name, scopes] of Object.entries({
    vera: ['session:read', 'run:read'],
    ann: ['session:read', 'session:write', 'run:read', 'run:write', 'control:write'],
    bob: ['session:read', 'run:read', 'control:write'],
  } as const)) {
    const token = { name, actor: `user:${name}` as const, scopes, reach: 'all' as const, expiresAt: null };
    const issued = await control.directory.tokens.issue(token, null);
    assert('secret' in issued);
    tokens[name] = issued.secret;
  }
  ({ run, session, terminal } = await attachable(control, ann));
});

after(async () => {
  await server.close();
  await control[Symbol.asyncDispose]();
});

async function post(name: string, path: string, body: object, method = 'POST') {
  const response = await fetch(server.address + path, {
    method,
    headers: { authorization: `Bearer ${tokens[name]}`, 'content-type': 'application/json' },
    body: JSON.stringify(body),
  });
  return { status: response.status, body: JSON.parse(await response.text()) };
}

async function ticketFor(name: string, role: AttachRole, of = run): Promise<string> {
  const { status, body } = await post(name, `/api/v1/runs/${of}/attach-tickets`, { role });
  assert.equal(status, 201, JSON.stringify(body));
  return (body as AttachTicketView).ticket;
}

async function upgrade(ticket: string | null, more: Parameters<typeof upgradeText>[1] = {}, of = run) {
  const headers = { Origin: server.address, ...more.headers };
  const request = upgradeText(`/api/v1/runs/${of}/attach`, { ticket, ...more, headers });
  return new RawWebSocket(await openRaw(server.port), request);
}

/** A client that reads everything, and can say anything. */
class Client {
  readonly socket: RawWebSocket;
  readonly frames: ServerFrame[] = [];
  shown = '';
  closeCode: number | null = null;

  constructor(socket: RawWebSocket) {
    this.socket = socket;
    void this.#read();
  }

  async #read(): Promise<void> {
    for (let frame = await this.socket.next(); frame !== null; frame = await this.socket.next()) {
      if (frame.opcode === opcodes.binary) this.shown += frame.payload.toString('latin1', 1);
      else if (frame.opcode === opcodes.text) this.frames.push(JSON.parse(String(frame.payload)));
      else if (frame.opcode === opcodes.close) this.closeCode = frame.payload.readUInt16BE();
    }
  }

  say(frame: object): void {
    this.socket.send({ opcode: opcodes.text, payload: Buffer.from(JSON.stringify(frame)) });
  }

  type(text: string): void {
    const payload = Buffer.concat([Buffer.of(attachStreams.input), Buffer.from(text)]);
    this.socket.send({ opcode: opcodes.binary, payload });
  }

  get mayType(): boolean {
    const last = this.frames.findLast(({ type }) => type === 'input');
    return last?.type === 'input' && last.allowed;
  }

  get id(): string {
    const welcome = this.frames.find(({ type }) => type === 'welcome');
    assert(welcome?.type === 'welcome');
    return welcome.connection;
  }

  refused(of: string): boolean {
    return this.frames.some((frame) => frame.type === 'refused' && frame.of === of);
  }

  async leave(): Promise<void> {
    this.socket.socket.end();
    await this.socket.closed;
  }
}

async function attachAs(name: string, role: AttachRole, of = run): Promise<Client> {
  const socket = await upgrade(await ticketFor(name, role, of), {}, of);
  const answer = await socket.answer;
  assert.equal(answer.status, 101, answer.text);
  const client = new Client(socket);
  await until(() => client.frames.length > 0);
  return client;
}

async function until(holds: () => boolean, ms = 10_000): Promise<void> {
  for (const end = performance.now() + ms; !holds(); ) {
    assert(performance.now() < end, `did not come true: ${holds}`);
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
}

test('what a viewer types goes nowhere, whatever it says it is; what the driver types arrives', async () => {
  const driver = await attachAs('ann', 'driver');
  await until(() => driver.mayType);
  const viewer = await attachAs('vera', 'viewer');
  viewer.type('rm -rf /\r');
  await until(() => viewer.refused('data'));
  viewer.say({ type: 'drive' });
  await until(() => viewer.refused('drive'));
  viewer.say({ type: 'drive', takeover: true });
  viewer.say({ type: 'hand-over', to: viewer.id });
  viewer.say({ type: 'hand-over', to: driver.id });
  viewer.say({ type: 'resize', size: { columns: 1, rows: 1 } });
  viewer.say({ type: 'release' });
  viewer.say({ type: 'end-input' });
  viewer.type('reboot\r');
  await until(() => viewer.refused('hand-over') && viewer.refused('resize') && viewer.refused('end-input'));
  assert.equal(viewer.closeCode, null);
  driver.type('ls\r');
  await until(() => terminal.typed.includes('ls\r'));
  assert.equal(terminal.typed, 'ls\r');
  assert.deepEqual(terminal.size, { columns: 80, rows: 24 });
  terminal.write('seen by both');
  await until(() => [driver, viewer].every(({ shown }) => shown.includes('seen by both')));

  await Promise.all([viewer.leave(), driver.leave()]);
});

test('a viewer who says to be somebody else is cut', async () => {
  const before = terminal.typed;
  for (const frame of [
    { type: 'drive', connection: newId('connection', 1) },
    { type: 'welcome', role: 'driver' },
    { type: 'input', allowed: true, until: Number.MAX_SAFE_INTEGER },
    { type: 'keep-alive', actor: 'user:ann' },
    ['drive'],
  ]) {
    const viewer = await attachAs('vera', 'viewer');
    viewer.say(frame);
    viewer.type('x');
    await viewer.socket.closed;
    assert.equal(viewer.closeCode, attachCloseCodes.protocol, JSON.stringify(frame));
  }
  assert.equal(terminal.typed, before);
});

test('frames that were good once do nothing when they are sent again by who may no longer', async () => {
  const first = await attachAs('ann', 'driver');
  await until(() => first.mayType);
  first.type('mine;');
  await until(() => terminal.typed.endsWith('mine;'));
  const second = await attachAs('bob', 'driver');
  second.say({ type: 'drive', takeover: true });
  await until(() => second.mayType && !first.mayType);
  first.type('mine;');
  first.say({ type: 'keep-alive' });
  await until(() => first.refused('data'));
  second.type('theirs;');
  await until(() => terminal.typed.endsWith('theirs;'));
  assert.match(terminal.typed, /[^;]*mine;theirs;$/);
  await Promise.all([first.leave(), second.leave()]);
});

test('a ticket of a viewer makes no driver, and who may not drive gets no other', async () => {
  const asked = await post('vera', `/api/v1/runs/${run}/attach-tickets`, { role: 'driver' });
  assert.deepEqual([asked.status, asked.body.code], [403, 'access.denied']);
  const viewer = await attachAs('ann', 'viewer');
  const before = terminal.typed;
  viewer.say({ type: 'drive', takeover: true });
  viewer.type('x');
  await until(() => viewer.refused('drive') && viewer.refused('data'));
  assert.equal(terminal.typed, before);
  await viewer.leave();
  for (const [path, body] of [
    ['execs', { command: ['sh'] }],
    ['port-forwards', { port: 80 }],
  ] as const)
    assert.equal((await post('vera', `/api/v1/runs/${run}/${path}`, body)).status, 403, path);
});

/** Why upgrades were refused, as the audit log has it by now. */
async function recorded(): Promise<string[]> {
  const events = await control.events();
  return events
    .filter(({ action, resource }) => action === 'attach.refuse' && resource?.id === run)
    .map(({ decision }) => decision?.rule ?? '');
}

test('each upgrade that is refused is on record with why, before anything else was', async () => {
  const other = await runningIn(control, ann, session);
  const used = await ticketFor('vera', 'viewer');
  const client = new Client(await upgrade(used));
  await until(() => client.frames.length > 0);
  await client.leave();
  const refusals: readonly (readonly [string, Promise<RawWebSocket>, number])[] = [
    ['ticket-missing', upgrade(null), 401],
    ['ticket-in-url', upgrade(null, { first: `GET /api/v1/runs/${run}/attach?ticket=x HTTP/1.1` }), 400],
    [
      'origin',
      upgrade(await ticketFor('vera', 'viewer'), { headers: { Origin: 'https://evil.example' } }),
      403,
    ],
    [
      'protocol',
      upgrade(await ticketFor('vera', 'viewer'), { headers: { 'Sec-WebSocket-Version': '8' } }),
      426,
    ],
    ['ticket-used', upgrade(used), 401],
    ['ticket-unknown', upgrade(`sw_attach_${'A'.repeat(43)}`), 401],
    ['ticket-other-run', upgrade(await ticketFor('vera', 'viewer', other)), 401],
  ];
  for (const [reason, asking, status] of refusals) {
    const { answer } = await asking;
    assert.deepEqual([reason, (await answer).status], [reason, status]);
    for (const end = performance.now() + 5_000; !(await recorded()).includes(`attach:${reason}`); )
      assert(performance.now() < end, `${reason} is on record`);
  }
});

test('where nothing can be recorded nobody is let in, and no ticket is given', async () => {
  const ticket = await ticketFor('vera', 'viewer');
  control.auditFails = true;
  const answer = await (await upgrade(ticket)).answer;
  const asked = await post('vera', `/api/v1/runs/${run}/attach-tickets`, {});
  control.auditFails = false;
  assert.equal(answer.status, 503, answer.text);
  assert.deepEqual([asked.status, asked.body.code], [503, 'audit.unavailable']);
  const again = await attachAs('vera', 'viewer');
  await again.leave();
});

test('ten viewers at once see the same, and one that breaks the rules takes nobody with it', async () => {
  const viewers = await Promise.all(Array.from({ length: 10 }, () => attachAs('vera', 'viewer')));
  viewers[0]!.socket.send({ opcode: 3 });
  await viewers[0]!.socket.closed;
  viewers[1]!.socket.socket.resetAndDestroy();
  terminal.write('for all of them');
  await until(() => viewers.slice(2).every(({ shown }) => shown.endsWith('for all of them')));
  await Promise.all(viewers.slice(2).map((viewer) => viewer.leave()));
});

test('a flood of upgrades is refused, and who is attached notices nothing of it', async () => {
  const of = await attachable(control, ann);
  const driver = await attachAs('ann', 'driver', of.run);
  await until(() => driver.mayType);
  of.terminal.echoes = true;
  const { rss } = process.memoryUsage();
  const text = upgradeText(`/api/v1/runs/${run}/attach`, {
    ticket: 'guess',
    headers: { Origin: server.address },
  });
  let refused = 0;
  const flood = async () => {
    for (let at = 0; at < 100; at += 1)
      if ((await rawExchange(server.port, text)).status === 401) refused += 1;
  };
  const flooding = Promise.all(Array.from({ length: 20 }, flood));
  for (let at = 0; at < 20; at += 1) {
    driver.type(`echo ${at};`);
    await until(() => driver.shown.includes(`echo ${at};`));
  }
  await flooding;
  assert.equal(refused, 2_000);
  assert(process.memoryUsage().rss - rss < 256 * 1024 * 1024, 'memory is bounded');
  await driver.leave();
});

test('switching it off, and a recording that cannot be written, cut everybody within a second', async () => {
  const cuts: readonly (readonly [
    code: number,
    (of: Awaited<ReturnType<typeof attachable>>) => Promise<unknown>,
  ])[] = [
    [
      attachCloseCodes.switchedOff,
      (of) => post('ann', `/api/v1/sessions/${of.session}/attach`, { enabled: false }, 'PUT'),
    ],
    [attachCloseCodes.unrecorded, async (of) => of.terminal.record(false)],
  ];
  for (const [code, act] of cuts) {
    const of = await attachable(control, ann);
    const clients = [await attachAs('ann', 'driver', of.run), await attachAs('vera', 'viewer', of.run)];
    await until(() => clients[0]!.mayType);
    const typing = setInterval(() => clients[0]!.type('x'), 5);
    const writing = setInterval(() => of.terminal.write('y'), 5);
    await until(() => of.terminal.typed.length > 3);
    const since = performance.now();
    await act(of);
    await Promise.all(clients.map(({ socket }) => socket.closed));
    const ms = performance.now() - since;
    const typed = of.terminal.typed.length;
    for (let at = 0; at < 5; at += 1) await new Promise((resolve) => setTimeout(resolve, 10));
    clearInterval(typing);
    clearInterval(writing);
    assert.deepEqual(
      clients.map(({ closeCode }) => closeCode),
      [code, code],
    );
    assert(ms <= 1_000, `they were cut after ${ms} ms`);
    assert.equal(of.terminal.typed.length, typed, 'nothing is typed afterwards');
  }
});
