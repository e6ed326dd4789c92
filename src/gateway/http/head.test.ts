import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import {
  type Bad,
  HeadReader,
  parseAuthority,
  parseRequestHead,
  parseResponseHead,
  type RequestHead,
  type ResponseHead,
} from './head.ts';

const latin1 = (text: string): Buffer => Buffer.from(text, 'latin1');

/** What the gateway makes of the first head of a stream. */
function read(text: string): { head: RequestHead } | Bad {
  const step = new HeadReader().push(latin1(text));
  return step.state === 'head' ? parseRequestHead(step.bytes) : { bad: step.state };
}

function readResponse(text: string, method = 'GET'): { head: ResponseHead } | Bad {
  const step = new HeadReader().push(latin1(text));
  return step.state === 'head' ? parseResponseHead(step.bytes, method) : { bad: step.state };
}

const lines = (...parts: string[]): string => `${parts.join('\r\n')}\r\n\r\n`;
const post = (...fields: string[]): string => lines('POST /a HTTP/1.1', 'Host: a.example', ...fields);
const withHost = (...fields: string[]): string => lines('GET /a HTTP/1.1', ...fields);
const start = (line: string, host = 'a.example'): string => lines(line, `Host: ${host}`);

const chunked = 'Transfer-Encoding: chunked';
const chunkedPost = post(chunked);
const length5 = post('Content-Length: 5');
const plainGet = start('GET /a HTTP/1.1');

