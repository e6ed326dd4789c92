import {
  createHash,
  createHmac,
  createPublicKey,
  generateKeyPairSync,
  type KeyObject,
  randomBytes,
  sign,
} from 'node:crypto';
import { once } from 'node:events';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

type Json = Record<string, unknown>;

/** How the next answers differ from those of an honest provider. */
export type Forgery = {
  readonly header?: Json;
  /** `undefined` takes a claim away. */
  readonly claims?: Json | ((claims: Json, idp: HostileProvider) => Json);
  readonly sign?: 'honestly' | 'none' | 'hmac-public-key' | 'hmac-client-secret' | 'stranger' | 'broken';
  readonly userinfo?: Json;
  /** What stands in the browser's way back; `undefined` takes a parameter away. */
  readonly callback?: Record<string, string | undefined>;
  readonly keys?: (keys: Json[], idp: HostileProvider) => Json[];
};

type Key = { readonly kid: string; readonly privateKey: KeyObject; readonly publicJwk: Json };
type Grant = { readonly nonce: string | null; readonly challenge: string; readonly redirectUri: string };

function newKey(kid: string): Key {
  const { privateKey, publicKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
  const publicJwk = { ...publicKey.export({ format: 'jwk' }), kid, alg: 'RS256', use: 'sig' } as Json;
  return { kid, privateKey, publicJwk };
}

const base64url = (value: Json | string): string =>
  Buffer.from(typeof value === 'string' ? value : JSON.stringify(value)).toString('base64url');

/**
 * An identity provider of OpenID Connect that speaks the protocol well and forges what it is told to. It says of itself
 * that it supports everything, so that only the relying party can refuse.
 */
export class HostileProvider {
  readonly clientId = 'sealwright';
  readonly clientSecret = 'the-secret-of-the-client';
  forgery: Forgery = {};
  /** Claims of whoever signs in next. */
  person: Json = { sub: 'person-1', preferred_username: 'ann', groups: ['developers'], sid: 'idp-session-1' };
  key = newKey('key-1');
  readonly otherKey = newKey('key-other');
  readonly strangerKey = newKey('key-1');
  /** How often each path was asked. */
  readonly asked = new Map<string, number>();
  metadata: Json = {};
  down = false;
  readonly #server: Server;
  readonly #grants = new Map<string, Grant>();

  private constructor() {
    this.#server = createServer((request, response) => void this.#serve(request, response));
  }

  static async open(): Promise<HostileProvider> {
    const provider = new HostileProvider();
    provider.#server.listen(0, '127.0.0.1');
    await once(provider.#server, 'listening');
    return provider;
  }

  get issuer(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  async close(): Promise<void> {
    this.#server.closeAllConnections();
    this.#server.close();
    await once(this.#server, 'close');
  }

  rotate(kid: string): void {
    this.key = newKey(kid);
  }

  /** Where the browser is sent back to from an authorization request, after its person signed in. */
  answer(authorization: URL): URL {
    const { searchParams: asked } = authorization;
    const redirectUri = asked.get('redirect_uri')!;
    const code = randomBytes(16).toString('base64url');
    this.#grants.set(code, {
      nonce: asked.get('nonce'),
      challenge: asked.get('code_challenge')!,
      redirectUri,
    });
    const back = new URL(redirectUri);
    const parameters = { code, state: asked.get('state') ?? undefined, iss: this.issuer };
    for (const [name, value] of Object.entries({ ...parameters, ...this.forgery.callback }))
      if (value !== undefined) back.searchParams.set(name, value);
    return back;
  }

  idToken(nonce: string | null, accessToken: string): string {
    const now = Math.floor(Date.now() / 1000);
    const honest = {
      iss: this.issuer,
      aud: this.clientId,
      iat: now,
      exp: now + 300,
      auth_time: now,
      ...(nonce === null ? {} : { nonce }),
      at_hash: createHash('sha256').update(accessToken).digest().subarray(0, 16).toString('base64url'),
      ...this.person,
    };
    return this.sign({}, honest);
  }

  logoutToken(claims: Json): string {
    const now = Math.floor(Date.now() / 1000);
    const honest = {
      iss: this.issuer,
      aud: this.clientId,
      iat: now,
      exp: now + 120,
      jti: randomBytes(8).toString('hex'),
      events: { 'http://schemas.openid.net/event/backchannel-logout': {} },
      ...claims,
    };
    return this.sign({ typ: 'logout+jwt' }, honest);
  }

  /** Signed as the forgery says. */
  sign(type: Json, honest: Json): string {
    const { claims = {}, header = {}, sign: how = 'honestly' } = this.forgery;
    const changed = typeof claims === 'function' ? claims(honest, this) : { ...honest, ...claims };
    const alg = how === 'none' ? 'none' : how.startsWith('hmac') ? 'HS256' : 'RS256';
    const input = `${base64url({ alg, kid: this.key.kid, ...type, ...header })}.${base64url(changed)}`;
    return `${input}.${this.#signature(input, how)}`;
  }

  #signature(input: string, how: NonNullable<Forgery['sign']>): string {
    const hmac = (key: string | Buffer) => createHmac('sha256', key).update(input).digest('base64url');
    const rsa = ({ privateKey }: Key) => sign('sha256', Buffer.from(input), privateKey);
    switch (how) {
      case 'none':
        return '';
      case 'hmac-public-key':
        return hmac(this.#publicPem());
      case 'hmac-client-secret':
        return hmac(this.clientSecret);
      case 'stranger':
        return rsa(this.strangerKey).toString('base64url');
      case 'broken': {
        const signature = rsa(this.key);
        signature[20]! ^= 1;
        return signature.toString('base64url');
      }
      default:
        return rsa(this.key).toString('base64url');
    }
  }

  #publicPem(): string {
    return createPublicKey(this.key.privateKey).export({ type: 'spki', format: 'pem' }) as string;
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { pathname } = new URL(request.url ?? '/', this.issuer);
    this.asked.set(pathname, (this.asked.get(pathname) ?? 0) + 1);
    if (this.down) {
      response.destroy();
      return;
    }
    let body = '';
    for await (const chunk of request) body += chunk;
    const answer = this.#answerTo(pathname, request, new URLSearchParams(body));
    response.writeHead(answer.error === undefined ? 200 : 400, { 'content-type': 'application/json' });
    response.end(JSON.stringify(answer));
  }

  #answerTo(path: string, request: IncomingMessage, body: URLSearchParams): Json {
    if (path === '/.well-known/openid-configuration') return this.#metadata();
    if (path === '/jwks') {
      const keys = [this.key.publicJwk, this.otherKey.publicJwk];
      return { keys: this.forgery.keys?.(keys, this) ?? keys };
    }
    if (path === '/token') return this.#redeem(request, body);
    if (path === '/userinfo') return { ...this.person, email: 'ann@example.com', ...this.forgery.userinfo };
    return { error: 'not_found' };
  }

  #metadata(): Json {
    const { issuer } = this;
    return {
      issuer,
      authorization_endpoint: `${issuer}/authorize`,
      token_endpoint: `${issuer}/token`,
      userinfo_endpoint: `${issuer}/userinfo`,
      jwks_uri: `${issuer}/jwks`,
      response_types_supported: ['code'],
      subject_types_supported: ['public'],
      id_token_signing_alg_values_supported: ['RS256', 'RS512', 'HS256', 'none'],
      code_challenge_methods_supported: ['S256'],
      authorization_response_iss_parameter_supported: true,
      ...this.metadata,
    };
  }

  /** As strict as it should be: a code works once, for its client, with its verifier. */
  #redeem(request: IncomingMessage, body: URLSearchParams): Json {
    const code = body.get('code') ?? '';
    const grant = this.#grants.get(code);
    this.#grants.delete(code);
    const basic = Buffer.from(
      (request.headers.authorization ?? '').slice('Basic '.length),
      'base64',
    ).toString();
    const known = [this.clientId, this.clientSecret].join(':');
    if (decodeURIComponent(basic) !== known) return { error: 'invalid_client' };
    const challenge = createHash('sha256')
      .update(body.get('code_verifier') ?? '')
      .digest('base64url');
    if (grant?.challenge !== challenge || grant.redirectUri !== body.get('redirect_uri'))
      return { error: 'invalid_grant' };
    const accessToken = randomBytes(16).toString('base64url');
    const { nonce } = grant;
    return { access_token: accessToken, token_type: 'Bearer', id_token: this.idToken(nonce, accessToken) };
  }
}

