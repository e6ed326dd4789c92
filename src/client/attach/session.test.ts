import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { type TestContext } from 'node:test';
import { attachCloseCodes, attachProtocol, ticketProtocolPrefix } from '../../contract/attach.ts';
import { newId } from '../../model/ids.ts';
import { ApiError } from '../api-error.ts';
import { browserSocket } from './browser-socket.ts';
import { nodeSocket } from './node-socket.ts';
import { type AttachOptions, AttachSession, type AttachState } from './session.ts';
import { counted, openTestAttachServer, type TestAttachServer } from './test-attach-server.ts';

/** A session that keeps what it shows, and can be waited on. */
class Watched {
  readonly session: AttachSession;
  readonly states: AttachState[] = [];
  readonly refused: string[] = [];
  readonly tickets: boolean[] = [];
  readonly paths: string[];
  shown = '';
  #wake: () => void = () => {};

  constructor(t: TestContext, server: TestAttachServer, options: Partial<AttachOptions> = {}) {
    const socket = counted(options.socket ?? nodeSocket({ url: server.url }));
    this.paths = socket.paths;
    this.session = new AttachSession({
      ticket: async (first) => {
        this.tickets.push(first);
        return server.ticket();
      },
      redraw: () => this.#show('<redraw>'),
      output: (bytes) => this.#show(Buffer.from(bytes).toString('utf8')),
      changed: (state) => {
        this.states.push(state);
        this.#wake();
      },
      refused: ({ code }) => this.refused.push(code),
      ...options,
      socket,
    });
    t.after(() => this.session.leave());
  }

  #show(text: string): void {
    this.shown += text;
    this.#wake();
  }

  async until(isSo: () => boolean): Promise<void> {
    while (!isSo()) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }
}

const lease = { type: 'input', allowed: true, until: 1 } as const;
const me = newId('connection', 7);

test('a ticket goes as a bearer token with the server’s own origin, never in the URL', async (t) => {
  const server = await openTestAttachServer(t);
  new Watched(t, server);
  const { headers, url } = (await server.peer()).request;
  assert.equal(headers.authorization, 'Bearer sw_attach_of-a-test');
  assert.equal(headers.origin, server.url.origin);
  assert.equal(headers['sec-websocket-protocol'], attachProtocol);
  assert.equal(headers['sec-websocket-extensions'], undefined);
  assert.doesNotMatch(url ?? '', /sw_attach/);
});

test('over the machine’s own socket there is no origin', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'sealwright-attach-'));
  t.after(() => rm(folder, { recursive: true, force: true }));
  const socketPath = join(folder, 'a:b.sock');
  const server = await openTestAttachServer(t, { socketPath });
  new Watched(t, server, { socket: nodeSocket({ url: new URL('http://localhost'), socketPath }) });
  const { headers } = (await server.peer()).request;
  assert.equal(headers.origin, undefined);
  assert.equal(headers.authorization, 'Bearer sw_attach_of-a-test');
});

test('a browser presents its ticket as a subprotocol and speaks the same protocol', async (t) => {
  const server = await openTestAttachServer(t);
  const watched = new Watched(t, server, { socket: browserSocket(server.url.origin) });
  const peer = await server.peer();
  const offered = peer.request.headers['sec-websocket-protocol']?.split(/, */);
  assert.deepEqual(offered, [attachProtocol, `${ticketProtocolPrefix}sw_attach_of-a-test`]);
  peer.welcome();
  peer.data('hello');
  peer.send(lease);
  await watched.until(() => watched.session.state.input?.allowed === true);
  assert.equal(watched.shown, '<redraw>hello');
  assert.equal(await watched.session.input(Buffer.from('ls\r')), true);
  await peer.until(() => peer.typed === 'ls\r');
  peer.end(3);
  assert.deepEqual(await watched.session.ended, { by: 'command', code: 3, signal: null });
});