/** Requests that two parsers may take for different ones, each with its like that is taken. */
const smuggling: readonly (readonly [why: string, hostile: string, control: string])[] = [
  // Two ways to say where the body ends.
  ['CL.TE', post('Content-Length: 5', chunked), length5],
  ['TE.CL', post(chunked, 'Content-Length: 5'), chunkedPost],
  ['Content-Length: 0 beside chunked', post('Content-Length: 0', chunked), post('Content-Length: 0')],
  ['TE.TE with two spellings', post(chunked, 'Transfer-encoding: cow'), chunkedPost],
  ['TE.TE twice the same', post(chunked, chunked), chunkedPost],
  ['TE.TE identity first', post('Transfer-Encoding: identity', chunked), chunkedPost],
  ['two lengths', post('Content-Length: 5', 'Content-Length: 6'), length5],
  ['two equal lengths', post('Content-Length: 5', 'Content-Length: 5'), length5],
  ['two lengths of different case', post('Content-Length: 5', 'content-length: 5'), length5],
  ['a list of lengths', post('Content-Length: 5, 5'), length5],
  ['a list of different lengths', post('Content-Length: 5, 0'), length5],
  ['a length behind a comma', post('Content-Length: ,5'), length5],
  // Lengths that are read differently.
  ['a length with +', post('Content-Length: +5'), length5],
  ['a negative length', post('Content-Length: -5'), length5],
  ['a hexadecimal length', post('Content-Length: 0x5'), length5],
  ['a length with a leading zero', post('Content-Length: 05'), length5],
  ['a length with a fraction', post('Content-Length: 5.0'), length5],
  ['a length with an exponent', post('Content-Length: 5e0'), length5],
  ['a length with an underscore', post('Content-Length: 1_0'), post('Content-Length: 10')],
  ['a length with a space inside', post('Content-Length: 1 0'), post('Content-Length: 10')],
  ['a length with a letter behind', post('Content-Length: 5a'), length5],
  ['a quoted length', post('Content-Length: "5"'), length5],
  ['an empty length', post('Content-Length:'), post('Content-Length:5')],
  ['a length of another script', post('Content-Length: \xb2'), length5],
  ['a length over 2^53', post('Content-Length: 9007199254740993'), post('Content-Length: 9007199254740991')],
  ['a length that wraps 64 bits', post('Content-Length: 18446744073709551621'), length5],
  ['a length behind a tab', post('Content-Length:\t5'), length5],
  ['a length before a tab', post('Content-Length: 5\t'), length5],
  ['a length before a space', post('Content-Length: 5 '), length5],
  ['a length behind a no-break space', post('Content-Length: \xa05'), length5],
  // Spellings of chunked that one parser takes and another ignores.
  ['xchunked', post('Transfer-Encoding: xchunked'), chunkedPost],
  ['chunked in capitals', post('Transfer-Encoding: Chunked'), chunkedPost],
  ['chunked in quotes', post('Transfer-Encoding: "chunked"'), chunkedPost],
  ['chunked behind a vertical tab', post('Transfer-Encoding: \x0bchunked'), chunkedPost],
  ['chunked behind a form feed', post('Transfer-Encoding: \x0cchunked'), chunkedPost],
  ['chunked behind a tab', post('Transfer-Encoding:\tchunked'), chunkedPost],
  ['chunked behind two spaces', post('Transfer-Encoding:  chunked'), chunkedPost],
  ['chunked before a space', post('Transfer-Encoding: chunked '), chunkedPost],
  ['chunked before a tab', post('Transfer-Encoding: chunked\t'), chunkedPost],
  ['chunked before NUL', post('Transfer-Encoding: chunked\0'), chunkedPost],
  ['chunked with a parameter', post('Transfer-Encoding: chunked;q=1'), chunkedPost],
  ['chunked behind a comma', post('Transfer-Encoding: ,chunked'), chunkedPost],
  ['chunked before a comma', post('Transfer-Encoding: chunked,'), chunkedPost],
  ['chunked twice in a list', post('Transfer-Encoding: chunked, chunked'), chunkedPost],
  ['identity', post('Transfer-Encoding: identity'), post('X-Encoding: identity')],
  ['chunked, identity', post('Transfer-Encoding: chunked, identity'), chunkedPost],
  ['gzip, chunked', post('Transfer-Encoding: gzip, chunked'), chunkedPost],
  ['an empty coding', post('Transfer-Encoding:'), post('Transfer-Encoding:chunked')],
  ['a space before the colon', post('Transfer-Encoding : chunked'), chunkedPost],
  ['a tab before the colon', post('Transfer-Encoding\t: chunked'), chunkedPost],
  ['a space before the name', post(' Transfer-Encoding: chunked'), chunkedPost],
  ['a name with a vertical tab', post('Transfer-Encoding\x0b: chunked'), chunkedPost],
  ['a name with NUL', post('Transfer-Encoding\0: chunked'), chunkedPost],
  ['a name with a byte over ASCII', post('Transfer-Encoding\xff: chunked'), chunkedPost],
  ['a name with _', post('Transfer_Encoding: chunked'), post('X_Encoding: chunked')],
  ['a length with _', post('Content_Length: 5'), post('X_Length: 5')],
  ['no colon', post('Transfer-Encoding'), chunkedPost],
  ['no name', post(': chunked'), post('x: chunked')],
  [
    'chunked in HTTP/1.0',
    lines('POST /a HTTP/1.0', 'Host: a.example', chunked),
    lines('POST /a HTTP/1.0', 'Host: a.example', 'Content-Length: 5'),
  ],
  // Lines that one parser joins or splits.
  ['a folded line', post('X: a', ' b'), post('X: a b')],
  ['a line folded with a tab', post('X: a', '\tb'), post('X: a\tb')],
  ['chunked in a folded line', post('X: a', ` ${chunked}`), post('X: a', chunked)],
  ['a folded coding', post('Transfer-Encoding:', ' chunked'), chunkedPost],
  ['a folded first field', lines('GET /a HTTP/1.1', ' X: a', 'Host: a.example'), plainGet],
  ['a line that ends in LF', post(`X: a\n${chunked}`), post('X: a', chunked)],
  ['a line that ends in CR', post(`X: a\r${chunked}`), post('X: a', chunked)],
  ['a line that ends in CR CR LF', post(`X: a\r\r\n${chunked}`), post('X: a', chunked)],
  ['a request line that ends in LF', 'GET /a HTTP/1.1\nHost: a.example\r\n\r\n', plainGet],
  ['a head that ends in LF LF', 'GET /a HTTP/1.1\r\nHost: a.example\n\n', plainGet],
  ['a head that ends in CR LF LF', 'GET /a HTTP/1.1\r\nHost: a.example\r\n\n', plainGet],
  ['NUL in a value', post('X: a\0b'), post('X: ab')],
  ['an escape in a value', post('X: a\x1bb'), post('X: ab')],
  ['DEL in a value', post('X: a\x7fb'), post('X: ab')],
  ['a line break before the request', `\r\n${plainGet}`, plainGet],
  ['LF before the request', `\n${plainGet}`, plainGet],
  ['a space before the request', ` ${plainGet}`, plainGet],
  // The request line.
  ['two spaces before the target', start('GET  /a HTTP/1.1'), plainGet],
  ['two spaces before the version', start('GET /a  HTTP/1.1'), plainGet],
  ['a tab before the target', start('GET\t/a HTTP/1.1'), plainGet],
  ['a space in the target', start('GET /a b HTTP/1.1'), start('GET /a%20b HTTP/1.1')],
  ['another request in the target', start('GET /a HTTP/1.1 /b HTTP/1.1'), plainGet],
  ['a space behind the version', start('GET /a HTTP/1.1 '), plainGet],
  ['no version', start('GET /a'), plainGet],
  ['HTTP/0.9', 'GET /a\r\n\r\n', plainGet],
  ['HTTP/1.2', start('GET /a HTTP/1.2'), plainGet],
  ['HTTP/2.0', start('PRI * HTTP/2.0'), start('OPTIONS * HTTP/1.1')],
  ['HTTP/01.1', start('GET /a HTTP/01.1'), plainGet],
  ['http/1.1', start('GET /a http/1.1'), plainGet],
  ['a method that is no token', start('GE(T /a HTTP/1.1'), start('GE-T /a HTTP/1.1')],
  ['a method of 33 characters', start(`${'A'.repeat(33)} / HTTP/1.1`), start(`${'A'.repeat(32)} / HTTP/1.1`)],
  ['CONNECT', start('CONNECT a.example:80 HTTP/1.1', 'a.example:80'), plainGet],
  ['CONNECT of a path', start('CONNECT /a HTTP/1.1'), plainGet],
  ['a host as the target', start('GET a.example:80 HTTP/1.1'), plainGet],
  ['a relative target', start('GET a HTTP/1.1'), plainGet],
  ['* with GET', start('GET * HTTP/1.1'), start('OPTIONS * HTTP/1.1')],
  ['a fragment', start('GET /a#b HTTP/1.1'), start('GET /a?b HTTP/1.1')],
  ['a raw byte over ASCII in the target', start('GET /\xe9 HTTP/1.1'), start('GET /%e9 HTTP/1.1')],
  // Who the request is for.
  ['no Host', withHost('X: a'), withHost('Host: a.example')],
  ['no Host in HTTP/1.0', lines('GET /a HTTP/1.0'), start('GET /a HTTP/1.0')],
  ['two Hosts', withHost('Host: a.example', 'Host: b.example'), withHost('Host: a.example')],
  ['two equal Hosts', withHost('Host: a.example', 'host: a.example'), withHost('Host: a.example')],
  ['a list of hosts', withHost('Host: a.example, b.example'), withHost('Host: a.example')],
  ['a second host behind a space', withHost('Host: a.example b.example'), withHost('Host: a.example')],
  ['an empty Host', withHost('Host:'), withHost('Host:a.example')],
  ['Host with user information', withHost('Host: b.example@a.example'), withHost('Host: a.example')],
  ['Host with a path', withHost('Host: a.example/b'), withHost('Host: a.example')],
  ['Host with a scheme', withHost('Host: http://a.example'), withHost('Host: a.example')],
  ['Host with a letter in the port', withHost('Host: a.example:80b'), withHost('Host: a.example:80')],
  ['Host with two ports', withHost('Host: a.example:80:81'), withHost('Host: a.example:80')],
  ['Host with an empty port', withHost('Host: a.example:'), withHost('Host: a.example:80')],
  ['Host with port 65536', withHost('Host: a.example:65536'), withHost('Host: a.example:65535')],
  ['Host with port 0', withHost('Host: a.example:0'), withHost('Host: a.example:1')],
  ['Host with an escape', withHost('Host: a%2eexample'), withHost('Host: a.example')],
  ['Host of another script', withHost('Host: \xe1.example'), withHost('Host: xn--1ca.example')],
  ['Host behind a tab', withHost('Host:\ta.example'), withHost('Host: a.example')],
  ['Host before a tab', withHost('Host: a.example\t'), withHost('Host: a.example')],
  ['Host before a space', withHost('Host: a.example '), withHost('Host: a.example')],
  ['a space before the colon of Host', withHost('Host : a.example'), withHost('Host: a.example')],
  ['a folded Host', withHost('Host:', ' a.example'), withHost('Host: a.example')],
  ['Host of 256 characters', withHost(`Host: ${'a'.repeat(256)}`), withHost(`Host: ${'a'.repeat(255)}`)],
  ['an IPv6 address without brackets', withHost('Host: 2001:db8::1'), withHost('Host: [2001:db8::1]')],
  ['brackets around no address', withHost('Host: [1:2]'), withHost('Host: [1::2]')],
  ['an IPv6 zone', withHost('Host: [fe80::1%25eth0]'), withHost('Host: [fe80::1]')],
  [
    'an absolute target of another host',
    start('GET http://b.example/ HTTP/1.1'),
    start('GET http://a.example/ HTTP/1.1'),
  ],
  [
    'an absolute target of another port',
    start('GET http://a.example:81/ HTTP/1.1'),
    start('GET http://a.example:80/ HTTP/1.1'),
  ],
  [
    'an absolute target with user information',
    start('GET http://a.example@b.example/ HTTP/1.1'),
    start('GET http://a.example/@b.example HTTP/1.1'),
  ],
  [
    'an absolute target without a host',
    start('GET http:///a HTTP/1.1'),
    start('GET http://a.example/a HTTP/1.1'),
  ],
  [
    'an absolute target with a backslash',
    start('GET http://a.example\\@b.example/ HTTP/1.1'),
    start('GET http://a.example/ HTTP/1.1'),
  ],
  ['an https target', start('GET https://a.example/ HTTP/1.1'), start('GET HTTP://A.EXAMPLE/ HTTP/1.1')],
  [
    'a target of another scheme',
    start('GET ftp://a.example/ HTTP/1.1'),
    start('GET http://a.example/ HTTP/1.1'),
  ],
  // The connection.
  ['Connection: Host', post('Connection: Host'), post('Connection: close')],
  [
    'Connection: Transfer-Encoding',
    post(chunked, 'Connection: close, Transfer-Encoding'),
    post(chunked, 'Connection: close, TE'),
  ],
  ['Connection: Content-Length', post('Content-Length: 5', 'Connection: Content-Length'), length5],
  [
    'Connection: Content-Length in a second line',
    post('Content-Length: 5', 'Connection: close', 'connection:\tcontent-length\t'),
    post('Content-Length: 5', 'Connection: close', 'connection:\tx\t'),
  ],
  ['Connection with no token', post('Connection: a b'), post('Connection: a, ,b')],
  [
    'two Upgrades',
    post('Connection: upgrade', 'Upgrade: a', 'Upgrade: b'),
    post('Connection: upgrade', 'Upgrade: a, b'),
  ],
  ['an unknown expectation', post('Expect: 200-ok'), post('Expect: 100-continue')],
  ['two expectations', post('Expect: 100-continue', 'Expect: 100-continue'), post('Expect: 100-Continue')],
  // Sizes.
  ['101 fields', post(...Array<string>(100).fill('X: a')), post(...Array<string>(99).fill('X: a'))],
  ['a head over 16 KiB', post(`X: ${'a'.repeat(16_384)}`), post(`X: ${'a'.repeat(16_000)}`)],
];

