import assert from 'node:assert/strict';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { pino } from 'pino';
import type { AuditEvent } from '../../src/audit/event.ts';
import type { Clock } from '../../src/base/clock.ts';
import type { SignInConfig } from '../../src/control/identity/sign-in-parts.ts';
import { localOwner } from '../../src/identity/local-owner.ts';
import { openPasskeys, type RegistrationAnswer } from '../../src/identity/passkeys.ts';
import { openPasswords } from '../../src/identity/passwords.ts';
import { totpCode, totpPurpose } from '../../src/identity/totp.ts';
import { openServer } from '../../src/server/server.ts';
import { SoftAuthenticator } from './soft-authenticator.ts';
import { callerOf, TestControl, testSealing } from './test-control.ts';
import { wideRates } from './test-server.ts';

export const site = { origin: 'http://localhost:7717', domain: 'localhost' };
export const goodPassword = 'correct horse battery';
const totpSecret = 'JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP';

export type Answer = {
  readonly status: number;
  readonly headers: Headers;
  // biome-ignore lint/suspicious/noExplicitAny: a test looks at whatever came
  readonly body: any;
  readonly text: string;
};

/** A browser at an address: it keeps the cookie that it was given, and says where its pages are from. */
export class TestBrowser {
  readonly #url: string;
  readonly address: string;
  cookie: string | null = null;

  constructor(url: string, address: string) {
    this.#url = url;
    this.address = address;
  }

  async call(
    method: string,
    path: string,
    body?: unknown,
    headers: Record<string, string> = {},
  ): Promise<Answer> {
    const response = await fetch(this.#url + path, {
      method,
      headers: {
        origin: site.origin,
        'sec-fetch-site': 'same-origin',
        'user-agent': 'a browser of the tests',
        'x-forwarded-for': this.address,
        'x-forwarded-host': 'localhost:7717',
        ...(this.cookie === null ? {} : { cookie: this.cookie }),
        ...(body === undefined ? {} : { 'content-type': 'application/json' }),
        ...headers,
      },
      body: body === undefined ? null : JSON.stringify(body),
    });
    const set = response.headers.get('set-cookie');
    if (set !== null) this.cookie = set.includes('Max-Age=0') ? null : set.split(';')[0]!;
    const text = await response.text();
    const isJson = response.headers.get('content-type')?.includes('json') ?? false;
    return {
      status: response.status,
      headers: response.headers,
      body: isJson && text !== '' ? JSON.parse(text) : null,
      text,
    };
  }

  /** The answer of a call that must succeed. */
  async ok(
    method: string,
    path: string,
    body?: unknown,
    headers: Record<string, string> = {},
  ): Promise<Answer['body']> {
    const answer = await this.call(method, path, body, headers);
    assert(answer.status < 300, `${method} ${path}: ${answer.status} ${answer.text}`);
    return answer.body;
  }

  async password(name: string, password = goodPassword): Promise<Answer> {
    return await this.call('POST', '/auth/password', { name, password });
  }
}

export type TestPeople = {
  readonly test: TestControl;
  browser(address?: string): TestBrowser;
  /** Somebody who is there, without a second factor. */
  user(name: string, role?: string): Promise<void>;
  /** With an authenticator app. */
  totpUser(name: string, role?: string): Promise<void>;
  /** With a passkey. */
  passkeyUser(name: string, role?: string): Promise<SoftAuthenticator>;
  /** What the authenticator app shows, `steps` from now. */
  code(steps?: number): string;
  signedIn(name: string, address?: string): Promise<TestBrowser>;
  pass(ms: number): void;
  events(action: string): Promise<AuditEvent[]>;
};

/** Control and the HTTP layer over it, behind a proxy that says which address a browser has; a clock that tests move. */
export async function openTestPeople(
  context: Pick<TestContext, 'after'>,
  options: { signIn?: Partial<SignInConfig> } = {},
): Promise<TestPeople> {
  let passed = 0;
  const clock: Clock = { now: () => Date.now() + passed, monotonic: () => performance.now() + passed };
  const test = await TestControl.open({ withRunner: false, clock, ...options });
  const server = await serve(test, clock);
  context.after(async () => {
    await server.close();
    await test[Symbol.asyncDispose]();
  });
  const passwordHash = await openPasswords().hash(goodPassword, null);
  const make = async (name: string, role: string, totp: boolean) => {
    const made = await test.store.identity.users.create(
      {
        name,
        displayName: null,
        email: null,
        role,
        eligibleRoles: [],
        phase: 'active',
        passwordHash,
        totpSealed: totp ? testSealing.seal(totpPurpose(name), totpSecret) : null,
        createdAt: clock.now(),
      },
      { external: null, teams: [] },
    );
    assert.equal(made.outcome, 'created');
    await test.directory.changes.look();
  };
  const browser = (address = '192.0.2.1') => new TestBrowser(server.address, address);
  const code = (steps = 0) => totpCode(totpSecret, clock.now() + steps * 30_000);
  return {
    test,
    browser,
    code,
    user: (name, role = 'developer') => make(name, role, false),
    totpUser: (name, role = 'developer') => make(name, role, true),
    passkeyUser: async (name, role = 'developer') => {
      await make(name, role, false);
      return await enrollPasskey(test, name);
    },
    signedIn: async (name, address) => {
      const signing = browser(address);
      const first = await signing.password(name);
      if (first.body.state === 'pending')
        await signing.ok('POST', '/auth/totp', { continuation: first.body.continuation, code: code() });
      assert(signing.cookie !== null, first.text);
      return signing;
    },
    pass: (ms) => {
      passed += ms;
    },
    events: async (action) => {
      await test.control.audit.list(callerOf(localOwner), { limit: 1 });
      return (await test.events()).filter((event) => event.action === action);
    },
  };
}

/** The HTTP layer over it, as it is behind a proxy on the same machine. */
async function serve(test: TestControl, clock: Clock) {
  return await openServer({
    control: test.control,
    logger: pino({ level: 'silent' }),
    listen: { host: '127.0.0.1', port: 0 },
    localSocketPath: join(test.folder, 'local.sock'),
    identity: { localOwner },
    version: '0.0.0-test',
    rateLimits: wideRates,
    trustedProxies: ['127.0.0.1'],
    origins: [site.origin],
    clock,
  });
}

async function enrollPasskey(test: TestControl, name: string): Promise<SoftAuthenticator> {
  const authenticator = new SoftAuthenticator(site);
  const owner = (await test.store.identity.users.get(name))!;
  const { identity } = test.store;
  const passkeys = openPasskeys({ store: identity, clock: test.clock, site: test.signIn });
  const answer = authenticator.make(await passkeys.registration(owner));
  assert((await passkeys.register(owner, 'a key', answer as RegistrationAnswer)) !== null);
  return authenticator;
}
