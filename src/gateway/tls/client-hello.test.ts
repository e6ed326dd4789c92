import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer, type Server, type Socket } from 'node:net';
import { after, before, test } from 'node:test';
import tls from 'node:tls';
import fc from 'fast-check';
import {
  type ClientHello,
  ClientHelloReader,
  fatalAlert,
  type HelloState,
  helloLimits,
} from './client-hello.ts';

let catcher: Server;
let captured: { name: string; bytes: Buffer; hello: ClientHello }[];

const port = (server: Server): number => (server.address() as { port: number }).port;

/** The first flight of OpenSSL: a client sends nothing more until it is answered. */
async function capture(options: tls.ConnectionOptions): Promise<Buffer> {
  const accepted = once(catcher, 'connection') as Promise<[Socket]>;
  const client = tls.connect({ host: '127.0.0.1', port: port(catcher), ...options });
  client.on('error', () => client.destroy());
  const [socket] = await accepted;
  let bytes = Buffer.alloc(0);
  while (!isWholeFlight(bytes)) {
    const [chunk] = (await once(socket, 'data')) as [Buffer];
    bytes = Buffer.concat([bytes, chunk]);
  }
  client.destroy();
  socket.destroy();
  return bytes;
}

/** Whether the records hold as many handshake bytes as the first one announces. */
function isWholeFlight(bytes: Buffer): boolean {
  let at = 0;
  let held = 0;
  while (at + 5 <= bytes.length) {
    held += bytes.readUInt16BE(at + 3);
    at += 5 + bytes.readUInt16BE(at + 3);
  }
  return bytes.length >= 9 && at === bytes.length && held === 4 + bytes.readUIntBE(6, 3);
}