for (const [why, hostile, control] of smuggling) {
  test(`a request is refused for ${why}, and its like is taken`, () => {
    assert.ok('bad' in read(hostile), 'it was taken');
    assert.deepEqual('bad' in read(control) ? read(control) : null, null);
  });
}

const ok = (...fields: string[]): string => lines('HTTP/1.1 200 OK', ...fields);
const status = (line: string, ...fields: string[]): string => lines(line, ...fields);

/** Responses that the program and the gateway may take for different ones. */
const desync: readonly (readonly [why: string, hostile: string, control: string])[] = [
  ['CL.TE', ok('Content-Length: 5', chunked), ok('Content-Length: 5')],
  ['TE.CL', ok(chunked, 'Content-Length: 5'), ok(chunked)],
  ['two equal lengths', ok('Content-Length: 5', 'Content-Length: 5'), ok('Content-Length: 5')],
  ['a list of lengths', ok('Content-Length: 5, 5'), ok('Content-Length: 5')],
  ['a length with +', ok('Content-Length: +5'), ok('Content-Length: 5')],
  ['gzip, chunked', ok('Transfer-Encoding: gzip, chunked'), ok('Content-Encoding: gzip', chunked)],
  ['chunked in HTTP/1.0', status('HTTP/1.0 200 OK', chunked), status('HTTP/1.0 200 OK')],
  ['a folded line', ok('X: a', ' b'), ok('X: a b')],
  ['a bare LF', ok('X: a\nY: b'), ok('X: a', 'Y: b')],
  ['NUL', ok('X: a\0'), ok('X: a')],
  ['a space before the colon', ok('Content-Length : 5'), ok('Content-Length: 5')],
  ['Connection: Content-Length', ok('Connection: Content-Length'), ok('Connection: close')],
  [
    'a length with 204',
    status('HTTP/1.1 204 x', 'Content-Length: 5'),
    status('HTTP/1.1 204 x', 'Content-Length: 0'),
  ],
  ['chunked with 204', status('HTTP/1.1 204 x', chunked), status('HTTP/1.1 204 x')],
  ['a length with 103', status('HTTP/1.1 103 x', 'Content-Length: 5'), status('HTTP/1.1 103 x', 'Link: x')],
  ['chunked with 100', status('HTTP/1.1 100 x', chunked), status('HTTP/1.1 100 x')],
  [
    '101 without Upgrade',
    status('HTTP/1.1 101 x', 'Connection: upgrade'),
    status('HTTP/1.1 101 x', 'Connection: upgrade', 'Upgrade: websocket'),
  ],
  ['a status of two digits', status('HTTP/1.1 20 OK'), status('HTTP/1.1 200 OK')],
  ['a status of four digits', status('HTTP/1.1 2000 OK'), status('HTTP/1.1 200 OK')],
  ['status 000', status('HTTP/1.1 000 OK'), status('HTTP/1.1 599 OK')],
  ['no space behind the status', status('HTTP/1.1 200'), status('HTTP/1.1 200 ')],
  ['two spaces before the status', status('HTTP/1.1  200 OK'), status('HTTP/1.1 200 OK')],
  ['HTTP/2', status('HTTP/2 200 OK'), status('HTTP/1.1 200 OK')],
  ['ICY', status('ICY 200 OK'), status('HTTP/1.0 200 OK')],
  ['a control byte in the reason', status('HTTP/1.1 200 O\x1bK'), status('HTTP/1.1 200 \xd6K')],
  ['a line break before the response', `\r\n${ok()}`, ok()],
];

