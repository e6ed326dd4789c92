import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer, type IncomingMessage, METHODS, type Server } from 'node:http';
import { type AddressInfo, connect, type Socket } from 'node:net';
import { after, before, test } from 'node:test';
import fc from 'fast-check';
import { BodyReader, serializeRequestHead } from './body.ts';
import { HeadReader, parseRequestHead, type RequestHead, type ResponseFraming } from './head.ts';

const latin1 = (text: string): Buffer => Buffer.from(text, 'latin1');
const chunked: ResponseFraming = { kind: 'chunked' };

type Outcome = { body: string; rest: string | null; bad: boolean };

/** What comes of a stream that arrives in these pieces. */
function follow(framing: ResponseFraming, pieces: readonly Buffer[]): Outcome {
  const reader = new BodyReader(framing);
  let body = '';
  for (const [at, piece] of pieces.entries()) {
    const step = reader.push(piece);
    if ('bad' in step) return { body, rest: null, bad: true };
    body += step.body.toString('latin1');
    assert.equal(step.rest === null, !step.done);
    if (step.rest === null) continue;
    const rest = Buffer.concat([step.rest, ...pieces.slice(at + 1)]);
    return { body, rest: rest.toString('latin1'), bad: false };
  }
  return { body, rest: null, bad: false };
}

/** Cuts at these places, counted from the end of the piece before. */
function split(bytes: Buffer, lengths: readonly number[]): Buffer[] {
  const pieces: Buffer[] = [];
  let at = 0;
  for (const length of lengths) {
    pieces.push(bytes.subarray(at, at + length));
    at += length;
  }
  return [...pieces, bytes.subarray(at)];
}

const bytewise = (text: string): Buffer[] => split(latin1(text), Array<number>(text.length).fill(1));

const plain = '5\r\nhello\r\n0\r\n\r\n';
const tail = '\r\nhello\r\n0\r\n\r\n';
const trailers = (lines: string): string => `5\r\nhello\r\n0\r\n${lines}\r\n`;