/** A session of a.example with a ticket, from a server that needs no certificate: both know a key. */
async function ticket(version: 'TLSv1.2' | 'TLSv1.3'): Promise<Buffer> {
  const psk = Buffer.alloc(32, 1);
  const shared = { ciphers: 'TLS_AES_128_GCM_SHA256:PSK-AES128-GCM-SHA256', maxVersion: version } as const;
  const server = tls.createServer({ ...shared, pskCallback: () => psk }, (socket) => {
    socket.on('error', () => socket.destroy());
    socket.end('x');
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const client = tls.connect({
    ...shared,
    host: '127.0.0.1',
    port: port(server),
    servername: 'a.example',
    pskCallback: () => ({ psk, identity: 'test' }),
    checkServerIdentity: () => undefined,
  });
  try {
    const session = once(client, 'session');
    client.resume();
    return ((await session) as [Buffer])[0];
  } finally {
    client.destroy();
    server.close();
  }
}

before(async () => {
  catcher = createServer().listen(0, '127.0.0.1');
  await once(catcher, 'listening');
  const both = [0x0304, 0x0303];
  const manyProtocols = Array.from({ length: 200 }, (_, index) => `${index}/`.padEnd(200, 'x'));
  const plain = { serverName: null, alpn: [], ech: 'none', versions: both } as const;
  const cases: { name: string; options: tls.ConnectionOptions; hello: ClientHello }[] = [
    { name: 'no SNI', options: {}, hello: plain },
    {
      name: 'SNI',
      options: { servername: 'Registry.Example-1.org' },
      hello: { ...plain, serverName: 'Registry.Example-1.org' },
    },
    {
      name: 'ALPN',
      options: { servername: 'a.example', ALPNProtocols: ['h2', 'http/1.1'] },
      hello: { ...plain, serverName: 'a.example', alpn: ['h2', 'http/1.1'] },
    },
    {
      name: 'TLS 1.2 alone',
      options: { servername: 'a.example', maxVersion: 'TLSv1.2' },
      hello: { ...plain, serverName: 'a.example', versions: [0x0303] },
    },
    {
      name: 'TLS 1.3 alone',
      options: { servername: 'a.example', minVersion: 'TLSv1.3' },
      hello: { ...plain, serverName: 'a.example', versions: [0x0304] },
    },
    {
      name: 'a ticket of TLS 1.2',
      options: { servername: 'a.example', session: await ticket('TLSv1.2'), maxVersion: 'TLSv1.2' },
      hello: { ...plain, serverName: 'a.example', versions: [0x0303] },
    },
    {
      name: 'a ticket of TLS 1.3',
      options: { servername: 'a.example', session: await ticket('TLSv1.3') },
      hello: { ...plain, serverName: 'a.example' },
    },
    {
      name: 'more than one record',
      options: { servername: 'a.example', ALPNProtocols: manyProtocols },
      hello: { ...plain, serverName: 'a.example', alpn: manyProtocols },
    },
  ];
  captured = [];
  for (const { name, options, hello } of cases) captured.push({ name, bytes: await capture(options), hello });
});
after(() => catcher.close());

const vector = (lengthBytes: 1 | 2 | 3, ...parts: Buffer[]): Buffer => {
  const body = Buffer.concat(parts);
  const length = Buffer.alloc(lengthBytes);
  length.writeUIntBE(body.length, 0, lengthBytes);
  return Buffer.concat([length, body]);
};
const u16 = (...values: number[]): Buffer =>
  Buffer.from(values.flatMap((value) => [value >> 8, value & 0xff]));
const text = (value: string): Buffer => Buffer.from(value, 'latin1');
const extension = (type: number, ...data: Buffer[]): Buffer => Buffer.concat([u16(type), vector(2, ...data)]);
const hostName = (name: string): Buffer => Buffer.concat([Buffer.of(0), vector(2, text(name))]);
const sni = (...entries: Buffer[]): Buffer => extension(0, vector(2, ...entries));

type Parts = { version: number; session: number; suites: Buffer; compression: Buffer; extensions: Buffer[] };

function handshake(parts: Partial<Parts> = {}): Buffer {
  const body = [
    u16(parts.version ?? 0x0303),
    Buffer.alloc(32, 7),
    vector(1, Buffer.alloc(parts.session ?? 0)),
    vector(2, parts.suites ?? u16(0x1301)),
    vector(1, parts.compression ?? Buffer.of(0)),
    vector(2, ...(parts.extensions ?? [])),
  ];
  return Buffer.concat([Buffer.of(1), vector(3, ...body)]);
}

/** In records whose fragments are of `size` bytes. */
function records(message: Buffer, size = 2 ** 14): Buffer {
  const all: Buffer[] = [];
  for (let at = 0; at < message.length; at += size) {
    all.push(Buffer.of(22, 3, 1), vector(2, message.subarray(at, at + size)));
  }
  return Buffer.concat(all);
}

const read = (bytes: Buffer): HelloState => new ClientHelloReader().push(bytes);
const readExtensions = (...extensions: Buffer[]): HelloState => read(records(handshake({ extensions })));

function helloOf(state: HelloState): ClientHello {
  assert(state.state === 'hello', JSON.stringify(state));
  return state.hello;
}

function refused(state: HelloState, why: RegExp): void {
  assert(state.state === 'invalid', state.state);
  assert.match(state.why, why);
}

test('what OpenSSL sends is read as it was meant, and kept to the byte', () => {
  assert(captured.length > 0);
  for (const { name, bytes, hello } of captured) {
    const reader = new ClientHelloReader();
    assert.deepEqual(helloOf(reader.push(bytes)), hello, name);
    assert.deepEqual(reader.bytes, bytes, name);
  }
  const sizeOf = (wanted: string) => captured.find(({ name }) => name === wanted)!.bytes.length;
  assert(sizeOf('more than one record') > 2 ** 14 + 10);
  assert(sizeOf('a ticket of TLS 1.2') > sizeOf('TLS 1.2 alone') + 100);
  assert(sizeOf('a ticket of TLS 1.3') > sizeOf('SNI') + 100);
});

test('where the chunks are cut changes nothing, and no prefix is a hello', () => {
  for (const { name, bytes, hello } of captured) {
    const step = bytes.length > 5_000 ? 97 : 1;
    for (let cut = 0; cut < bytes.length; cut += step) {
      const reader = new ClientHelloReader();
      assert.deepEqual(reader.push(bytes.subarray(0, cut)), { state: 'more' }, `${name} at ${cut}`);
      assert.deepEqual(helloOf(reader.push(bytes.subarray(cut))), hello);
      assert.deepEqual(reader.bytes, bytes);
    }
  }
});

test('a hello that comes byte by byte is read', () => {
  for (const { bytes, hello } of captured) {
    const reader = new ClientHelloReader();
    for (const byte of bytes.subarray(0, -1)) assert.equal(reader.push(Buffer.of(byte)).state, 'more');
    assert.deepEqual(helloOf(reader.push(bytes.subarray(-1))), hello);
    assert.deepEqual(reader.bytes, bytes);
  }
});

test('a hello over records of any size is read, down to a byte each', () => {
  const message = handshake({ extensions: [sni(hostName('a.example')), extension(35, Buffer.alloc(5_000))] });
  for (const size of [1, 2, 3, 4, 5, 100, 5_000]) {
    const bytes = records(message, size);
    const reader = new ClientHelloReader();
    assert.equal(helloOf(reader.push(bytes)).serverName, 'a.example');
    assert.deepEqual(reader.bytes, bytes);
  }
});

test('a hello with a ticket of 40,000 bytes is read; one byte over the bound is refused', () => {
  const withTicket = (bytes: number) =>
    records(handshake({ extensions: [sni(hostName('a.example')), extension(35, Buffer.alloc(bytes))] }));
  assert.equal(helloOf(read(withTicket(40_000))).serverName, 'a.example');
  const room = helloLimits.bytesMax - withTicket(65_000).length + 65_000;
  assert.equal(withTicket(room).length, helloLimits.bytesMax);
  assert.equal(helloOf(read(withTicket(room))).serverName, 'a.example');
  refused(read(withTicket(room + 1)), /more bytes/);
});

test('the bytes are the reader’s own: a chunk may be used again', () => {
  const bytes = records(handshake({ extensions: [sni(hostName('a.example'))] }));
  const chunk = Buffer.from(bytes);
  const reader = new ClientHelloReader();
  reader.push(chunk.subarray(0, 20));
  reader.push(chunk.subarray(20));
  chunk.fill(0);
  assert.deepEqual(reader.bytes, bytes);
});

test('what follows the hello in later records is kept and not judged', () => {
  const hello = records(handshake());
  for (const more of [Buffer.of(20, 3, 3, 0, 1, 1), Buffer.of(23, 3, 3, 0, 4, 1), text('anything')]) {
    const reader = new ClientHelloReader();
    helloOf(reader.push(Buffer.concat([hello, more])));
    assert.deepEqual(reader.bytes, Buffer.concat([hello, more]));
  }
});

test('a push after the hello is a bug, one after a refusal changes nothing', () => {
  const reader = new ClientHelloReader();
  helloOf(reader.push(records(handshake())));
  assert.throws(() => reader.push(Buffer.of(1)), { code: 'ERR_ASSERTION' });
  const refusing = new ClientHelloReader();
  refused(refusing.push(text('GET / HTTP/1.1')), /handshake record/);
  refused(refusing.push(records(handshake())), /handshake record/);
  assert(refusing.bytes.length < 20);
});

test('a first byte that is no handshake record is refused at once', () => {
  for (let byte = 0; byte < 256; byte += 1) {
    const state = read(Buffer.of(byte));
    if (byte === 22) assert.equal(state.state, 'more');
    else refused(state, /handshake record/);
  }
  refused(read(Buffer.of(0x80, 0x2e, 1, 3, 1)), /handshake record/);
  const second = Buffer.concat([records(handshake().subarray(0, 9)), Buffer.of(23, 3, 3, 0, 1, 0)]);
  refused(read(second), /handshake record/);
});

test('a record version other than 3.1 to 3.3 is refused', () => {
  const bytes = records(handshake());
  for (const [major, minor, accepted] of [
    [3, 1, true],
    [3, 2, true],
    [3, 3, true],
    [3, 0, false],
    [3, 4, false],
    [2, 1, false],
    [0x7f, 1, false],
  ] as const) {
    bytes.set([major, minor], 1);
    if (accepted) helloOf(read(bytes));
    else refused(read(bytes.subarray(0, 3)), /version/);
  }
});

test('a record that is empty or over 2^14 bytes is refused', () => {
  refused(read(Buffer.of(22, 3, 1, 0, 0)), /empty or too long/);
  refused(read(Buffer.of(22, 3, 1, 0x40, 1)), /empty or too long/);
  assert.equal(read(Buffer.of(22, 3, 1, 0x40, 0)).state, 'more');
  const first = records(handshake().subarray(0, 9));
  refused(read(Buffer.concat([first, Buffer.of(22, 3, 1, 0, 0)])), /empty or too long/);
});

test('another handshake message is refused with its first byte', () => {
  for (const type of [0, 2, 4, 11, 255]) {
    refused(read(Buffer.of(22, 3, 1, 0, 50, type)), /not a ClientHello/);
  }
});

test('a hello that announces more than the bound is refused with its header', () => {
  refused(read(Buffer.of(22, 3, 1, 0x40, 0, 1, 1, 0, 0)), /too long/);
  refused(read(Buffer.of(22, 3, 1, 0x40, 0, 1, 0xff, 0xff, 0xff)), /too long/);
});

test('a record that goes on after the hello is refused', () => {
  const message = handshake();
  refused(read(records(Buffer.concat([message, Buffer.of(0)]))), /goes on/);
  refused(read(records(Buffer.concat([message, message]))), /goes on/);
});

test('every length that disagrees with the bytes is refused', () => {
  const message = handshake({
    session: 3,
    extensions: [
      sni(hostName('a.example')),
      extension(16, vector(2, vector(1, text('h2')))),
      extension(43, vector(1, u16(0x0304))),
      extension(
        0xfe0d,
        Buffer.of(0, 0, 1, 0, 1, 9),
        vector(2, Buffer.alloc(32)),
        vector(2, Buffer.alloc(64)),
      ),
    ],
  });
  helloOf(read(records(message)));
  // Session id, suites, compression, extensions, server_name, its list, its name.
  for (const at of [38, 43, 46, 49, 53, 55, 58]) {
    for (const change of [-1, 1]) {
      const changed = Buffer.from(message);
      changed[at]! += change;
      assert.equal(read(records(changed)).state, 'invalid', `byte ${at} ${change}`);
    }
  }
  for (let length = 4; length < message.length; length += 1) {
    const cut = Buffer.concat([Buffer.of(1), vector(3, message.subarray(4, length))]);
    const state = read(records(cut));
    // Without its extensions a hello is whole.
    if (length === 48) assert.equal(state.state, 'hello');
    else assert.equal(state.state, 'invalid', `${length}`);
  }
});

test('parts of a hello outside their bounds are refused', () => {
  refused(read(records(handshake({ version: 0x0300 }))), /legacy version/);
  refused(read(records(handshake({ version: 0x0304 }))), /legacy version/);
  helloOf(read(records(handshake({ session: 32 }))));
  refused(read(records(handshake({ session: 33 }))), /session id/);
  refused(read(records(handshake({ suites: Buffer.alloc(0) }))), /too short/);
  refused(read(records(handshake({ suites: Buffer.alloc(3) }))), /half a cipher suite/);
  refused(read(records(handshake({ compression: Buffer.alloc(0) }))), /too short/);
});

test('an extension that comes twice is refused, two GREASE ones of different values are not', () => {
  const name = sni(hostName('a.example'));
  refused(readExtensions(name, name), /twice/);
  refused(readExtensions(name, sni(hostName('b.example'))), /twice/);
  refused(readExtensions(extension(35), name, extension(35)), /twice/);
  refused(readExtensions(extension(0x2a2a), extension(0x2a2a)), /twice/);
  const greased = readExtensions(extension(0x2a2a), name, extension(0xbaba, Buffer.of(0)));
  assert.equal(helloOf(greased).serverName, 'a.example');
});

test('a server name that is not exactly one host name of plain bytes is refused', () => {
  refused(readExtensions(sni(hostName('a.example'), hostName('b.example'))), /more than one/);
  refused(readExtensions(sni(hostName('a.example'), hostName('a.example'))), /more than one/);
  refused(readExtensions(sni()), /too short/);
  refused(readExtensions(extension(0)), /agree/);
  refused(readExtensions(sni(hostName(''))), /too short/);
  refused(readExtensions(sni(Buffer.concat([Buffer.of(1), vector(2, text('a'))]))), /not a host name/);
  refused(readExtensions(extension(0, vector(2, hostName('a.example')), Buffer.of(0))), /agree/);
  refused(readExtensions(sni(hostName('a'.repeat(256)))), /too long/);
  for (let byte = 0; byte < 256; byte += 1) {
    const state = readExtensions(sni(hostName(`a${String.fromCharCode(byte)}b.example`)));
    const plain = /[A-Za-z0-9.-]/.test(String.fromCharCode(byte));
    assert.equal(state.state, plain ? 'hello' : 'invalid', `byte ${byte}`);
  }
  refused(readExtensions(sni(hostName('a.example\n'))), /other bytes/);
});

test('a server name is passed up as it was sent', () => {
  for (const name of ['A.Example', 'a.example.', 'a..b', '.', '-', '1.2.3.4', 'xn--bcher-kva.example']) {
    assert.equal(helloOf(readExtensions(sni(hostName(name)))).serverName, name);
  }
});

test('ALPN and versions are read without GREASE, broken lists are refused', () => {
  const alpn = (...ids: string[]) => extension(16, vector(2, ...ids.map((id) => vector(1, text(id)))));
  const ids = helloOf(
    readExtensions(alpn('\u001a\u001a', 'h2', '\u00fa\u00fa', '\u001a\u002a', '\u0000\u00ff')),
  );
  assert.deepEqual(ids.alpn, ['h2', '\u001a\u002a', '\u0000\u00ff']);
  refused(readExtensions(alpn()), /too short/);
  refused(readExtensions(alpn('h2', '')), /too short/);
  refused(readExtensions(extension(16, vector(2, Buffer.of(3, 0x68, 0x32)))), /agree/);
  const versions = (...values: number[]) => extension(43, vector(1, u16(...values)));
  const offered = helloOf(readExtensions(versions(0x6a6a, 0x0304, 0x0303)));
  assert.deepEqual(offered.versions, [0x0304, 0x0303]);
  refused(readExtensions(versions()), /too short/);
  refused(readExtensions(extension(43, vector(1, Buffer.alloc(3)))), /agree/);
});

test('an encrypted hello is seen, real or GREASE; an inner one in the open is refused', () => {
  const outer = (enc: number, payload: number) =>
    extension(
      0xfe0d,
      Buffer.of(0, 0, 1, 0, 1, 9),
      vector(2, Buffer.alloc(enc)),
      vector(2, Buffer.alloc(payload)),
    );
  assert.equal(helloOf(readExtensions(sni(hostName('a.example')))).ech, 'none');
  assert.equal(helloOf(readExtensions(outer(32, 240))).ech, 'grease-or-outer');
  assert.equal(helloOf(readExtensions(outer(0, 1))).ech, 'grease-or-outer');
  for (const type of [0xffce, 0xfe08, 0xfe0c]) {
    assert.equal(helloOf(readExtensions(extension(type))).ech, 'grease-or-outer');
  }
  refused(readExtensions(outer(32, 0)), /too short/);
  refused(readExtensions(extension(0xfe0d, Buffer.of(1))), /not encrypted/);
  refused(readExtensions(extension(0xfe0d)), /agree/);
});

/** Feeds until there is a verdict and checks what is promised of every input. */
function feed(bytes: Buffer, cuts: readonly number[]): HelloState {
  const reader = new ClientHelloReader();
  let state: HelloState = { state: 'more' };
  let at = 0;
  for (const cut of [...cuts, bytes.length]) {
    if (state.state === 'hello' || at >= bytes.length) break;
    state = reader.push(bytes.subarray(at, at + cut));
    at += cut;
    assert(reader.bytes.length <= helloLimits.bytesMax);
    if (state.state !== 'invalid') assert.deepEqual(reader.bytes, bytes.subarray(0, at));
  }
  return state;
}

const anyCuts = fc.array(fc.integer({ min: 1, max: 400 }), { maxLength: 8 });

test('random bytes never throw, and nothing past the bound is kept', () => {
  const random = fc.uint8Array({ maxLength: 2_000 }).map((bytes) => Buffer.from(bytes));
  const inRecord = random.map((bytes) => records(Buffer.concat([Buffer.of(1), vector(3, bytes)]), 900));
  fc.assert(
    fc.property(fc.oneof(random, inRecord), anyCuts, (bytes, cuts) => {
      feed(bytes, cuts);
    }),
    { numRuns: 2_000 },
  );
  const endless = new ClientHelloReader();
  let last: HelloState = { state: 'more' };
  const chunk = records(Buffer.concat([Buffer.of(1, 0, 0xff, 0xf0), Buffer.alloc(2_000)]));
  last = endless.push(chunk);
  for (let pushed = 0; pushed < 200 && last.state === 'more'; pushed += 1) {
    last = endless.push(records(Buffer.alloc(1_000), 1));
    assert(endless.bytes.length <= helloLimits.bytesMax);
  }
  refused(last, /more bytes/);
});

test('mutated hellos never throw, and where they are cut does not change the verdict', () => {
  const seen = { hello: 0, invalid: 0, more: 0 };
  const changes = fc.array(fc.tuple(fc.nat(), fc.nat(255)), { maxLength: 4 });
  const small = captured.filter(({ bytes }) => bytes.length < 5_000);
  const anyMutant = fc
    .tuple(fc.constantFrom(...small), changes, fc.nat(30))
    .map(([{ bytes }, edits, dropped]) => {
      const mutant = Buffer.from(bytes.subarray(0, bytes.length - Math.max(0, dropped - 20)));
      for (const [at, byte] of edits) mutant[at % Math.min(mutant.length, 400)] = byte;
      return mutant;
    });
  fc.assert(
    fc.property(anyMutant, anyCuts, (mutant, cuts) => {
      const whole = feed(mutant, []);
      seen[whole.state] += 1;
      const cut = feed(mutant, cuts);
      assert.deepEqual(cut, whole);
      if (whole.state === 'hello') assert.match(whole.hello.serverName ?? 'none', /^[A-Za-z0-9.-]{1,255}$/);
    }),
    { numRuns: 3_000 },
  );
  assert(seen.hello > 100 && seen.invalid > 100, JSON.stringify(seen));
});

test('a fatal alert is what OpenSSL understands as one', async () => {
  assert.equal(fatalAlert(49).toString('hex'), '15030300020231');
  for (const [description, reason] of [
    [49, /ACCESS_DENIED/],
    [112, /UNRECOGNIZED_NAME/],
    [50, /DECODE_ERROR/],
    [80, /INTERNAL_ERROR/],
  ] as const) {
    const accepted = once(catcher, 'connection') as Promise<[Socket]>;
    const client = tls.connect({ host: '127.0.0.1', port: port(catcher) });
    const failed = once(client, 'secureConnect').then(
      () => assert.fail('the client is connected'),
      (error: Error & { code?: string }) => error,
    );
    const [socket] = await accepted;
    await once(socket, 'data');
    socket.end(fatalAlert(description));
    assert.match((await failed).code ?? '', reason);
    socket.destroy();
  }
  assert.throws(() => fatalAlert(256), { code: 'ERR_ASSERTION' });
});