for (const [why, hostile, control] of desync) {
  test(`a response is refused for ${why}, and its like is taken`, () => {
    assert.ok('bad' in readResponse(hostile), 'it was taken');
    assert.deepEqual('bad' in readResponse(control) ? readResponse(control) : null, null);
  });
}

function headOf(text: string): RequestHead {
  const result = read(text);
  assert.ok('head' in result, JSON.stringify(result));
  return result.head;
}

function responseOf(text: string, method?: string): ResponseHead {
  const result = readResponse(text, method);
  assert.ok('head' in result, JSON.stringify(result));
  return result.head;
}

test('a request is parsed into its parts', () => {
  const text = lines(
    'POST /a/%2e?b=/c?d HTTP/1.1',
    'HOST:A.Example:8080',
    'X-Y: \t1 2\t ',
    'content-length: 12',
  );
  assert.deepEqual(headOf(text), {
    method: 'POST',
    target: { form: 'origin', path: '/a/%2e', query: 'b=/c?d', authority: null },
    version: 'HTTP/1.1',
    headers: [
      ['host', 'A.Example:8080'],
      ['x-y', '1 2'],
      ['content-length', '12'],
    ],
    host: { host: 'a.example', port: 8080 },
    framing: { kind: 'length', bytes: 12 },
    keepAlive: true,
    expectsContinue: false,
    upgrade: null,
  });
});