/** Bodies that two parsers may end at different places, each with its like that is taken to its end. */
const smuggling: readonly (readonly [why: string, hostile: string, control: string])[] = [
  ['a size with a space behind', `5 ${tail}`, plain],
  ['a size with a space before', ` 5${tail}`, plain],
  ['a size with a tab behind', `5\t${tail}`, plain],
  ['a size with a vertical tab', `\x0b5${tail}`, plain],
  ['a size with an underscore', `0_5${tail}`, `05${tail}`],
  ['a size with 0x', `0x5${tail}`, `05${tail}`],
  ['a size with +', `+5${tail}`, plain],
  ['a size with -', `-5${tail}`, plain],
  ['a size with a letter over f', `5g${tail}`, plain],
  ['a size with NUL', `5\0${tail}`, plain],
  ['a size with h', `5h${tail}`, plain],
  ['a size in quotes', `"5"${tail}`, plain],
  ['a size with a comma', `5,5${tail}`, plain],
  ['an empty size', tail, plain],
  ['a size of 17 digits', `00000000000000005${tail}`, `0000000000000005${tail}`],
  ['a size that wraps 64 bits', `10000000000000005${tail}`, plain],
  ['a size over 2^53', '20000000000001\r\n', plain],
  ['a size line that ends in LF', `5\nhello\r\n0\r\n\r\n`, plain],
  ['a size line that ends in CR', `5\rhello\r\n0\r\n\r\n`, plain],
  ['a size line that ends in CR CR LF', `5\r${tail}`, plain],
  ['a chunk that ends in LF', '5\r\nhello\n0\r\n\r\n', plain],
  ['a chunk that ends in CR', '5\r\nhello\r0\r\n\r\n', plain],
  ['a chunk that ends in two other bytes', '5\r\nhelloXX0\r\n\r\n', plain],
  ['a chunk longer than its size', '5\r\nhello!\r\n0\r\n\r\n', plain],
  ['a chunk shorter than its size', '6\r\nhello\r\n0\r\n\r\n', '5\r\nhello\r\n0\r\n\r\n'],
  ['a line break too many behind a chunk', '5\r\nhello\r\n\r\n0\r\n\r\n', plain],
  ['a last chunk that ends in LF', '0\n\r\n', '0\r\n\r\n'],
  ['a last chunk with a space', '0 \r\n\r\n', '00\r\n\r\n'],
  ['a body that ends in LF', '0\r\n\n', '0\r\n\r\n'],
  ['an extension with LF', `5;a\nb${tail}`, `5;ab${tail}`],
  ['an extension with CR', `5;a\rb${tail}`, `5;ab${tail}`],
  ['LF in a quoted extension', `5;a="\n"${tail}`, `5;a="b;\\"c"${tail}`],
  ['CR in a quoted extension', `5;a="\r"${tail}`, `5;a=" \t"${tail}`],
  ['an escaped LF in an extension', `5;a="\\\n"${tail}`, `5;a="\\n"${tail}`],
  ['an extension with NUL', `5;a=\0${tail}`, `5;a=0${tail}`],
  ['an extension with a byte over ASCII', `5;a=\xff${tail}`, `5;a=f${tail}`],
  ['an extension without a name', `5;${tail}`, `5;a${tail}`],
  ['an extension with white space', `5 ; a${tail}`, `5;a${tail}`],
  ['an extension without its quote', `5;a="b${tail}`, `5;a="b"${tail}`],
  ['extensions of 257 bytes', `5;${'a'.repeat(256)}${tail}`, `5;${'a'.repeat(255)}${tail}`],
  ['Content-Length as a trailer', trailers('Content-Length: 5\r\n'), trailers('X: 5\r\n')],
  ['Transfer-Encoding as a trailer', trailers('Transfer-Encoding: chunked\r\n'), trailers('X: a\r\n')],
  ['Transfer_Encoding as a trailer', trailers('Transfer_Encoding: chunked\r\n'), trailers('X_Y: a\r\n')],
  ['Host as a trailer', trailers('Host: b.example\r\n'), trailers('X-Host: b.example\r\n')],
  ['Connection as a trailer', trailers('Connection: close\r\n'), trailers('X: close\r\n')],
  ['a folded trailer', trailers('X: a\r\n b\r\n'), trailers('X: a\r\nY: b\r\n')],
  ['a trailer with a space before the colon', trailers('X : a\r\n'), trailers('X: a\r\n')],
  ['a trailer without a colon', trailers('GET / HTTP/1.1\r\n'), trailers('X: GET / HTTP/1.1\r\n')],
  ['a trailer that ends in LF', trailers('X: a\nY: b\r\n'), trailers('X: a\r\nY: b\r\n')],
  ['a trailer with CR', trailers('X: a\rY: b\r\n'), trailers('X: a\r\n')],
  ['a trailer with NUL', trailers('X: \0\r\n'), trailers('X: \r\n')],
  ['a trailer over 8 KiB', trailers(`X: ${'a'.repeat(8_192)}\r\n`), trailers(`X: ${'a'.repeat(8_185)}\r\n`)],
  ['trailers over 8 KiB', trailers('X: a\r\n'.repeat(1_366)), trailers('X: a\r\n'.repeat(1_365))],
];

for (const [why, hostile, control] of smuggling) {
  test(`a chunked body is refused for ${why}, and its like is taken`, () => {
    assert.equal(follow(chunked, [latin1(hostile)]).bad, true);
    assert.equal(follow(chunked, bytewise(hostile)).bad, true);
    const taken = { body: control, rest: 'GET', bad: false };
    assert.deepEqual(follow(chunked, [latin1(`${control}GET`)]), taken);
    assert.deepEqual(follow(chunked, bytewise(`${control}GET`)), taken);
  });
}

test('nothing of a bad line is handed out, and a body that is refused stays refused', () => {
  const reader = new BodyReader(chunked);
  const first = reader.push(latin1('5\r\nhello\r\n0\r\nTransfer-Encod'));
  assert.ok('body' in first);
  assert.equal(first.body.toString(), '5\r\nhello\r\n0\r\n');
  assert.ok('bad' in reader.push(latin1('ing: chunked\r\n')));
  assert.ok('bad' in reader.push(latin1('\r\n')));
  assert.equal(reader.done, false);
});

