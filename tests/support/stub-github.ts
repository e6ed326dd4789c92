import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

type Json = Record<string, unknown>;

/** A GitHub Enterprise server, as far as signing in goes. */
export class StubGithub {
  readonly clientId = 'Iv1.0123456789abcdef';
  readonly clientSecret = 'the-secret-of-the-client';
  user: Json = { id: 42, login: 'Ann-Lee', name: 'Ann Lee', two_factor_authentication: true };
  emails: unknown = [
    { email: 'old@example.com', primary: false, verified: true },
    { email: 'ann@example.com', primary: true, verified: true },
  ];
  orgs: Json[] = [{ login: 'acme' }];
  teams: Json[] = [{ slug: 'core', organization: { login: 'acme' } }];
  /** What stands in the browser's way back; `undefined` takes a parameter away. */
  callback: Record<string, string | undefined> = {};
  readonly asked = new Map<string, number>();
  readonly #grants = new Map<string, { challenge: string; redirectUri: string }>();
  readonly #tokens = new Set<string>();
  readonly #server: Server;

  private constructor() {
    this.#server = createServer((request, response) => void this.#serve(request, response));
  }

  static async open(): Promise<StubGithub> {
    const github = new StubGithub();
    github.#server.listen(0, '127.0.0.1');
    await once(github.#server, 'listening');
    return github;
  }

  get baseUrl(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  async close(): Promise<void> {
    this.#server.closeAllConnections();
    this.#server.close();
    await once(this.#server, 'close');
  }

  /** Where the browser is sent back to, after its person agreed. */
  answer({ searchParams: asked }: URL): URL {
    const code = randomBytes(10).toString('hex');
    const redirectUri = asked.get('redirect_uri')!;
    this.#grants.set(code, { challenge: asked.get('code_challenge')!, redirectUri });
    const back = new URL(redirectUri);
    const parameters = { code, state: asked.get('state') ?? undefined, ...this.callback };
    for (const [name, value] of Object.entries(parameters))
      if (value !== undefined) back.searchParams.set(name, value);
    return back;
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    let body = '';
    for await (const chunk of request) body += chunk;
    const { pathname, searchParams } = new URL(request.url ?? '/', this.baseUrl);
    this.asked.set(pathname, (this.asked.get(pathname) ?? 0) + 1);
    const answer =
      pathname === '/login/oauth/access_token'
        ? this.#redeem(new URLSearchParams(body))
        : this.#read(pathname, searchParams, request.headers.authorization);
    response.writeHead(answer === null ? 401 : 200, { 'content-type': 'application/json; charset=utf-8' });
    response.end(JSON.stringify(answer ?? { message: 'Bad credentials' }));
  }

  /** As GitHub does it: what is wrong is answered with 200. */
  #redeem(body: URLSearchParams): Json {
    const code = body.get('code') ?? '';
    const grant = this.#grants.get(code);
    this.#grants.delete(code);
    if (body.get('client_id') !== this.clientId || body.get('client_secret') !== this.clientSecret)
      return { error: 'incorrect_client_credentials' };
    const challenge = createHash('sha256')
      .update(body.get('code_verifier') ?? '')
      .digest('base64url');
    if (grant?.challenge !== challenge || grant.redirectUri !== body.get('redirect_uri'))
      return {
        error: 'bad_verification_code',
        error_description: 'The code passed is incorrect or expired.',
      };
    const token = `gho_${randomBytes(18).toString('hex')}`;
    this.#tokens.add(token);
    return { access_token: token, token_type: 'bearer', scope: 'read:org,read:user,user:email' };
  }

  #read(path: string, query: URLSearchParams, authorization: string | undefined): unknown {
    if (!this.#tokens.has((authorization ?? '').replace(/^Bearer /, ''))) return null;
    const size = Number(query.get('per_page') ?? 30);
    const start = (Number(query.get('page') ?? 1) - 1) * size;
    if (path === '/api/v3/user') return this.user;
    if (path === '/api/v3/user/emails') return this.emails;
    if (path === '/api/v3/user/orgs') return this.orgs.slice(start, start + size);
    if (path === '/api/v3/user/teams') return this.teams.slice(start, start + size);
    return null;
  }
}
