import { createHash, randomBytes } from 'node:crypto';
import type { TestContext } from 'node:test';
import { pino } from 'pino';
import type { TokenAnswer } from '../../src/contract/oauth.ts';
import type { SignInConfig } from '../../src/control/identity/sign-in-parts.ts';
import { localOwner } from '../../src/identity/local-owner.ts';
import { withFreePort } from '../../src/main/free-port.ts';
import { type OpenServer, openServer } from '../../src/server/server.ts';
import { addUser, programOf } from './identity-processes.ts';
import { deadline, TestControl, testOrigin } from './test-control.ts';
import { wideRates } from './test-server.ts';

// biome-ignore lint/suspicious/noExplicitAny: a test looks at whatever came
export type Answer = { readonly status: number; readonly headers: Headers; readonly body: any };

export const redirectUri = 'http://127.0.0.1:49152/callback';

export type OAuthSiteOptions = {
  readonly isReachable?: boolean;
  readonly signIn?: Partial<SignInConfig>;
};

/** A real control behind a real server, whose people sign in without typing anything. */
export class OAuthSite {
  readonly test: TestControl;
  readonly server: OpenServer;
  /** Lines that the server logged. */
  readonly log: string[];

  private constructor(test: TestControl, server: OpenServer, log: string[]) {
    this.test = test;
    this.server = server;
    this.log = log;
  }

  /** With `isReachable` it is called what it listens at, so that programs can follow its redirects. */
  static async open(
    context: Pick<TestContext, 'after'>,
    { isReachable = false, signIn = {} }: OAuthSiteOptions = {},
  ): Promise<OAuthSite> {
    const listen = await withFreePort({ host: '127.0.0.1', port: 0 });
    const publicUrl = isReachable ? `http://localhost:${listen.port}` : testOrigin;
    const test = await TestControl.open({ withRunner: false, publicUrl, signIn });
    const log: string[] = [];
    const server = await openServer({
      control: test.control,
      logger: pino({ level: 'debug' }, { write: (line: string) => log.push(line) }),
      listen,
      localSocketPath: null,
      identity: { localOwner },
      version: '0.0.0-test',
      rateLimits: wideRates,
      origins: [publicUrl],
    });
    context.after(async () => {
      await server.close();
      await test[Symbol.asyncDispose]();
    });
    return new OAuthSite(test, server, log);
  }

  async user(name: string, role = 'developer'): Promise<void> {
    await addUser(this.test.store, name, role);
  }

  /** The cookie header of a person whose browser signed in now, or at another time. */
  async browser(name: string, at = Date.now()): Promise<string> {
    const { signIns } = this.test.directory;
    const { actor, proof, address, userAgent } = programOf(name, at);
    const { cookie } = await signIns.openBrowser({ actor, proof, address, userAgent });
    return `sealwright=${cookie}`;
  }

  /** What `sealwright login` ends with. */
  async signedIn(name: string, scope?: string): Promise<TokenAnswer & { readonly refresh_token: string }> {
    const { code, verifier } = await this.code(name, scope === undefined ? {} : { scope });
    const { body } = await this.post('/oauth2/token', {
      grant_type: 'authorization_code',
      client_id: 'sealwright-cli',
      redirect_uri: redirectUri,
      code_verifier: verifier,
      code,
    });
    return body;
  }

  /** A code that the browser of the person brought back. */
  async code(name: string, more: Record<string, string> = {}): Promise<{ code: string; verifier: string }> {
    const verifier = randomBytes(32).toString('base64url');
    const query = { ...authorizeQuery(verifier), ...more };
    const { body } = await this.answer(query, await this.browser(name));
    return { code: new URL(body.location).searchParams.get('code') ?? '', verifier };
  }

  async authorize(query: Record<string, string> | string): Promise<Answer> {
    return await this.send('GET', `/oauth2/authorize?${new URLSearchParams(query)}`, {});
  }

  /** What the page that asks the person sends. */
  async answer(
    query: Record<string, string> | string,
    cookie: string | null,
    decision: 'approve' | 'deny' = 'approve',
  ): Promise<Answer> {
    const body = { query: new URLSearchParams(query).toString(), decision };
    return await this.page('/api/v1/account/programs/approve', cookie, body);
  }

  /** What the page for devices sends. */
  async answerDevice(answer: { userCode: string; decision: string }, cookie: string): Promise<Answer> {
    return await this.page('/api/v1/account/devices/approve', cookie, answer);
  }

  /** A change that a page of this server asks for. */
  async page(path: string, cookie: string | null, body?: unknown): Promise<Answer> {
    const headers: Record<string, string> = { 'sec-fetch-site': 'same-origin' };
    if (body !== undefined) headers['content-type'] = 'application/json';
    if (cookie !== null) headers.cookie = cookie;
    return await this.send('POST', path, {
      headers,
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
  }

  async post(
    path: string,
    form: Record<string, string>,
    headers: Record<string, string> = {},
  ): Promise<Answer> {
    return await this.send('POST', path, {
      headers: { 'content-type': 'application/x-www-form-urlencoded', ...headers },
      body: new URLSearchParams(form).toString(),
    });
  }

  /** A JSON request with a bearer token. */
  async call(method: string, path: string, token: string | null, body?: unknown): Promise<Answer> {
    const headers: Record<string, string> = {};
    if (token !== null) headers.authorization = `Bearer ${token}`;
    if (body !== undefined) headers['content-type'] = 'application/json';
    return await this.send(method, path, {
      headers,
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
  }

  async send(method: string, path: string, init: RequestInit): Promise<Answer> {
    const response = await fetch(this.server.address + path, { method, redirect: 'manual', ...init });
    const text = await response.text();
    const isJson = response.headers.get('content-type')?.includes('json') ?? false;
    return { status: response.status, headers: response.headers, body: isJson ? JSON.parse(text) : text };
  }

  /** What is on record of one action, once there is something: what nobody waits for is written a moment later. */
  async recorded(action: string) {
    for (const signal = deadline(); ; signal.throwIfAborted()) {
      const found = (await this.test.events()).filter((event) => event.action === action);
      if (found.length > 0) return found;
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
  }
}

export function authorizeQuery(verifier: string): Record<string, string> {
  return {
    response_type: 'code',
    client_id: 'sealwright-cli',
    redirect_uri: redirectUri,
    code_challenge: createHash('sha256').update(verifier).digest('base64url'),
    code_challenge_method: 'S256',
    state: 'the-state',
  };
}

export function locationOf({ headers }: Answer): URL {
  return new URL(headers.get('location') ?? '', 'http://none.example');
}