test('a refusal says why and repeats nothing of the request', () => {
  assert.deepEqual(read(post('X: a\nY: b')), { bad: 'CR or LF on its own' });
  assert.deepEqual(read('\x16\x03\x01'), { bad: 'a control byte' });
  assert.deepEqual(read(post('Content-Length: 5', chunked)), { bad: 'more than one framing field' });
});

test('each form of target has its path, query and authority', () => {
  const targetOf = (line: string): unknown => headOf(start(line)).target;
  const named = { host: 'a.example', port: null };
  assert.deepEqual(targetOf('GET /? HTTP/1.1'), { form: 'origin', path: '/', query: '', authority: null });
  assert.deepEqual(targetOf('GET http://A.example HTTP/1.1'), {
    form: 'absolute',
    path: '/',
    query: null,
    authority: named,
  });
  assert.deepEqual(targetOf('GET http://a.example?b HTTP/1.1'), {
    form: 'absolute',
    path: '/',
    query: 'b',
    authority: named,
  });
  assert.deepEqual(targetOf('OPTIONS http://a.example:80 HTTP/1.1'), {
    form: 'absolute',
    path: '*',
    query: null,
    authority: { host: 'a.example', port: 80 },
  });
  assert.deepEqual(targetOf('OPTIONS * HTTP/1.1'), {
    form: 'asterisk',
    path: '*',
    query: null,
    authority: null,
  });
});