test('a bad line is refused before its end', () => {
  for (const text of ['5\rh', '5;a\0', '0\r\nX: a\rb', '1\r\na\n', '1\r\naX']) {
    assert.ok('bad' in new BodyReader(chunked).push(latin1(text)), text);
  }
  assert.ok('body' in new BodyReader(chunked).push(latin1('1\r\na\r')));
});

test('a body of a length ends at its length', () => {
  const reader = new BodyReader({ kind: 'length', bytes: 5 });
  assert.equal(reader.done, false);
  assert.deepEqual(reader.push(latin1('hel')), { body: latin1('hel'), done: false, rest: null });
  assert.deepEqual(reader.push(latin1('loGET')), { body: latin1('lo'), done: true, rest: latin1('GET') });
  assert.equal(reader.done, true);
});

test('where there is no body, everything is the rest', () => {
  for (const framing of [{ kind: 'none' }, { kind: 'length', bytes: 0 }] as const) {
    const reader = new BodyReader(framing);
    assert.equal(reader.done, true);
    assert.deepEqual(reader.push(latin1('GET')), { body: latin1(''), done: true, rest: latin1('GET') });
  }
});

test('a body up to the close is never done', () => {
  for (const kind of ['until-close', 'upgraded'] as const) {
    const reader = new BodyReader({ kind });
    assert.deepEqual(reader.push(latin1('HTTP')), { body: latin1('HTTP'), done: false, rest: null });
    assert.equal(reader.done, false);
  }
});

test('the largest length and chunk are followed without being kept', () => {
  for (const framing of [{ kind: 'length', bytes: Number.MAX_SAFE_INTEGER } as const, chunked]) {
    const reader = new BodyReader(framing);
    if (framing.kind === 'chunked') reader.push(latin1('1fffffffffffff\r\n'));
    const piece = Buffer.alloc(64 * 1024);
    for (let at = 0; at < 100; at++) {
      const step = reader.push(piece);
      assert.ok('body' in step && !step.done);
      assert.equal(step.body.buffer, piece.buffer, 'it was copied');
    }
  }
});

function headOf(...lines: string[]): RequestHead {
  const result = parseRequestHead(latin1(`${lines.join('\r\n')}\r\n\r\n`));
  assert.ok('head' in result, JSON.stringify(result));
  return result.head;
}

function forwarded(head: RequestHead, upgrade = false): string[] {
  const bytes = serializeRequestHead(head, { host: 'b.example', path: '/normal', upgrade });
  return bytes.toString('latin1').split('\r\n');
}

test('what goes upstream is origin-form with the Host of the caller', () => {
  const head = headOf('GET http://A.example:80/%61?b HTTP/1.1', 'Accept:  x ', 'HOST: a.example', 'X: \xe9');
  assert.deepEqual(forwarded(head), [
    'GET /normal?b HTTP/1.1',
    'host: b.example',
    'accept: x',
    'x: \xe9',
    '',
    '',
  ]);
  const star = serializeRequestHead(headOf('OPTIONS * HTTP/1.1', 'Host: a'), {
    host: 'a:81',
    path: '*',
    upgrade: false,
  });
  assert.equal(star.toString(), 'OPTIONS * HTTP/1.1\r\nhost: a:81\r\n\r\n');
});

test('hop-by-hop fields stay here, those that Connection names too', () => {
  const head = headOf(
    'POST / HTTP/1.1',
    'Host: a',
    'Connection: keep-alive, X-Hop',
    'X-Hop: 1',
    'Keep-Alive: 5',
    'Proxy-Connection: close',
    'Proxy-Authorization: x',
    'TE: trailers',
    'Upgrade: websocket',
    'Trailer: X-Sum',
    'Transfer-Encoding: chunked',
    'Expect: 100-continue',
  );
  assert.deepEqual(forwarded(head), [
    'POST /normal HTTP/1.1',
    'host: b.example',
    'trailer: X-Sum',
    'expect: 100-continue',
    'transfer-encoding: chunked',
    '',
    '',
  ]);
});

