import assert from 'node:assert/strict';
import { createHmac, generateKeyPairSync, type KeyObject, sign as signBytes } from 'node:crypto';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { CompactSign, SignJWT } from 'jose';
import { OAuthSite } from '../support/oauth-site.ts';
import { rawExchange } from '../support/raw-http.ts';
import { testOrigin } from '../support/test-control.ts';

/**
 * G2: no token, no effect. Whatever a bearer token can be made to look like is refused over HTTP by a real server: 401,
 * never a success, a 5xx or another word than for any other wrong token (RFC 8725). A good token answers 200 before,
 * between and after, so that being refused means something.
 */

const vectors = process.env.SEALWRIGHT_VECTORS ?? '';
const wycheproof = join(vectors, 'wycheproof', 'testvectors_v1');
const skipped = vectors === '' || !existsSync(wycheproof) ? 'SEALWRIGHT_VECTORS is not set' : false;

let site: OAuthSite;
let good: string;
let header: Record<string, unknown>;
let claims: { iat: number; exp: number } & Record<string, unknown>;
/** The public half of the key that signs here, as everybody can read it. */
let published: Record<string, string>;
const cleanups: (() => unknown)[] = [];

before(async () => {
  site = await OAuthSite.open({ after: (cleanup) => void cleanups.push(cleanup as () => unknown) });
  await site.user('ann', 'admin');
  good = (await site.signedIn('ann')).access_token;
  header = decoded(0);
  claims = decoded(1) as typeof claims;
  published = (await site.call('GET', '/.well-known/jwks.json', null)).body.keys[0];
});

after(async () => {
  for (const cleanup of cleanups) await cleanup();
});

function decoded(part: 0 | 1): Record<string, unknown> {
  return JSON.parse(Buffer.from(good.split('.')[part]!, 'base64url').toString('utf8'));
}

const encoded = (value: unknown): string =>
  Buffer.from(typeof value === 'string' ? value : JSON.stringify(value)).toString('base64url');

/** The status and code that a bearer gets, as one word. */
async function answerTo(bearer: string): Promise<string> {
  const { status, body } = await site.send('GET', '/api/v1/users', {
    headers: { authorization: `Bearer ${bearer}` },
  });
  return `${status} ${body.code ?? 'ok'}`;
}

async function refuses(bearers: Iterable<readonly [string, string]>): Promise<number> {
  assert.equal(await answerTo(good), '200 ok', 'the good token works before');
  let count = 0;
  for (const [name, bearer] of bearers) {
    assert.equal(await answerTo(bearer), '401 auth.invalid', name);
    count += 1;
  }
  assert.equal(await answerTo(good), '200 ok', 'the good token works after');
  return count;
}

/** Signs as this server itself would, whatever the claims: only the claims can then be what is refused. */
const signedHere = (change: object, typ = 'at+jwt') =>
  site.test.directory.signingKeys.sign(typ, { ...claims, ...change });

test('every Wycheproof JWS, JWK and JWE is refused, valid under its own keys or not', {
  skip: skipped,
}, async () => {
  const files = readdirSync(wycheproof).filter((name) => /^json_web_.*_test\.json$/.test(name));
  assert.equal(files.length, 4);
  const bearers: [string, string][] = [];
  for (const file of files) {
    const { testGroups } = JSON.parse(readFileSync(join(wycheproof, file), 'utf8')) as {
      testGroups: { tests: { tcId: number; jws?: unknown; jwe?: unknown }[] }[];
    };
    for (const { tests } of testGroups)
      for (const { tcId, jws, jwe } of tests) {
        const token = jws ?? jwe;
        const text = typeof token === 'string' ? token : JSON.stringify(token);
        // What cannot stand in a header at all is told apart below, byte by byte.
        if (/^[\x20-\x7e]*$/.test(text)) bearers.push([`${file} ${tcId}`, text]);
      }
  }
  assert((await refuses(bearers)) > 600, `${bearers.length} tokens`);
});

test('the same vectors under this server’s own kid and type are refused', { skip: skipped }, async () => {
  const file = join(wycheproof, 'json_web_signature_test.json');
  const { testGroups } = JSON.parse(readFileSync(file, 'utf8')) as {
    testGroups: { tests: { tcId: number; jws: unknown }[] }[];
  };
  const bearers = testGroups.flatMap(({ tests }) =>
    tests.flatMap(({ tcId, jws }): [string, string][] => {
      if (typeof jws !== 'string') return [];
      const [, payload = '', signature = ''] = jws.split('.');
      return [
        [`${tcId} with our header`, `${good.split('.')[0]}.${payload}.${signature}`],
        [`${tcId} with our header and claims`, `${good.split('.').slice(0, 2).join('.')}.${signature}`],
      ].filter((pair): pair is [string, string] => /^[\x20-\x7e]*$/.test(pair[1]!));
    }),
  );
  assert((await refuses(bearers)) > 400);
});