const seconds = () => Math.floor(Date.now() / 1000);

/**
 * What the OpenID Foundation's conformance suite for relying parties sends, and what RFC 8725 warns of: each is an ID
 * token, or its way, that is wrong in one respect. `at` is where it must fail.
 */
export const idTokenForgeries: Readonly<Record<string, { readonly at: RegExp; readonly forgery: Forgery }>> =
  {
    'another issuer': { at: /^iss$/, forgery: { claims: { iss: 'https://evil.example' } } },
    'no issuer': { at: /./, forgery: { claims: { iss: undefined } } },
    'another audience': { at: /^aud$/, forgery: { claims: { aud: 'somebody-else' } } },
    'no audience': { at: /./, forgery: { claims: { aud: undefined } } },
    'an audience that is no text': { at: /./, forgery: { claims: { aud: [{ is: 'sealwright' }] } } },
    'another audience beside ours, and no azp': {
      at: /^(aud|azp)$/,
      forgery: { claims: { aud: ['sealwright', 'other'] } },
    },
    'another audience beside ours, made for the other': {
      at: /^azp$/,
      forgery: { claims: { aud: ['sealwright', 'other'], azp: 'other' } },
    },
    'our audience alone, made for another': { at: /^azp$/, forgery: { claims: { azp: 'other' } } },
    'another nonce': { at: /^nonce$/, forgery: { claims: { nonce: 'of-another-round' } } },
    'no nonce': { at: /./, forgery: { claims: { nonce: undefined } } },
    'no signature (alg none)': { at: /./, forgery: { sign: 'none' } },
    'alg none with a signature': {
      at: /^(alg|form|unsupported_operation)$/,
      forgery: { header: { alg: 'none' } },
    },
    'HS256 with the public key': { at: /^alg$/, forgery: { sign: 'hmac-public-key' } },
    'HS256 with the client secret': { at: /^alg$/, forgery: { sign: 'hmac-client-secret' } },
    'an algorithm that is not pinned': { at: /^(alg|signature)$/, forgery: { header: { alg: 'RS512' } } },
    'a bit of the signature changed': { at: /^signature$/, forgery: { sign: 'broken' } },
    'the key of a stranger under the kid of the provider': {
      at: /^signature$/,
      forgery: { sign: 'stranger' },
    },
    'a critical header that nobody knows': {
      at: /./,
      forgery: { header: { crit: ['x'], x: 1 } },
    },
    'a key that the token brings along': {
      at: /^signature$/,
      forgery: {
        sign: 'stranger',
        header: { jwk: { kty: 'RSA', n: 'AQAB', e: 'AQAB' }, jku: 'http://127.0.0.1:1/jwks' },
      },
    },
    'the type of a logout token': { at: /^typ$/, forgery: { header: { typ: 'logout+jwt' } } },
    'the type of an access token': { at: /^typ$/, forgery: { header: { typ: 'at+jwt' } } },
    expired: { at: /^exp$/, forgery: { claims: withTimes({ iat: -400, exp: -100 }) } },
    'no expiry': { at: /./, forgery: { claims: { exp: undefined } } },
    'issued long ago': { at: /^iat$/, forgery: { claims: withTimes({ iat: -3600, exp: 300 }) } },
    'issued in the future': { at: /^iat$/, forgery: { claims: withTimes({ iat: 3600, exp: 7200 }) } },
    'no time of issue': { at: /./, forgery: { claims: { iat: undefined } } },
    'not valid yet': {
      at: /^nbf$/,
      forgery: { claims: (claims) => ({ ...claims, nbf: seconds() + 3600 }) },
    },
    'no subject': { at: /./, forgery: { claims: { sub: undefined } } },
    'an empty subject': { at: /./, forgery: { claims: { sub: '' } } },
    'a subject of 256 characters': { at: /^sub$/, forgery: { claims: { sub: 's'.repeat(256) } } },
    'a subject that is no text': { at: /./, forgery: { claims: { sub: 5 } } },
    'no kid, and several keys that fit': { at: /^key$/, forgery: { header: { kid: undefined } } },
    'the kid of another key': { at: /^signature$/, forgery: { header: { kid: 'key-other' } } },
    'a kid that nobody has': { at: /^key$/, forgery: { header: { kid: 'unheard-of' } } },
    'the hash of another access token': {
      at: /^at_hash$/,
      forgery: { claims: { at_hash: 'AAAAAAAAAAAAAAAAAAAAAA' } },
    },
    'an access token hash that is no text': { at: /^at_hash$/, forgery: { claims: { at_hash: 1 } } },
  };

