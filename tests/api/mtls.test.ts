import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { connect, type TLSSocket } from 'node:tls';
import { pino } from 'pino';
import type { ActorId } from '../../src/model/actor.ts';
import { newId } from '../../src/model/ids.ts';
import { type OpenServer, openServer } from '../../src/server/server.ts';
import { loopbackPair } from '../support/certificates.ts';
import { drain, type RawAnswer, rawExchange } from '../support/raw-http.ts';
import { actorOf, bootstrapSecret, TestControl } from '../support/test-control.ts';
import { wideRates } from '../support/test-server.ts';

/** The listener for machines: who has a certificate of the built-in authority is who it names, and nobody else is there. */

let folder: string;
let control: TestControl;
let server: OpenServer;
let port: number;
let agents = 0;

before(async () => {
  folder = mkdtempSync(join(tmpdir(), 'sealwright-mtls-'));
  control = await TestControl.open({ withRunner: false });
  server = await openServer({
    control: control.control,
    logger: pino({ level: 'silent' }),
    listen: { host: '127.0.0.1', port: 0 },
    localSocketPath: null,
    identity: { localOwner: actorOf('nobody') },
    version: '0.0.0-test',
    rateLimits: wideRates,
    machines: {
      listen: { host: '127.0.0.1', port: 0 },
      authority: control.directory.authority,
      names: ['localhost', '127.0.0.1'],
    },
  });
  port = Number(new URL(server.machinesAddress!).port);
});

after(async () => {
  await server.close();
  await control[Symbol.asyncDispose]();
  rmSync(folder, { recursive: true, force: true });
});

async function administers<T>(method: string, path: string, body?: object): Promise<T> {
  const headers: Record<string, string> = { authorization: `Bearer ${bootstrapSecret}` };
  if (body !== undefined) headers['content-type'] = 'application/json';
  const init = { method, headers, ...(body === undefined ? {} : { body: JSON.stringify(body) }) };
  const response = await fetch(server.address + path, init);
  const text = await response.text();
  assert(response.ok, `${method} ${path}: ${response.status} ${text}`);
  return (text === '' ? null : JSON.parse(text)) as T;
}

type Machine = {
  readonly id: ActorId;
  readonly key: string;
  readonly cert: string;
  readonly credential: string;
};