test('a token without a signature, or with one that anybody can make, is refused', async () => {
  const [head, body, signature] = good.split('.') as [string, string, string];
  const ourPublicKey = JSON.stringify(published);
  const hmac = (alg: string, key: string | Buffer, change: object = {}) => {
    const signed = `${encoded({ ...header, alg, ...change })}.${body}`;
    const digest = createHmac(alg.replace('HS', 'sha'), key).update(signed).digest('base64url');
    return `${signed}.${digest}`;
  };
  const raw = Buffer.from(published.x!, 'base64url');
  const bearers: [string, string][] = [
    ...['none', 'None', 'NONE', 'nOnE', '', 'null'].flatMap((alg): [string, string][] => [
      [`alg ${alg} unsigned`, `${encoded({ ...header, alg })}.${body}.`],
      [`alg ${alg} with the signature`, `${encoded({ ...header, alg })}.${body}.${signature}`],
      [`alg ${alg} alone`, `${encoded({ alg })}.${body}.`],
    ]),
    ['no alg', `${encoded({ typ: header.typ, kid: header.kid })}.${body}.${signature}`],
    ['alg as a list', `${encoded({ ...header, alg: ['EdDSA'] })}.${body}.${signature}`],
    ['alg as null', `${encoded({ ...header, alg: null })}.${body}.${signature}`],
    ['empty signature', `${head}.${body}.`],
    ['zero signature', `${head}.${body}.${Buffer.alloc(64).toString('base64url')}`],
    ['one bit changed', `${head}.${body}.${flipped(signature)}`],
    ['signature cut', `${head}.${body}.${signature.slice(0, -4)}`],
    ['signature twice', `${head}.${body}.${signature}${signature}`],
    ['HS256 with the public key as JWK', hmac('HS256', ourPublicKey)],
    ['HS256 with the public key raw', hmac('HS256', raw)],
    ['HS384 with the public key raw', hmac('HS384', raw)],
    ['HS512 with the public key', hmac('HS512', published.x!)],
    ['HS256 with nothing', hmac('HS256', '')],
    ['HS256 with the kid', hmac('HS256', String(header.kid))],
    ...['Ed25519', 'Ed448', 'ES256', 'RS256', 'PS256', 'eddsa', 'EDDSA', 'EdDSA '].map(
      (alg): [string, string] => [`alg ${alg}`, `${encoded({ ...header, alg })}.${body}.${signature}`],
    ),
  ];
  await refuses(bearers);
});

/** Points of small order and s without a bound make signatures that some libraries take for any message. */
test('Ed25519 signatures of another form than RFC 8032 has are refused', async () => {
  const [head, body, signature] = good.split('.') as [string, string, string];
  const bytes = Buffer.from(signature, 'base64url');
  const order = 2n ** 252n + 27742317777372353535851937790883648493n;
  const s = BigInt(`0x${Buffer.from(bytes.subarray(32)).reverse().toString('hex')}`);
  const withS = (value: bigint) => {
    const tail = Buffer.from(value.toString(16).padStart(64, '0'), 'hex').reverse();
    return Buffer.concat([bytes.subarray(0, 32), tail]).toString('base64url');
  };
  const identity = Buffer.concat([Buffer.from([1]), Buffer.alloc(63)]).toString('base64url');
  await refuses([
    ['s + L', `${head}.${body}.${withS(s + order)}`],
    ['s = 0', `${head}.${body}.${withS(0n)}`],
    ['R = identity, s = 0', `${head}.${body}.${identity}`],
  ]);
});

test('a header that brings its own key, or points to one, is refused', async () => {
  const { publicKey, privateKey } = generateKeyPairSync('ed25519');
  const jwk = publicKey.export({ format: 'jwk' });
  const mine = async (change: Record<string, unknown>, key: KeyObject = privateKey) => {
    const text = `${encoded({ ...header, ...change })}.${encoded(claims)}`;
    return `${text}.${signBytes(null, Buffer.from(text), key).toString('base64url')}`;
  };
  const kids = [
    ...['', '.', '..', '../../../dev/null', '/dev/null', 'file:///dev/null', 'http://127.0.0.1:1/keys.json'],
    ...[
      "' or '1'='1",
      "key_' union select 'x' --",
      '; drop table signing_keys',
      '$(id)',
      '`id`',
      '%00',
      '\u0000',
    ],
    ...[
      '__proto__',
      'constructor',
      'toString',
      'key_00000000000000000000000000',
      'key_'.repeat(500),
      '*',
      'null',
    ],
  ];
  const bearers: [string, string][] = [
    ['signed by a stranger', await mine({})],
    ['jwk', await mine({ jwk })],
    ['jwk alone', await mine({ jwk, kid: undefined })],
    ['jwk of ours', await mine({ jwk: published })],
    ['jku', await mine({ jku: `${testOrigin}/.well-known/jwks.json` })],
    ['x5u', await mine({ x5u: 'http://127.0.0.1:1/cert.pem' })],
    ['x5c', await mine({ x5c: ['AAAA'] })],
    ['x5t', await mine({ x5t: 'AAAA' })],
    ...(await Promise.all(
      kids.map(async (kid): Promise<[string, string]> => [`kid ${kid}`, await mine({ kid })]),
    )),
    ...(await Promise.all(
      [1, null, ['x'], { x: 1 }, true].map(
        async (kid): Promise<[string, string]> => [`kid ${JSON.stringify(kid)}`, await mine({ kid })],
      ),
    )),
  ];
  await refuses(bearers);
});