test('an upgrade goes upstream only where the caller allows it, and alone', () => {
  const head = headOf(
    'GET / HTTP/1.1',
    'Host: a',
    'Connection: Upgrade, HTTP2-Settings',
    'Upgrade: H2C',
    'HTTP2-Settings: x',
  );
  assert.deepEqual(forwarded(head), ['GET /normal HTTP/1.1', 'host: b.example', '', '']);
  assert.deepEqual(forwarded(head, true).slice(2, 4), ['connection: upgrade', 'upgrade: h2c']);
  assert.equal(forwarded(headOf('GET / HTTP/1.1', 'Host: a'), true).length, 4);
});

test('the version and the end of the connection are the program’s', () => {
  assert.deepEqual(forwarded(headOf('GET / HTTP/1.0', 'Host: a')).slice(0, 3), [
    'GET /normal HTTP/1.0',
    'host: b.example',
    'connection: close',
  ]);
  assert.equal(forwarded(headOf('GET / HTTP/1.1', 'Host: a', 'Connection: close'))[2], 'connection: close');
});

test('a host or path that no head may hold is a bug', () => {
  const head = headOf('GET / HTTP/1.1', 'Host: a');
  const taken = { host: 'a', path: '/', upgrade: false };
  for (const wrong of [
    { host: '' },
    { host: 'a\r\nX: y' },
    { path: '/ HTTP/1.1\r\n' },
    { path: 'a' },
    { path: '/?' },
  ]) {
    assert.throws(() => serializeRequestHead(head, { ...taken, ...wrong }), /is not one/);
  }
  assert.ok(serializeRequestHead(head, taken));
});

/** One request as a server understood it. */
type Seen = { method: string; url: string; host: string; body: string };
type Gated = { seen: Seen[]; raw: Buffer; isWhole: boolean };

/** The payload of a chunked body that was taken. */
function unchunk(text: string): string {
  let payload = '';
  for (let at = 0; ; ) {
    const end = text.indexOf('\r\n', at) + 2;
    const size = Number.parseInt(text.slice(at, end), 16);
    if (size === 0) return payload;
    payload += text.slice(end, end + size);
    at = end + size + 2;
  }
}

/** Hands a stream through as the gateway does, and stops where it is refused or the connection is not kept. */
function gate(pieces: readonly Buffer[]): Gated {
  const seen: Seen[] = [];
  const raw: Buffer[] = [];
  const heads = new HeadReader();
  const queue = [...pieces];
  for (;;) {
    const head = nextHead(heads, queue);
    if (head === null) return { seen, raw: Buffer.concat(raw), isWhole: false };
    const body = new BodyReader(head.framing);
    const parts: Buffer[] = [];
    while (!body.done) {
      const piece = queue.shift();
      if (piece === undefined) return { seen, raw: Buffer.concat(raw), isWhole: false };
      const step = body.push(piece);
      if ('bad' in step) return { seen, raw: Buffer.concat(raw), isWhole: false };
      parts.push(step.body);
      if (step.rest) queue.unshift(step.rest);
    }
    const { host, path, query } = { ...head.target, host: head.host.host };
    const text = Buffer.concat(parts).toString('latin1');
    const url = query === null ? path : `${path}?${query}`;
    seen.push({
      method: head.method,
      url,
      host,
      body: head.framing.kind === 'chunked' ? unchunk(text) : text,
    });
    raw.push(serializeRequestHead(head, { host, path, upgrade: false }), ...parts);
    if (!head.keepAlive) return { seen, raw: Buffer.concat(raw), isWhole: true };
  }
}