test('a connection is kept as the version and Connection say', () => {
  const kept = (version: string, ...fields: string[]): boolean =>
    headOf(lines(`GET / ${version}`, 'Host: a', ...fields)).keepAlive;
  assert.equal(kept('HTTP/1.1'), true);
  assert.equal(kept('HTTP/1.1', 'Connection: x, Close'), false);
  assert.equal(kept('HTTP/1.1', 'Connection: keep-alive', 'Connection: close'), false);
  assert.equal(kept('HTTP/1.0'), false);
  assert.equal(kept('HTTP/1.0', 'Connection: Keep-Alive'), false);
  assert.equal(responseOf(status('HTTP/1.0 204 x', 'Connection: Keep-Alive')).keepAlive, true);
  assert.equal(responseOf(status('HTTP/1.0 204 x')).keepAlive, false);
});

test('100 is expected only before a body of HTTP/1.1', () => {
  const expects = (...parts: string[]): boolean =>
    headOf(lines(...parts, 'Host: a', 'Expect: 100-Continue')).expectsContinue;
  assert.equal(expects('POST / HTTP/1.1', 'Content-Length: 5'), true);
  assert.equal(expects('POST / HTTP/1.1', chunked), true);
  assert.equal(expects('POST / HTTP/1.1'), false);
  assert.equal(expects('POST / HTTP/1.0', 'Content-Length: 5'), false);
});

