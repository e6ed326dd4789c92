import assert from 'node:assert/strict';
import { once } from 'node:events';
import type { Socket } from 'node:net';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { pino } from 'pino';
import { attachProtocol } from '../../src/contract/attach.ts';
import type { ActorId, Reach } from '../../src/model/actor.ts';
import type { RunId, SignInId, TokenId } from '../../src/model/ids.ts';
import { type OpenServer, openServer } from '../../src/server/server.ts';
import { openRaw, rawExchange } from '../support/raw-http.ts';
import { type OtherProcess, openOtherProcess, type Taking } from '../support/rights.ts';
import { actorOf, bootstrapSecret, callerOf, TestControl } from '../support/test-control.ts';
import { wideRates } from '../support/test-server.ts';

/**
 * G9: a right that is taken away reaches requests within 250 ms and live streams within a second, whichever process on
 * the store took it. Somebody else's stream about the same run goes on meanwhile.
 */

const requestMs = 250;
const streamMs = 1_000;

let control: TestControl;
let server: OpenServer;
let other: OtherProcess;
let ticking: NodeJS.Timeout;
/** One run of a team's session, which writes without end. */
let run: RunId;
let count = 0;

before(async () => {
  control = await TestControl.open();
  server = await openServer({
    control: control.control,
    logger: pino({ level: 'silent' }),
    listen: { host: '127.0.0.1', port: 0 },
    localSocketPath: null,
    identity: { localOwner: actorOf('nobody') },
    version: '0.0.0-test',
    rateLimits: wideRates,
  });
  other = await openOtherProcess(join(control.folder, 'store.db'));
  const { teams } = control.store.identity;
  const members: ActorId[] = ['user:owner'];
  await teams.put({ name: 'core', description: null, members, createdAt: Date.now() }, null);
  const owner = callerOf({ ...actorOf('owner', 'own', ['*']), teams: new Set(['core']) });
  const session = await control.session(owner, { team: 'core', attach: { enabled: true } });
  run = (await control.run(owner, session, { terminal: { columns: 80, rows: 24 } })).id as RunId;
  await control.runner.until(() => control.runner.live.has(run));
  control.runner.running(run);
  const terminal = control.runner.terminals.of(run);
  ticking = setInterval(() => {
    control.runner.write(run, 'stdout', 'tick\n');
    terminal.write('tick\n');
  }, 10);
});

after(async () => {
  clearInterval(ticking);
  await other.close();
  await server.close();
  await control[Symbol.asyncDispose]();
});

type Who = { readonly name: string; readonly credential: string; readonly id: string };

/** Somebody who signed in with a browser, and sees the run by role or by team. */
async function signedIn(role: string, teams: readonly string[] = []): Promise<Who> {
  const name = `ada-${++count}`;
  const { users } = control.store.identity;
  await users.create(
    {
      ...{ name, displayName: null, email: null, role, eligibleRoles: [], phase: 'active' },
      ...{ passwordHash: null, totpSealed: null, createdAt: Date.now() },
    },
    { external: null, teams },
  );
  const proof = { at: Date.now(), methods: ['pwd'], mfa: false, provider: null, providerSession: null };
  const opened = await control.directory.signIns.openBrowser({
    ...{ actor: `user:${name}`, proof, address: null, userAgent: null },
  });
  return { name, credential: `Cookie: sealwright=${opened.cookie}`, id: opened.record.id };
}

async function tokenHolder(more: { expiresAt?: number; reach?: Reach } = {}): Promise<Who> {
  const name = `ci-${++count}`;
  const token = { name, actor: `user:${name}` as const, scopes: ['run:read', 'session:write'] as const };
  const issued = await control.directory.tokens.issue(
    { ...token, reach: 'all', expiresAt: null, ...more },
    null,
  );
  assert('secret' in issued);
  return { name, credential: `Authorization: Bearer ${issued.secret}`, id: issued.record.id };
}

type Watched = { readonly socket: Socket; bytes: number; lastAt: number; closedAt: number; text: string };

async function watch(who: Who, target: string, ...headers: string[]): Promise<Watched> {
  const socket = await openRaw(server.port);
  const watched: Watched = { socket, bytes: 0, lastAt: 0, closedAt: 0, text: '' };
  socket.on('error', () => undefined);
  socket.on('data', (chunk: Buffer) => {
    watched.bytes += chunk.length;
    watched.lastAt = Date.now();
    watched.text = (watched.text + chunk.toString('latin1')).slice(-4_000);
  });
  socket.once('close', () => {
    watched.closedAt = Date.now();
  });
  const host = `Host: 127.0.0.1:${server.port}`;
  socket.write([`${target} HTTP/1.1`, host, who.credential, ...headers, '', ''].join('\r\n'));
  return watched;
}

