import assert from 'node:assert/strict';
import { type Client, createClient } from '../../src/client/client.ts';
import { totpCode } from '../../src/identity/totp.ts';
import type { GrantableScope } from '../../src/model/scopes.ts';
import type { Instance } from './instance.ts';

export type Person = Client & {
  readonly name: string;
  readonly token: string;
  /** Of the token, which is the person's own. */
  readonly tokenId: string;
};

/** Somebody with an account on a real server: invited, with a password and an authenticator app, and a token of their own. */
export async function joined(
  { client, url }: Instance,
  name: string,
  role: string,
  scopes: readonly GrantableScope[],
): Promise<Person> {
  const site = `http://localhost:${new URL(url).port}`;
  let cookie = '';
  const post = async (path: string, body: object) => {
    const headers = { 'content-type': 'application/json', origin: site, 'sec-fetch-site': 'same-origin' };
    const answer = await fetch(site + path, {
      method: 'POST',
      headers: { ...headers, ...(cookie === '' ? {} : { cookie }) },
      body: JSON.stringify(body),
    });
    const text = await answer.text();
    assert(answer.ok, `${path}: ${answer.status} ${text}`);
    cookie = answer.headers.get('set-cookie')?.split(';')[0] ?? cookie;
    return JSON.parse(text);
  };
  const { link } = await client.invitations.create({ name, role });
  const invitation = new URL(link).hash.slice(1);
  const first = await post('/auth/invitations/accept', { invitation, password: 'correct horse battery' });
  if (first.state === 'pending') {
    const { continuation } = first;
    const { secret } = await post('/auth/enrollment/totp', { continuation });
    const code = totpCode(secret, Date.now());
    await post('/auth/enrollment/totp/confirm', { continuation, code });
  }
  const own = { name: 'own', scopes, reach: role === 'developer' ? 'team' : 'all', expiresInSeconds: 3_600 };
  const { token, id: tokenId } = await post('/api/v1/account/tokens', own);
  return { ...createClient({ url, token }), name, token, tokenId };
}