test('an upgrade counts only where Connection names it and no body follows', () => {
  const upgradeOf = (...fields: string[]): string | null => headOf(withHost('Host: a', ...fields)).upgrade;
  assert.equal(upgradeOf('Connection: keep-alive, Upgrade', 'Upgrade: WebSocket'), 'websocket');
  assert.equal(upgradeOf('Connection: Upgrade, HTTP2-Settings', 'Upgrade: h2c', 'HTTP2-Settings: x'), 'h2c');
  assert.equal(upgradeOf('Upgrade: websocket'), null);
  assert.equal(upgradeOf('Connection: upgrade'), null);
  assert.equal(upgradeOf('Connection: upgrade', 'Upgrade: websocket', chunked), null);
});

test('the body of a response ends where its status, its fields and the method say', () => {
  const framing = (text: string, method?: string): unknown => responseOf(text, method).framing;
  assert.deepEqual(framing(ok('Content-Length: 5')), { kind: 'length', bytes: 5 });
  assert.deepEqual(framing(ok(chunked)), { kind: 'chunked' });
  assert.deepEqual(framing(ok()), { kind: 'until-close' });
  assert.deepEqual(framing(ok('Content-Length: 5'), 'HEAD'), { kind: 'none' });
  assert.deepEqual(framing(ok(chunked), 'HEAD'), { kind: 'none' });
  assert.deepEqual(framing(status('HTTP/1.1 304 x', 'Content-Length: 5')), { kind: 'none' });
  assert.deepEqual(framing(status('HTTP/1.1 204 x')), { kind: 'none' });
  assert.deepEqual(framing(status('HTTP/1.1 100 Continue')), { kind: 'none' });
  const upgraded = responseOf(status('HTTP/1.1 101 x', 'Connection: Upgrade', 'Upgrade: WebSocket'));
  assert.deepEqual([upgraded.framing, upgraded.upgrade], [{ kind: 'upgraded' }, 'websocket']);
});

test('a response is parsed into its parts', () => {
  assert.deepEqual(responseOf(lines('HTTP/1.0 404 Not Found', 'Server: x', 'Content-Length: 0')), {
    version: 'HTTP/1.0',
    status: 404,
    reason: 'Not Found',
    headers: [
      ['server', 'x'],
      ['content-length', '0'],
    ],
    framing: { kind: 'length', bytes: 0 },
    keepAlive: false,
    upgrade: null,
  });
  assert.equal(responseOf(ok()).keepAlive, false, 'a body up to the close');
  assert.equal(responseOf(ok('Content-Length: 5')).keepAlive, true);
});

test('an authority is a name or an address, with a port or without', () => {
  assert.deepEqual(parseAuthority('A_b-c.Example.:65535'), { host: 'a_b-c.example.', port: 65535 });
  assert.deepEqual(parseAuthority('[2001:DB8::1]:80'), { host: '2001:db8::1', port: 80 });
  assert.deepEqual(parseAuthority('[::ffff:127.0.0.1]'), { host: '::ffff:127.0.0.1', port: null });
  for (const text of ['', ':80', 'a:080', 'a:00', '[]', '[::1]x', '[::1', '::1', '*', 'a\n']) {
    assert.equal(parseAuthority(text), null, text);
  }
});

test('a head that is not cut at its blank line is refused', () => {
  assert.ok('bad' in parseRequestHead(latin1(plainGet.slice(0, -2))));
  assert.ok('bad' in parseRequestHead(latin1(`${plainGet}GET /b HTTP/1.1\r\n\r\n`)));
  assert.ok('bad' in parseRequestHead(Buffer.alloc(0)));
  assert.ok('head' in parseRequestHead(latin1(plainGet)));
});

test('a head is found wherever the stream is split, and what follows is handed back', () => {
  const text = `${plainGet}next`;
  for (let at = 0; at <= text.length; at++) {
    const reader = new HeadReader();
    const first = reader.push(latin1(text.slice(0, at)));
    const step = first.state === 'more' ? reader.push(latin1(text.slice(at))) : first;
    assert.ok(step.state === 'head');
    assert.equal(step.bytes.toString(), plainGet);
    const seen = first.state === 'more' ? text.length : at;
    assert.equal(step.rest.toString(), text.slice(plainGet.length, seen));
  }
});