function withTimes(offsets: { iat: number; exp: number }): (claims: Json) => Json {
  return (claims) => ({ ...claims, iat: seconds() + offsets.iat, exp: seconds() + offsets.exp });
}

/** The same for the way back of the browser. */
export const callbackForgeries: Readonly<Record<string, Record<string, string | undefined>>> = {
  'the issuer of another provider (mix-up)': { iss: 'https://evil.example' },
  'no issuer, though the provider says that it sends one': { iss: undefined },
  'no code': { code: undefined },
  'another code': { code: 'never-issued' },
  'an ID token beside the code': { id_token: 'x.y.z' },
  'an answer in another form': { response: 'x.y.z' },
};

/** And for logout tokens. */
export const logoutForgeries: Readonly<Record<string, { readonly at: RegExp; readonly forgery: Forgery }>> = {
  'another issuer': { at: /^iss$/, forgery: { claims: { iss: 'https://evil.example' } } },
  'another audience': { at: /^aud$/, forgery: { claims: { aud: 'somebody-else' } } },
  'another audience beside ours': {
    at: /^azp$/,
    forgery: { claims: { aud: ['sealwright', 'other'] } },
  },
  'no time of issue': { at: /^iat$/, forgery: { claims: { iat: undefined } } },
  'issued long ago': { at: /^iat$/, forgery: { claims: withTimes({ iat: -3600, exp: 300 }) } },
  'issued in the future': { at: /^iat$/, forgery: { claims: withTimes({ iat: 3600, exp: 7200 }) } },
  expired: { at: /^exp$/, forgery: { claims: withTimes({ iat: -200, exp: -100 }) } },
  'no name of its own': { at: /^jti$/, forgery: { claims: { jti: undefined } } },
  'an empty name of its own': { at: /^jti$/, forgery: { claims: { jti: '' } } },
  'no events': { at: /^events$/, forgery: { claims: { events: undefined } } },
  'other events': { at: /^events$/, forgery: { claims: { events: { 'https://other.example': {} } } } },
  'an event that is no object': {
    at: /^events$/,
    forgery: { claims: { events: { 'http://schemas.openid.net/event/backchannel-logout': 1 } } },
  },
  'a nonce, as ID tokens have': { at: /^nonce$/, forgery: { claims: { nonce: 'n' } } },
  'neither subject nor session': { at: /^sub$/, forgery: { claims: { sub: undefined, sid: undefined } } },
  'a session that is no text': { at: /^sid$/, forgery: { claims: { sid: 7 } } },
  'no type': { at: /^typ$/, forgery: { header: { typ: undefined } } },
  'the type of an access token': { at: /^typ$/, forgery: { header: { typ: 'at+jwt' } } },
  'no signature (alg none)': { at: /./, forgery: { sign: 'none' } },
  'HS256 with the public key': { at: /^alg$/, forgery: { sign: 'hmac-public-key' } },
  'HS256 with the client secret': { at: /^alg$/, forgery: { sign: 'hmac-client-secret' } },
  'a bit of the signature changed': { at: /^signature$/, forgery: { sign: 'broken' } },
  'the key of a stranger': { at: /^signature$/, forgery: { sign: 'stranger' } },
  'a kid that nobody has': { at: /^key$/, forgery: { header: { kid: 'unheard-of' } } },
};