test('a snapshot redraws and does not count, whatever frames it comes in', async (t) => {
  const server = await openTestAttachServer(t);
  const watched = new Watched(t, server);
  const peer = await server.peer();
  peer.welcome({ offset: 1000, snapshotBytes: 6 });
  peer.data('snap');
  peer.data('s+live');
  peer.data('more');
  await watched.until(() => watched.shown.endsWith('more'));
  assert.equal(watched.shown, '<redraw>snaps+livemore');
  peer.socket.terminate();
  const again = await server.peer();
  // The first byte of "s+live" was of the snapshot, the second too: six in all.
  assert.equal(again.request.url, `/api/v1/runs/${again.request.url?.split('/')[4]}/attach?from=1008`);
});

test('what breaks is connected again with another ticket and goes on behind the last byte', async (t) => {
  const server = await openTestAttachServer(t);
  const watched = new Watched(t, server, { from: 0 });
  const first = await server.peer();
  assert.match(first.request.url ?? '', /\?from=0$/);
  first.welcome({ resumed: true });
  first.data('one ');
  await watched.until(() => watched.shown === 'one ');
  first.socket.terminate();
  const second = await server.peer();
  assert.match(second.request.url ?? '', /\?from=4$/);
  second.welcome({ resumed: true, offset: 4 });
  second.data('two');
  await watched.until(() => watched.shown === 'one two');
  assert.deepEqual(watched.tickets, [true, false]);
  assert(watched.states.some(({ phase }) => phase === 'broken'));
  second.end(0);
  assert.equal((await watched.session.ended).by, 'command');
});

for (const reason of ['goingAway', 'slow', 'unrecorded', 'timeout', 'internal'] as const)
  test(`whoever is cut as ${reason} comes again`, async (t) => {
    const server = await openTestAttachServer(t);
    const watched = new Watched(t, server);
    const first = await server.peer();
    first.welcome();
    first.socket.close(attachCloseCodes[reason]);
    const second = await server.peer();
    second.welcome({ offset: 50 });
    await watched.until(() => watched.session.state.phase === 'attached' && watched.tickets.length === 2);
    assert.equal(watched.shown, '<redraw><redraw>');
  });

for (const reason of ['revoked', 'switchedOff', 'protocol', 'tooLarge'] as const)
  test(`whoever is cut as ${reason} does not come again`, async (t) => {
    const server = await openTestAttachServer(t);
    const watched = new Watched(t, server);
    const peer = await server.peer();
    peer.welcome();
    peer.socket.close(attachCloseCodes[reason], 'why');
    assert.deepEqual(await watched.session.ended, { by: 'server', reason, detail: 'why' });
    assert.deepEqual(watched.tickets, [true]);
  });

test('a refusal before the upgrade says what the server said, and is not tried again', async (t) => {
  const server = await openTestAttachServer(t);
  server.refusals.push({ status: 403, body: { code: 'access.denied', detail: 'It needs control:write.' } });
  const end = await new Watched(t, server).session.ended;
  assert(end.by === 'refusal' && end.error instanceof ApiError);
  assert.deepEqual([end.error.code, end.error.detail], ['access.denied', 'It needs control:write.']);
});

test('a server that forgot a ticket while it started again is asked with another', async (t) => {
  const server = await openTestAttachServer(t);
  const watched = new Watched(t, server);
  const first = await server.peer();
  first.welcome();
  server.refusals.push({ status: 401, body: { code: 'auth.invalid', detail: 'No such ticket.' } });
  first.socket.terminate();
  const second = await server.peer();
  second.welcome();
  await watched.until(() => watched.session.state.phase === 'attached');
  assert.deepEqual(watched.tickets, [true, false, false]);
});

test('a terminal that ended meanwhile ends the session with the server’s words', async (t) => {
  const server = await openTestAttachServer(t);
  const conflict = new ApiError({ status: 409, code: 'state.conflict', detail: 'It has ended.' });
  const watched = new Watched(t, server, {
    ticket: async (first) => {
      if (!first) throw conflict;
      return server.ticket();
    },
  });
  const peer = await server.peer();
  peer.welcome();
  peer.socket.terminate();
  assert.deepEqual(await watched.session.ended, { by: 'refusal', error: conflict });
});