function newRequest(): { key: string; request: string } {
  const words = 'req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj / -keyout key.pem';
  const request = execFileSync('openssl', words.split(' '), {
    cwd: folder,
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  return { key: readFileSync(join(folder, 'key.pem'), 'utf8'), request: request.toString('utf8') };
}

/** An agent that may read runs, with a certificate. */
async function newMachine(): Promise<Machine> {
  const name = `machine-${++agents}`;
  const made = await administers<{ id: ActorId }>('POST', '/api/v1/agents', {
    ...{ kind: 'agent', name, role: 'worker', scopes: ['run:read'] },
  });
  const { key, request } = newRequest();
  const path = `/api/v1/agents/${encodeURIComponent(made.id)}/certificates`;
  const issued = await administers<{ id: string; certificate: string }>('POST', path, { request });
  return { id: made.id, key, cert: issued.certificate, credential: issued.id };
}

async function authority(): Promise<string> {
  const all = await control.directory.authority.certificates();
  return all.map(({ certificate }) => certificate).join('\n');
}

async function open(machine: Partial<Pick<Machine, 'key' | 'cert'>>): Promise<TLSSocket> {
  const { key, cert } = machine;
  const credential = key === undefined || cert === undefined ? {} : { key, cert };
  const socket = connect({ port, host: '127.0.0.1', ca: await authority(), ...credential });
  socket.on('error', () => undefined);
  await once(socket, 'secureConnect');
  return socket;
}

const get = (path: string, ...headers: string[]) =>
  [`GET ${path} HTTP/1.1`, 'Host: localhost', ...headers, '', ''].join('\r\n');

/** What comes of a request on a connection of its own; status 0 where nothing does. */
async function ask(machine: Partial<Machine>, ...headers: string[]): Promise<RawAnswer> {
  const socket = await open(machine);
  socket.write(get('/api/v1/runs', 'Connection: close', ...headers));
  return await drain(socket, 5_000);
}

async function answered(socket: TLSSocket): Promise<number> {
  socket.write(get('/api/v1/runs'));
  const [chunk] = (await once(socket, 'data')) as [Buffer];
  return Number(chunk.toString('latin1').split(' ')[1]);
}

const closed = (socket: TLSSocket) =>
  socket.closed ? Promise.resolve() : new Promise((resolve) => socket.once('close', resolve));

test('a certificate of the authority says who asks, with nothing else', async () => {
  assert.match(server.machinesAddress!, /^https:\/\/127\.0\.0\.1:\d+$/);
  const machine = await newMachine();
  const answer = await ask(machine);
  assert.equal(answer.status, 200, answer.text);
  assert.equal(answer.headers['strict-transport-security'], 'max-age=31536000; includeSubDomains');
  const socket = await open(machine);
  assert(socket.authorized, 'the server’s own certificate is of the authority');
  socket.destroy();
});

test('who has no certificate of the authority does not get past the handshake', async () => {
  const stranger = loopbackPair();
  const server = await control.directory.authority.serverCredential(['localhost']);
  const self = join(folder, 'self');
  const words = `req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=x -days 2 -keyout ${self}.key -out ${self}.pem`;
  execFileSync('openssl', words.split(' '), { stdio: 'ignore' });
  const others: Record<string, Partial<Machine>> = {
    nobody: {},
    'another authority': { key: stranger.key, cert: stranger.certificate },
    itself: { key: readFileSync(`${self}.key`, 'utf8'), cert: readFileSync(`${self}.pem`, 'utf8') },
  };
  for (const [name, other] of Object.entries(others))
    assert.equal((await ask(other)).text, '', `${name} gets no byte`);
  const asServer = await ask({ key: server.key, cert: server.certificate });
  assert(asServer.status === 0 || asServer.status === 401, `the server’s own: ${asServer.status}`);
  assert.equal((await rawExchange(port, get('/healthz'))).status, 0, 'nor who speaks no TLS');
});

test('tokens, cookies and pages count for nothing there', async () => {
  const machine = await newMachine();
  assert.equal((await ask(machine, `Authorization: Bearer ${bootstrapSecret}`)).status, 400);
  assert.equal((await ask(machine, 'Cookie: __Host-sealwright=swb_x')).status, 200);
  assert.equal((await ask(machine, 'Origin: https://localhost')).status, 403);
  assert.equal((await ask(machine, 'Sec-Fetch-Site: same-origin')).status, 403);
});

test('a certificate counts for nothing on the other listener', async () => {
  const machine = await newMachine();
  const forged = ['X-Client-Cert', 'X-SSL-Client-Verify', 'X-Forwarded-Client-Cert'].map(
    (name) => `${name}: ${encodeURIComponent(machine.cert)}`,
  );
  const answer = await rawExchange(server.port, get('/api/v1/runs', 'Connection: close', ...forged));
  assert.equal(answer.status, 401);
});

test('a revoked certificate is refused at the next request, and its connections end within a second', async () => {
  const [machine, neighbour] = [await newMachine(), await newMachine()];
  const [idle, beside] = [await open(machine), await open(neighbour)];
  assert.deepEqual([await answered(idle), await answered(beside)], [200, 200]);
  const path = `/api/v1/agents/${encodeURIComponent(machine.id)}/credentials/${machine.credential}`;
  await administers('DELETE', path);
  const startedAt = performance.now();
  await closed(idle);
  assert(performance.now() - startedAt < 1_000);
  assert.equal((await ask(machine)).status, 401);
  assert.equal(await answered(beside), 200);
  beside.destroy();
});

test('a disabled agent’s connections end within a second', async () => {
  const machine = await newMachine();
  const idle = await open(machine);
  assert.equal(await answered(idle), 200);
  await administers('POST', `/api/v1/agents/${encodeURIComponent(machine.id)}/disable`);
  const startedAt = performance.now();
  await closed(idle);
  assert(performance.now() - startedAt < 1_000);
  assert.equal((await ask(machine)).status, 401);
});

test('a certificate that runs out ends its connections, and opens no other', async () => {
  const machine = await newMachine();
  const { key, request } = newRequest();
  const issued = await control.directory.authority.issue(machine.id, request, 2_000);
  await control.store.identity.agents.addCredential({
    ...{ id: newId('credential', Date.now()), agent: machine.id, kind: 'certificate', name: null },
    ...{ proof: issued.fingerprint, material: issued.certificate },
    ...{ createdAt: Date.now(), expiresAt: issued.expiresAt },
  });
  const socket = await open({ key, cert: issued.certificate });
  assert.equal(await answered(socket), 200);
  await closed(socket);
  const late = Date.now() - issued.expiresAt;
  assert(late > -100 && late < 1_000, `${late} ms after its end`);
  const again = await ask({ key, cert: issued.certificate });
  assert(again.status === 0 || again.status === 401, `${again.status}`);
});

test('an authority that is given up at once takes its certificates with it', async () => {
  const machine = await newMachine();
  const idle = await open(machine);
  assert.equal(await answered(idle), 200);
  await control.directory.authority.rotate(0);
  await control.directory.changes.look();
  const startedAt = performance.now();
  await closed(idle);
  assert(performance.now() - startedAt < 1_000);
  const next = await newMachine();
  for (const until = performance.now() + 5_000; ; ) {
    const answer = await ask(next).catch(() => null);
    if (answer?.status === 200) break;
    assert(performance.now() < until, 'the next authority’s certificates are taken');
  }
  const old = await ask(machine);
  assert(old.status === 0 || old.status === 401, `${old.status}`);
});