test('our own signature over another header than we write is refused', async () => {
  const keys = site.test.directory.signingKeys;
  const [record] = await site.test.store.identity.signingKeys.valid('access', Date.now());
  const { testSealing } = await import('../support/test-control.ts');
  const { importJWK } = await import('jose');
  const secret = JSON.parse(testSealing.unseal(`signing-key ${record!.id}`, record!.sealed));
  const key = await importJWK(secret, 'EdDSA');
  const under = (protectedHeader: object) =>
    new SignJWT({ ...claims }).setProtectedHeader({ ...header, alg: 'EdDSA', ...protectedHeader }).sign(key);
  assert.equal(await answerTo(await under({})), '200 ok', 'signed by hand, it works');
  const payload = (text: string) =>
    new CompactSign(Buffer.from(text)).setProtectedHeader({ ...header, alg: 'EdDSA' }).sign(key);
  assert.equal(await answerTo(await payload(JSON.stringify(claims))), '200 ok');
  const text = JSON.stringify(claims).slice(1, -1);
  const doubled = [
    `{${text},"sub":"user:bob"}`,
    `{"sub":"user:bob",${text}}`,
    `{${text},"s\\u0075b":"user:ann"}`,
    `{${text},"exp":9999999999}`,
    `{${text},"__proto__":{"sub":"user:root"}}`,
    `[${JSON.stringify(claims)}]`,
    `"${testOrigin}"`,
    'null',
    `${JSON.stringify(claims)}x`,
    `\ufeff${JSON.stringify(claims)}`,
    `{${text},"deep":${'['.repeat(100)}${']'.repeat(100)}}`,
  ];
  const bearers: [string, string][] = [
    ['typ JWT', await under({ typ: 'JWT' })],
    ['typ application/at+jwt', await under({ typ: 'application/at+jwt' })],
    ['typ AT+JWT', await under({ typ: 'AT+JWT' })],
    ['no typ', await under({ typ: undefined })],
    ['cty', await under({ cty: 'JWT' })],
    ['unknown member', await under({ extra: true })],
    ['jwk beside', await under({ jwk: published })],
    ['jku beside', await under({ jku: 'http://127.0.0.1:1/' })],
    ['zip', await under({ zip: 'DEF' })],
    ...(await Promise.all(
      doubled.map(async (one): Promise<[string, string]> => [one.slice(-60), await payload(one)]),
    )),
    [
      'bytes that are no text',
      await new CompactSign(Buffer.from([0x7b, 0xff, 0xfe, 0x7d]))
        .setProtectedHeader({ ...header, alg: 'EdDSA' })
        .sign(key),
    ],
  ];
  await refuses(bearers);
  assert.notEqual(await keys.verifier(record!.id), null);
});

test('a token of ours for another purpose, issuer, audience or time is refused', async () => {
  const now = Math.floor(Date.now() / 1000);
  assert.equal(await answerTo(await signedHere({})), '200 ok');
  const changes: object[] = [
    { iss: 'http://localhost:7718' },
    { iss: testOrigin.toUpperCase() },
    { iss: `${testOrigin}/` },
    { iss: [testOrigin] },
    { iss: undefined },
    { aud: 'http://elsewhere.example' },
    { aud: [testOrigin, 'http://elsewhere.example'] },
    { aud: [] },
    { aud: undefined },
    { iat: now - 3600, exp: now - 3300 },
    { exp: now - 6, iat: now - 300 },
    { exp: undefined },
    { exp: now + 600 },
    { iat: now + 60, exp: now + 120 },
    { nbf: now + 60 },
    { nbf: now - 60 },
    { sub: 'user:bob' },
    { sub: 'system:local' },
    { sub: undefined },
    { sid: undefined },
    { sid: 'sgn_00000000000000000000000000' },
    { jti: undefined },
    { client_id: undefined },
    { scope: '*' },
    { scope: 'identity:write  audit:read' },
    { scope: 7 },
    { act: 'agent:a' },
    { admin: true },
  ];
  const bearers: [string, string][] = [];
  for (const change of changes)
    bearers.push([JSON.stringify(change, (_, value) => value ?? null), await signedHere(change)]);
  for (const typ of ['JWT', 'logout+jwt', 'dpop+jwt', 'secevent+jwt'])
    bearers.push([typ, await signedHere({}, typ)]);
  await refuses(bearers);
});