function nextHead(reader: HeadReader, queue: Buffer[]): RequestHead | null {
  for (let piece = queue.shift(); piece !== undefined; piece = queue.shift()) {
    const step = reader.push(piece);
    if (step.state === 'more') continue;
    if (step.state === 'too-large') return null;
    queue.unshift(step.rest);
    const result = parseRequestHead(step.bytes);
    return 'head' in result ? result.head : null;
  }
  return null;
}

let server: Server;
/** In the order of arrival; the body is null until it is whole. */
type Arrived = Omit<Seen, 'body'> & { body: string | null };
const arrivedBy = new WeakMap<Socket, Arrived[]>();

async function note(request: IncomingMessage): Promise<void> {
  const host = (request.headers.host ?? '').toLowerCase();
  const arrived: Arrived = { method: request.method!, url: request.url!, host, body: null };
  arrivedBy.get(request.socket)!.push(arrived);
  const parts: Buffer[] = [];
  for await (const part of request) parts.push(part as Buffer);
  arrived.body = Buffer.concat(parts).toString('latin1');
}

before(async () => {
  server = createServer((request, response) => {
    // A body that is cut off or refused never is whole.
    note(request).then(
      () => response.end(),
      () => response.destroy(),
    );
  });
  server.on('connection', (socket) => arrivedBy.set(socket, []));
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
});

after(() => server.close());

/** The requests that Node's own server sees in this stream. */
async function nodeSees(bytes: Buffer): Promise<Seen[]> {
  const accepted = once(server, 'connection') as Promise<[Socket]>;
  const client = connect({ port: (server.address() as AddressInfo).port, host: '127.0.0.1' });
  client.on('error', () => {});
  client.resume();
  const [socket] = await accepted;
  const closed = new Promise((resolve) => socket.once('close', resolve));
  client.end(bytes);
  await closed;
  client.destroy();
  return arrivedBy.get(socket)!.filter((arrived): arrived is Seen => arrived.body !== null);
}

const bodyText = fc.string({
  maxLength: 12,
  unit: fc.constantFrom('a', '0', '\r', '\n', ' ', 'GET / HTTP/1.1\r\n'),
});
const spelling = fc.constantFrom('Host', 'host', 'HOST');
const target = fc.constantFrom(
  '/',
  '/a?b=c',
  '//a',
  '/%2e%2e/a',
  'http://a.example/x',
  'http://A.EXAMPLE:80/?y',
  '/a\\b|c',
  '*',
);
const oddField = fc.constantFrom(
  'X: a',
  'Connection: close',
  'Connection: keep-alive, x',
  'Expect: 100-continue',
  'TE: trailers',
  'Keep-Alive: 1',
  'Transfer-Encoding: chunked',
  'Content-Length: 3',
  'Content-Length: 0',
  'Transfer-Encoding:  chunked',
  'Transfer_Encoding: chunked',
  'Upgrade: websocket',
  'X: \xe9\t"',
  'X:',
  'Host: b.example',
);

function chunk(text: string, extension: string): string {
  return `${text.length.toString(16)}${extension}\r\n${text}\r\n`;
}

const payload = fc.oneof(
  { weight: 2, arbitrary: fc.constant({ field: null, text: '' }) },
  bodyText.map((text) => ({ field: `Content-Length: ${text.length}`, text })),
  fc
    .record({
      parts: fc.array(bodyText, { maxLength: 3 }),
      extension: fc.constantFrom('', '', ';a', ';a=b', ';a="b;c"'),
      trailer: fc.constantFrom('', '', 'X: a\r\n', 'Content-Length: 5\r\n'),
    })
    .map(({ parts, extension, trailer }) => {
      const chunks = parts.filter((text) => text !== '').map((text) => chunk(text, extension));
      return {
        field: 'Transfer-Encoding: chunked',
        text: `${chunks.join('')}0${extension}\r\n${trailer}\r\n`,
      };
    }),
);