test('nobody answering at first is told at once', async (t) => {
  const server = await openTestAttachServer(t);
  await server.close();
  const end = await new Watched(t, server).session.ended;
  assert(end.by === 'refusal' && end.error instanceof ApiError);
  assert.equal(end.error.code, 'server.unreachable');
});

test('a driver asks for the lease and takes it over once, and tells its size when it drives', async (t) => {
  const server = await openTestAttachServer(t);
  const size = { columns: 100, rows: 30 };
  const watched = new Watched(t, server, { drive: 'takeover', size });
  const first = await server.peer();
  first.welcome();
  assert.deepEqual(await first.frame('drive'), { type: 'drive', takeover: true });
  assert.deepEqual(first.frames, [], 'no size before it may drive');
  first.send(lease);
  assert.deepEqual(await first.frame('resize'), { type: 'resize', size });
  watched.session.resize({ columns: 90, rows: 20 });
  assert.deepEqual((await first.frame('resize')).size, { columns: 90, rows: 20 });
  first.socket.terminate();
  const second = await server.peer();
  second.welcome();
  assert.deepEqual(await second.frame('drive'), { type: 'drive' });
  second.send(lease);
  assert.deepEqual((await second.frame('resize')).size, { columns: 90, rows: 20 });
});

test('that the session was given another way of attaching is known at once', async (t) => {
  const server = await openTestAttachServer(t);
  const watched = new Watched(t, server);
  const peer = await server.peer();
  peer.welcome();
  peer.send({ type: 'settings', mode: 'collaborative', moderated: true });
  await watched.until(
    () => watched.session.state.mode === 'collaborative' && watched.session.state.moderated,
  );
});

test('of a window that is dragged few sizes are told, and the last one is', async (t) => {
  const server = await openTestAttachServer(t);
  const watched = new Watched(t, server, { drive: 'ask' });
  const peer = await server.peer();
  peer.welcome();
  await peer.frame('drive');
  peer.send(lease);
  await watched.until(() => watched.session.state.input?.allowed === true);
  for (let columns = 1; columns <= 500; columns += 1) watched.session.resize({ columns, rows: 10 });
  const told: number[] = [];
  while (told.at(-1) !== 500) told.push((await peer.frame('resize')).size.columns);
  assert.deepEqual(told, [1, 500]);
});

test('a viewer asks for no lease and sends nothing that is typed', async (t) => {
  const server = await openTestAttachServer(t);
  const watched = new Watched(t, server, { drive: 'ask', size: { columns: 10, rows: 10 } });
  const peer = await server.peer();
  peer.welcome({ role: 'viewer' });
  peer.send({ type: 'input', allowed: false, bar: 'viewer', holder: null });
  await watched.until(() => watched.session.state.input !== null);
  assert.equal(await watched.session.input(Buffer.from('x')), false);
  watched.session.leave();
  assert.equal(await peer.closed, 1000);
  assert.deepEqual([peer.frames, peer.typed], [[], '']);
  assert.deepEqual(await watched.session.ended, { by: 'client' });
});

test('a lease that nobody holds is asked for by typing; one that another holds is not', async (t) => {
  const server = await openTestAttachServer(t);
  const watched = new Watched(t, server);
  const peer = await server.peer();
  peer.welcome();
  const bar = { type: 'input', allowed: false, bar: 'no-lease' } as const;
  peer.send({ ...bar, holder: me });
  await watched.until(() => watched.session.state.input?.allowed === false);
  assert.equal(await watched.session.input(Buffer.from('lost')), false);
  peer.send({ ...bar, holder: null });
  const { length } = watched.states;
  await watched.until(() => watched.states.length > length);
  assert.equal(await watched.session.input(Buffer.from('kept')), true);
  await peer.frame('drive');
  await peer.until(() => peer.typed === 'kept');
});