/** The run's terminal, over a WebSocket. */
async function watchTerminal(who: Who): Promise<Watched> {
  const path = `/api/v1/runs/${run}/attach`;
  const origin = `Origin: ${server.address}`;
  const json = ['Content-Type: application/json', 'Content-Length: 2', 'Connection: close', '', '{}'];
  const host = `Host: 127.0.0.1:${server.port}`;
  const asked = [`POST ${path}-tickets HTTP/1.1`, host, who.credential, origin, ...json];
  const { status, body } = await rawExchange(server.port, asked.join('\r\n'));
  assert.equal(status, 201, body);
  const { ticket } = JSON.parse(body) as { ticket: string };
  // A ticket alone lets in: no credential goes with it.
  const holder = { ...who, credential: `Authorization: Bearer ${ticket}` };
  const upgrade = ['Connection: Upgrade', 'Upgrade: websocket', 'Sec-WebSocket-Version: 13'];
  const words = ['Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==', `Sec-WebSocket-Protocol: ${attachProtocol}`];
  return await watch(holder, `GET ${path}`, ...upgrade, ...words, origin);
}

const events = 'Accept: text/event-stream';

/** Every kind of stream that somebody may have open about the run; those of a session of one's own only with a token. */
async function watchAll(who: Who): Promise<Record<string, Watched>> {
  const path = `GET /api/v1/runs/${run}`;
  const all: Record<string, Watched> = {
    events: await watch(who, `${path}/logs`, events),
    bytes: await watch(who, `${path}/logs?follow=true`, 'Accept: text/plain'),
    flows: await watch(who, `${path}/egress`, events),
    wait: await watch(who, `${path}/wait?timeoutSeconds=60`),
    terminal: await watchTerminal(who),
  };
  for (const kind of ['events', 'bytes', 'terminal'] as const)
    await until(() => all[kind]!.text.includes('tick'), kind);
  await until(() => all.flows!.bytes > 0, 'flows');
  if (who.credential.startsWith('Cookie')) return all;
  const body = ['Content-Type: application/octet-stream', 'Content-Length: 1000'];
  all.upload = await watch(who, 'POST /api/v1/uploads', ...body);
  all.upload.socket.write('half');
  await pause(50);
  return all;
}

async function until(holds: () => boolean, what: string): Promise<void> {
  for (const end = performance.now() + 10_000; !holds(); await pause(2))
    assert(performance.now() < end, what);
}

async function ask(who: Who): Promise<number> {
  const [, name, value] = /^([^:]+): (.*)$/.exec(who.credential)!;
  const response = await fetch(`${server.address}/api/v1/runs/${run}`, { headers: { [name!]: value! } });
  await response.arrayBuffer();
  return response.status;
}

/** Asks until it is refused; how long after `since` that was answered. */
async function refusedAfter(who: Who, since: number): Promise<number> {
  for (;;) {
    const status = await ask(who);
    const ms = Date.now() - since;
    if (status !== 200) {
      assert([401, 403, 404].includes(status), `${status}`);
      return ms;
    }
    assert(ms < 10_000, 'requests are refused');
    await pause(5);
  }
}

/** Takes the right, and holds requests, every stream and a neighbour's stream to what G9 promises. */
async function proves(who: Who, neighbour: Who, take: () => Promise<number>): Promise<string> {
  const beside = await watch(neighbour, `GET /api/v1/runs/${run}/logs`, events);
  const all = await watchAll(who);
  assert.equal(await ask(who), 200, 'before');
  for (const [kind, { closedAt }] of Object.entries(all)) assert.equal(closedAt, 0, `${kind} is open before`);
  for (const kind of ['wait', 'upload']) assert.equal(all[kind]?.text ?? '', '', `${kind} waits`);
  const takenAt = await take();
  const request = await refusedAfter(who, takenAt);
  assert(request <= requestMs, `a request was refused after ${request} ms`);
  await Promise.all(
    Object.values(all).map(({ socket }) => (socket.closed ? undefined : once(socket, 'close'))),
  );
  const seen = beside.bytes;
  await until(() => beside.bytes > seen, 'the neighbour’s stream goes on');
  assert.equal(beside.closedAt, 0);
  beside.socket.destroy();
  const lines = Object.entries(all).map(([kind, { lastAt, closedAt, text }]) => {
    assert.doesNotMatch(text, /event: end/, kind);
    assert(closedAt - takenAt <= streamMs, `${kind} was cut after ${closedAt - takenAt} ms`);
    assert(lastAt - takenAt <= streamMs, `${kind} had a byte after ${lastAt - takenAt} ms`);
    return `${kind} ${closedAt - takenAt}`;
  });
  return `request ${request} ms, ${lines.join(', ')} ms`;
}