test('one token has one spelling', async () => {
  const [head, body, signature] = good.split('.') as [string, string, string];
  const parts = { head, body, signature };
  const spelled = (change: Partial<typeof parts>) => Object.values({ ...parts, ...change }).join('.');
  const bearers: [string, string][] = [
    ['padded', `${good}=`],
    ['padded twice', `${good}==`],
    ['padded head', spelled({ head: `${head}=` })],
    ['padded body', spelled({ body: `${body}==` })],
    ['idle bits', spelled({ signature: withIdleBits(signature) })],
    ['one character more', `${good}A`],
    ['standard alphabet', good.replaceAll('-', '+').replaceAll('_', '/') + (/[-_]/.test(good) ? '' : '+')],
    ['four parts', `${good}.`],
    ['four full parts', `${good}.${signature}`],
    ['five parts', `${good}.AAAA.AAAA`],
    ['two parts', `${head}.${body}`],
    ['one part', head],
    ['dots alone', '..'],
    ['empty head', spelled({ head: '' })],
    ['empty body', spelled({ body: '' })],
    ['dot in front', `.${good}`],
    ['joined by another sign', good.replaceAll('.', '~')],
    ['percent-encoded', good.replaceAll('.', '%2E')],
    ['upper case', good.toUpperCase()],
    ['good twice', `${good}${good}`],
    ['JSON serialization', JSON.stringify({ protected: head, payload: body, signature })],
  ];
  await refuses(bearers);
  const port = site.server.port;
  const raw = (line: string) =>
    rawExchange(
      port,
      `GET /api/v1/users HTTP/1.1\r\nHost: 127.0.0.1:${port}\r\nConnection: close\r\n${line}\r\n\r\n`,
    );
  assert.equal((await raw(`Authorization: Bearer ${good}`)).status, 200);
  const lines = [
    `Authorization: Bearer ${head}. ${body}.${signature}`,
    `Authorization: Bearer ${head}.\t${body}.${signature}`,
    `Authorization: Bearer ${head}.\r\n ${body}.${signature}`,
    `Authorization: Bearer ${good}\0`,
    `Authorization: Bearer ${good}\u00e9`,
    `Authorization: Bearer ${good}, Bearer ${good}`,
    `Authorization: Bearer ${good}\r\nAuthorization: Bearer ${good}`,
    `Authorization: JWT ${good}`,
    `Authorization: DPoP ${good}`,
    `Authorization: ${good}`,
    `Cookie: sealwright=${good}`,
    `X-Access-Token: ${good}`,
  ];
  for (const line of lines) {
    const { status } = await raw(line);
    assert(status === 401 || status === 400, `${status} for ${JSON.stringify(line.slice(0, 60))}`);
  }
});

test('a huge token costs nothing and is refused', async () => {
  const [head, body, signature] = good.split('.') as [string, string, string];
  const sized = (size: number) => `${head}.${body}${'A'.repeat(size)}.${signature}`;
  await refuses([
    ['4 KiB', sized(4096)],
    ['12 KiB', sized(12_000)],
    ['many dots', '.'.repeat(4000)],
    ['eyJ alone', `eyJ${'A'.repeat(4000)}`],
  ]);
  const { status } = await site.send('GET', '/api/v1/users', {
    headers: { authorization: `Bearer ${sized(100_000)}` },
  });
  assert.equal(status, 431);
});

test('a good token ends with its sign-in, and changes nothing about the refusals before', async () => {
  const other = await site.signedIn('ann');
  assert.equal(await answerTo(other.access_token), '200 ok');
  await site.post('/oauth2/revoke', { token: other.access_token });
  await refuses([
    ['revoked', other.access_token],
    ['a refresh token', other.refresh_token],
    ['a live refresh token', (await site.signedIn('ann')).refresh_token],
  ]);
});

function flipped(text: string): string {
  const bytes = Buffer.from(text, 'base64url');
  bytes[10]! ^= 1;
  return bytes.toString('base64url');
}

/** 64 bytes leave four bits of the last character unused: another character there decodes to the same bytes. */
function withIdleBits(text: string): string {
  const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_';
  const other = `${text.slice(0, -1)}${alphabet[alphabet.indexOf(text.at(-1)!) + 1]}`;
  assert.deepEqual(Buffer.from(other, 'base64url'), Buffer.from(text, 'base64url'));
  return other;
}
