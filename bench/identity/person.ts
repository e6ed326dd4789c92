import { createHash, randomBytes } from 'node:crypto';
import { commandLineClient, grantTypes, oauthPaths } from '../../src/contract/oauth.ts';
import { type Instance, startInstance } from '../../tests/support/instance.ts';
import type { Headers } from './load.ts';

export const password = 'four quiet otters row upstream';
const name = 'bench';

/** A person of a server that counts nobody's requests, with each credential that such a person can have. */
export type Person = {
  readonly instance: Instance;
  readonly name: string;
  readonly credentials: Readonly<Record<'API token' | 'access token' | 'browser cookie', Headers>>;
  /** Something small that is the person's own. */
  readonly path: string;
};

export async function startPerson(): Promise<Person> {
  const unlimited = '10000000';
  const instance = await startInstance({
    environment: {
      SEALWRIGHT_REQUESTS_PER_MINUTE: unlimited,
      SEALWRIGHT_SIGN_INS_PER_MINUTE: unlimited,
      // So that the bench can ask as many addresses would.
      SEALWRIGHT_TRUSTED_PROXIES: '127.0.0.1',
    },
  });
  try {
    const cookie = await signUp(instance);
    const { token } = await instance.client.tokens.create({
      name: 'bench',
      actor: `user:${name}`,
      scopes: ['session:read', 'session:write'],
    });
    const bearer = { authorization: `Bearer ${token}` };
    const signed = { authorization: `Bearer ${await accessToken(instance, cookie)}` };
    const session = await json(instance, '/api/v1/sessions', {}, bearer);
    return {
      instance,
      name,
      credentials: { 'API token': bearer, 'access token': signed, 'browser cookie': { cookie } },
      path: `/api/v1/sessions/${(session.body as { id: string }).id}`,
    };
  } catch (error) {
    await instance.remove();
    throw error;
  }
}

/** By an invitation, as people come to be. */
async function signUp(instance: Instance): Promise<string> {
  const invited = await json(
    instance,
    '/api/v1/invitations',
    { name, role: 'developer' },
    { authorization: `Bearer ${instance.bootstrapToken}` },
  );
  const invitation = new URL((invited.body as { link: string }).link).hash.slice(1);
  const { headers } = await json(instance, '/auth/invitations/accept', { invitation, password });
  const [cookie] = headers.getSetCookie();
  if (cookie === undefined) throw new Error('accepting an invitation set no cookie');
  return cookie.split(';')[0]!;
}

/** As the command line gets one: a code that the person's browser brings back, with PKCE. It lives five minutes. */
async function accessToken(instance: Instance, cookie: string): Promise<string> {
  const verifier = randomBytes(32).toString('base64url');
  const redirect = 'http://127.0.0.1:9/callback';
  const asked = new URLSearchParams({
    response_type: 'code',
    client_id: commandLineClient,
    redirect_uri: redirect,
    code_challenge: createHash('sha256').update(verifier).digest('base64url'),
    code_challenge_method: 'S256',
  });
  const said = { query: asked.toString(), decision: 'approve' };
  const own = { cookie, 'sec-fetch-site': 'same-origin' };
  const sent = await json(instance, '/api/v1/account/programs/approve', said, own);
  const code = new URL((sent.body as { location: string }).location).searchParams.get('code');
  if (code === null) throw new Error('no code came back');
  const body = new URLSearchParams({
    grant_type: grantTypes.authorizationCode,
    client_id: commandLineClient,
    redirect_uri: redirect,
    code,
    code_verifier: verifier,
  });
  const given = await fetch(instance.url + oauthPaths.token, { method: 'POST', body });
  if (!given.ok) throw new Error(`no token for the code: ${given.status} ${await given.text()}`);
  return ((await given.json()) as { access_token: string }).access_token;
}

async function json(instance: Instance, path: string, body: unknown, headers: Headers = {}) {
  const response = await fetch(instance.url + path, {
    method: 'POST',
    headers: { 'content-type': 'application/json', ...headers },
    body: JSON.stringify(body),
  });
  if (!response.ok) throw new Error(`${path}: ${response.status} ${await response.text()}`);
  return { body: (await response.json()) as unknown, headers: response.headers };
}