/** What the administrator does over the API of the server that has the streams; resolves when that is answered. */
async function administers(method: string, path: string, body?: object): Promise<number> {
  const headers: Record<string, string> = { authorization: `Bearer ${bootstrapSecret}` };
  if (body !== undefined) headers['content-type'] = 'application/json';
  if (method === 'PATCH' || path.startsWith('/api/v1/teams/')) {
    const read = await fetch(server.address + path, { headers });
    headers['if-match'] = read.headers.get('etag')!;
  }
  const init = { method, headers, ...(body === undefined ? {} : { body: JSON.stringify(body) }) };
  const response = await fetch(server.address + path, init);
  assert(response.ok, `${method} ${path}: ${response.status} ${await response.text()}`);
  return Date.now();
}

type Case = {
  readonly who: () => Promise<Who>;
  /** The same by the API and in another process. */
  readonly here: (who: Who) => Promise<number>;
  readonly there: (who: Who) => Taking;
};

const forbidden = ({ name }: Who) =>
  `forbid (principal == Actor::"user:${name}", action in Action::"run:read", resource);`;

const cases: Record<string, Case> = {
  'a token is revoked': {
    who: () => tokenHolder(),
    here: ({ id }) => administers('DELETE', `/api/v1/tokens/${id}`),
    there: ({ id }) => ({ take: 'token', id: id as TokenId }),
  },
  'a sign-in is ended': {
    who: () => signedIn('operator'),
    here: ({ name }) => administers('POST', `/api/v1/users/${name}/sign-out`),
    there: ({ id }) => ({ take: 'sign-in', id: id as SignInId }),
  },
  'a user is disabled': {
    who: () => signedIn('operator'),
    here: ({ name }) => administers('POST', `/api/v1/users/${name}/disable`),
    there: ({ name }) => ({ take: 'user', name }),
  },
  'a user is removed': {
    who: () => signedIn('operator'),
    here: ({ name }) => administers('DELETE', `/api/v1/users/${name}`),
    there: ({ name }) => ({ take: 'removed-user', name }),
  },
  'a user gets another role': {
    who: () => signedIn('operator'),
    here: ({ name }) => administers('PATCH', `/api/v1/users/${name}`, { role: 'worker' }),
    there: ({ name }) => ({ take: 'role', name, role: 'worker' }),
  },
  'a user leaves the team': {
    who: () => signedIn('developer', ['core']),
    here: () => administers('PUT', '/api/v1/teams/core', { members: ['user:owner'] }),
    there: () => ({ take: 'team', name: 'core', members: ['user:owner'] }),
  },
  'a policy forbids it': {
    who: () => signedIn('operator'),
    here: (who) => administers('PUT', `/api/v1/access/policies/no-${who.name}`, { text: forbidden(who) }),
    there: (who) => ({ take: 'policy', name: `no-${who.name}`, text: forbidden(who) }),
  },
};

for (const [name, { who, here, there }] of Object.entries(cases)) {
  test(`when ${name}, requests are refused and streams are cut`, async (t) => {
    const [somebody, neighbour] = [await who(), await tokenHolder()];
    t.diagnostic(await proves(somebody, neighbour, () => here(somebody)));
  });
  test(`when ${name} by another process on the store, the same holds`, async (t) => {
    const [somebody, neighbour] = [await who(), await signedIn('operator')];
    t.diagnostic(await proves(somebody, neighbour, () => other.take(there(somebody))));
  });
}

test('when a token expires, requests are refused and streams are cut, without anybody’s doing', async (t) => {
  const expiresAt = Date.now() + 1_500;
  const somebody = await tokenHolder({ expiresAt });
  const waits = async () => {
    await pause(expiresAt - Date.now());
    return expiresAt;
  };
  t.diagnostic(await proves(somebody, await tokenHolder(), waits));
});

test('a stream that is opened while the right is taken is not overlooked', async () => {
  for (let round = 0; round < 5; round++) {
    const somebody = await tokenHolder();
    const [watched] = await Promise.all([
      watch(somebody, `GET /api/v1/runs/${run}/logs`, events),
      other.take({ take: 'token', id: somebody.id as TokenId }),
    ]);
    const takenAt = Date.now();
    await until(() => watched.closedAt > 0 || /HTTP\/1\.1 401/.test(watched.text), 'it ends');
    if (watched.closedAt > 0) assert(watched.closedAt - takenAt <= streamMs);
    watched.socket.destroy();
  }
});