test('one reader reads one head after another, byte by byte', () => {
  const reader = new HeadReader();
  const heads = [...latin1(`${plainGet}${length5}${plainGet}`)]
    .map((byte) => reader.push(Buffer.of(byte)))
    .flatMap((step) => (step.state === 'head' ? [step.bytes.toString()] : []));
  assert.deepEqual(heads, [plainGet, length5, plainGet]);
});

test('what no head may hold ends it at once, without a wait for the rest', () => {
  for (const text of [
    '\r',
    '\n',
    '\0',
    '\x16\x03\x01',
    'GET / HTTP/1.1\n',
    'GET / HTTP/1.1\rH',
    'GET /\x7f',
  ]) {
    const step = new HeadReader().push(latin1(text));
    assert.ok(step.state === 'head', text);
    assert.ok('bad' in parseRequestHead(step.bytes), text);
  }
  assert.equal(new HeadReader().push(latin1('GET / HTTP/1.1\r')).state, 'more');
});

test('a head has at most 16 KiB, in one piece or in many', () => {
  const largest = latin1(post(`X: ${'a'.repeat(16_384 - post('X: ').length)}`));
  assert.equal(largest.length, 16_384);
  for (const size of [16_384, 1_000, 1]) {
    const reader = new HeadReader();
    let last = reader.push(Buffer.alloc(0));
    for (let at = 0; at < largest.length; at += size) last = reader.push(largest.subarray(at, at + size));
    assert.equal(last.state, 'head');
  }
  const reader = new HeadReader();
  assert.equal(reader.push(Buffer.alloc(16_383, 'a')).state, 'more');
  assert.equal(reader.push(Buffer.from('a')).state, 'too-large');
  assert.equal(reader.push(latin1('\r\n\r\n')).state, 'too-large');
});

/** Random bytes, and heads with a few bytes changed. */
const anyStream = fc.oneof(
  fc.uint8Array({ maxLength: 300 }).map((bytes) => Buffer.from(bytes)),
  fc
    .record({
      text: fc.constantFrom(
        ...smuggling.slice(0, 130).flatMap(([, ...both]) => both),
        ...desync.map(([, text]) => text),
      ),
      changes: fc.array(fc.tuple(fc.nat(200), fc.nat(255)), { maxLength: 3 }),
    })
    .map(({ text, changes }) => {
      const bytes = latin1(text);
      for (const [at, byte] of changes) bytes[at % bytes.length] = byte;
      return bytes;
    }),
);

test('whatever bytes come, they are parsed or refused, and splits change nothing', () => {
  fc.assert(
    fc.property(anyStream, fc.nat(200), (bytes, at) => {
      const whole = new HeadReader().push(bytes);
      const reader = new HeadReader();
      const first = reader.push(bytes.subarray(0, at));
      const second = first.state === 'more' ? reader.push(bytes.subarray(at)) : first;
      assert.equal(second.state, whole.state);
      parseRequestHead(bytes);
      parseResponseHead(bytes, 'GET');
      if (whole.state !== 'head' || second.state !== 'head') return;
      assert.deepEqual(parseRequestHead(second.bytes), parseRequestHead(whole.bytes));
      assert.deepEqual(parseResponseHead(second.bytes, 'GET'), parseResponseHead(whole.bytes, 'GET'));
    }),
    { numRuns: 3_000 },
  );
});

test('the longest lines are refused in time that grows with their length alone', { timeout: 2_000 }, () => {
  const spaces = ' '.repeat(8_000);
  for (const value of [
    `a${spaces}b`,
    `${spaces}b`,
    `a${spaces}`,
    ','.repeat(16_000),
    `${'a,'.repeat(8_000)}`,
  ]) {
    for (const name of ['X', 'Connection', 'Upgrade', 'Host', 'Content-Length']) {
      parseRequestHead(latin1(withHost('Host: a', 'Connection: upgrade', `${name}: ${value}`)));
    }
  }
});