test('the lease is kept alive while it is held, also where nobody watches', async (t) => {
  t.mock.timers.enable({ apis: ['setInterval'] });
  const server = await openTestAttachServer(t);
  const watched = new Watched(t, server);
  const peer = await server.peer();
  peer.welcome({ connection: me });
  peer.send(lease);
  await watched.until(() => watched.session.state.input?.allowed === true);
  t.mock.timers.tick(10_000);
  await peer.frame('keep-alive');
  const client = { connection: me, actor: 'user:t', role: 'driver', driving: true } as const;
  peer.send({ type: 'clients', clients: [client] });
  peer.send({ type: 'input', allowed: false, bar: 'no-observer', holder: null });
  await watched.until(() => watched.session.state.input?.allowed === false);
  t.mock.timers.tick(10_000);
  await peer.frame('keep-alive');
  peer.send({ type: 'clients', clients: [{ ...client, driving: false }] });
  await watched.until(() => watched.session.state.clients[0]?.driving === false);
  t.mock.timers.tick(60_000);
  watched.session.handOver(newId('connection', 9));
  await peer.frame('hand-over');
  assert.deepEqual(peer.frames, []);
});

test('a long paste comes whole, in order, in frames that the server takes', async (t) => {
  const server = await openTestAttachServer(t);
  const watched = new Watched(t, server);
  const peer = await server.peer();
  peer.welcome();
  peer.send(lease);
  await watched.until(() => watched.session.state.input?.allowed === true);
  const paste = Buffer.from(Array.from({ length: 300_000 }, (_, at) => at % 251));
  await watched.session.input(paste);
  const sum = () => peer.input.reduce((bytes, message) => bytes + message.length - 1, 0);
  await peer.until(() => sum() === paste.length);
  assert(Buffer.concat(peer.input.map((message) => message.subarray(1))).equals(paste));
  assert(peer.input.every((message) => message[0] === 0 && message.length <= 64 * 1024));
});

test('whoever shows output slowly holds the server back, and misses nothing', async (t) => {
  const server = await openTestAttachServer(t);
  const gate = Promise.withResolvers<void>();
  let bytes = 0;
  const watched = new Watched(t, server, {
    output: async (chunk) => {
      await gate.promise;
      bytes += chunk.length;
    },
  });
  const peer = await server.peer();
  peer.welcome();
  const frame = Buffer.alloc(60_000, 'x');
  for (let count = 0; count < 500; count++) peer.data(frame);
  const sent = new Promise<void>((resolve) => peer.socket.ping('', false, () => resolve()));
  const first = await Promise.race([sent.then(() => 'sent'), new Promise((r) => setTimeout(r, 300, 'held'))]);
  assert.equal(first, 'held');
  gate.resolve();
  await sent;
  peer.end(0);
  await watched.session.ended;
  assert.equal(bytes, 500 * frame.length);
});

test('frames of a newer server say nothing to this client; what is no protocol ends it', async (t) => {
  const server = await openTestAttachServer(t);
  const watched = new Watched(t, server);
  const peer = await server.peer();
  peer.welcome();
  peer.socket.send('{"type":"later"}');
  peer.send({ type: 'refused', of: 'drive', code: 'state.conflict', detail: 'Another drives.' });
  await watched.until(() => watched.refused.length > 0 || watched.states.at(-1)?.phase === 'ended');
  assert.deepEqual(watched.refused, ['state.conflict']);
  for (const say of [
    (each: typeof peer) => each.data('too early'),
    (each: typeof peer) => each.socket.send('no json'),
    (each: typeof peer) => {
      each.welcome();
      each.welcome();
    },
    (each: typeof peer) => {
      each.welcome();
      each.data('x', 7);
    },
  ]) {
    const other = new Watched(t, server);
    say(await server.peer());
    const end = await other.session.ended;
    assert.match(end.by === 'refusal' ? end.error.message : end.by, /does not speak/);
  }
});