const request = fc
  .record({
    method: fc.constantFrom('GET', 'POST', 'PUT', 'HEAD', 'OPTIONS', 'DELETE'),
    target,
    version: fc.constantFrom('HTTP/1.1', 'HTTP/1.1', 'HTTP/1.1', 'HTTP/1.0'),
    host: spelling,
    odd: fc.array(oddField, { maxLength: 1 }),
    payload,
  })
  .map(({ method, target, version, host, odd, payload }) => {
    const fields = [`${host}: a.example`, ...odd, ...(payload.field === null ? [] : [payload.field])];
    return `${[`${method} ${target} ${version}`, ...fields].join('\r\n')}\r\n\r\n${payload.text}`;
  });

const changed = fc.tuple(
  fc.nat(400),
  fc.constantFrom('\r', '\n', ' ', '\t', '\0', ':', '0', 'a', ';', ',', '\x0b', '\xff', ''),
);

/** Up to three requests on one connection, with up to two characters replaced or taken out. */
const stream = fc
  .tuple(fc.array(request, { minLength: 1, maxLength: 3 }), fc.array(changed, { maxLength: 2 }))
  .map(([requests, changes]) => {
    const characters = [...requests.join('')];
    for (const [at, character] of changes) characters[at % characters.length] = character;
    return latin1(characters.join(''));
  });
const cuts = fc.array(fc.nat(40), { maxLength: 20 });

/** A target in absolute-form as the origin-form that it stands for (RFC 9112 §3.2). */
function originForm(seen: Seen): Seen {
  const rest = /^http:\/\/[^/?]*(.*)$/i.exec(seen.url)?.[1];
  if (rest === undefined || rest.startsWith('/')) return { ...seen, url: rest ?? seen.url };
  return { ...seen, url: rest === '' && seen.method === 'OPTIONS' ? '*' : `/${rest}` };
}

test('Node sees the requests that the gateway saw, in what came and in what goes upstream', async () => {
  let taken = 0;
  let refusals = 0;
  await fc.assert(
    fc.asyncProperty(stream, cuts, async (bytes, lengths) => {
      const gated = gate(split(bytes, lengths));
      assert.deepEqual(gate([bytes]), gated, 'splits changed something');
      // Node's parser knows a fixed set of methods.
      fc.pre(gated.seen.every(({ method }) => METHODS.includes(method)));
      assert.deepEqual(await nodeSees(gated.raw), gated.seen, 'upstream');
      const direct = (await nodeSees(bytes)).map(originForm).slice(0, gated.seen.length);
      assert.deepEqual(direct, gated.seen, 'as it came');
      taken += gated.seen.length;
      if (gated.seen.length === 0) refusals++;
    }),
    { numRuns: 1_500 },
  );
  assert.ok(taken > 500 && refusals > 100, `${taken} were taken, ${refusals} streams refused at once`);
});

const anyBody = fc.oneof(
  fc.uint8Array({ maxLength: 200 }).map((bytes) => Buffer.from(bytes)),
  fc
    .tuple(
      fc.constantFrom(...smuggling.slice(0, 50).flatMap(([, ...both]) => both)),
      fc.array(changed, { maxLength: 3 }),
    )
    .map(([text, changes]) => {
      const characters = [...text];
      for (const [at, character] of changes) characters[at % characters.length] = character;
      return latin1(characters.join(''));
    }),
);

test('whatever bytes come, what is handed out is a prefix of them, and splits change nothing', () => {
  fc.assert(
    fc.property(anyBody, cuts, (bytes, lengths) => {
      const whole = follow(chunked, [bytes]);
      const pieces = follow(chunked, split(bytes, lengths));
      assert.equal(pieces.bad, whole.bad);
      assert.ok(bytes.toString('latin1').startsWith(pieces.body));
      if (whole.bad) return;
      assert.deepEqual(pieces, whole);
      if (whole.rest !== null) assert.equal(whole.body + whole.rest, bytes.toString('latin1'));
    }),
    { numRuns: 3_000 },
  );
});

test('a stream that comes byte by byte costs no more than its length times the longest line', {
  timeout: 5_000,
}, () => {
  const reader = new BodyReader(chunked);
  for (const byte of latin1(trailers(`X: ${'a'.repeat(8_000)}\r\n`))) reader.push(Buffer.of(byte));
  assert.equal(reader.done, true);
});
