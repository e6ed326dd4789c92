import { generateKeyPairSync, randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import Provider, { type Adapter, type AdapterPayload, type Configuration, type JWK } from 'oidc-provider';

/** How a person of the provider proves who it is, and what the provider says of it. */
export type Person = {
  readonly claims: Readonly<Record<string, unknown>>;
  readonly acr?: string;
  readonly amr?: readonly string[];
};

/** npm's oidc-provider on loopback, with a sign-in page that takes any name of `people`. */
export class RealProvider {
  readonly clientId = 'sealwright';
  readonly clientSecret = `secret-${randomUUID()}`;
  readonly people = new Map<string, Person>();
  readonly #server: Server;
  #provider: Provider | null = null;
  #relyingParty: string | null = null;
  #keys = [newKey()];
  /** Outlives a rotation: everything by kind and id. */
  readonly #kept = new Map<string, AdapterPayload>();

  private constructor() {
    this.#server = createServer((request, response) => void this.#serve(request, response));
  }

  static async open(): Promise<RealProvider> {
    const real = new RealProvider();
    real.#server.listen(0, '127.0.0.1');
    await once(real.#server, 'listening');
    return real;
  }

  get issuer(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  /** `base` is where its paths for this provider begin. */
  register(base: string): void {
    this.#relyingParty = base;
    this.#restart();
  }

  /** What was signed with the old key is signed with another from now on; the old one is gone. */
  rotate(): void {
    this.#keys = [newKey()];
    this.#restart();
  }

  async close(): Promise<void> {
    this.#server.closeAllConnections();
    this.#server.close();
    await once(this.#server, 'close');
  }

  #restart(): void {
    this.#provider = new Provider(this.issuer, this.#configuration());
  }

  #configuration(): Configuration {
    const base = this.#relyingParty!;
    return {
      clients: [
        {
          client_id: this.clientId,
          client_secret: this.clientSecret,
          redirect_uris: [`${base}/callback`],
          backchannel_logout_uri: `${base}/backchannel-logout`,
          backchannel_logout_session_required: true,
          require_auth_time: true,
        },
      ],
      adapter: (kind) => adapterOf(kind, this.#kept),
      jwks: { keys: this.#keys },
      cookies: { keys: ['the-same-at-each-restart'] },
      fetch: (url, options) => {
        const plain: RequestInit = { ...options };
        // Its own way out refuses loopback.
        Reflect.deleteProperty(plain, 'dispatcher');
        return fetch(url, plain);
      },
      conformIdTokenClaims: false,
      claims: { openid: ['sub', 'acr', 'amr', 'groups'], profile: ['preferred_username', 'name'] },
      acrValues: ['urn:example:one', 'urn:example:two'],
      features: {
        devInteractions: { enabled: false },
        backchannelLogout: { enabled: true },
        rpInitiatedLogout: { enabled: true },
      },
      interactions: { url: (_context, interaction) => `/interaction/${interaction.uid}` },
      findAccount: (_context, id) => {
        const person = this.people.get(id);
        if (person === undefined) return undefined;
        return { accountId: id, claims: async () => ({ sub: id, ...person.claims }) };
      },
    };
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const provider = this.#provider!;
    if (!request.url?.startsWith('/interaction/')) {
      provider.callback()(request, response);
      return;
    }
    if (request.method === 'GET') {
      response.setHeader('content-type', 'text/html');
      response.end('<form method="post"><input name="login"><button>Sign in</button></form>');
      return;
    }
    let body = '';
    for await (const chunk of request) body += chunk;
    const login = new URLSearchParams(body).get('login') ?? '';
    const person = this.people.get(login);
    if (person === undefined) {
      await provider.interactionFinished(request, response, { error: 'access_denied' });
      return;
    }
    const { params } = await provider.interactionDetails(request, response);
    const grant = new provider.Grant({ accountId: login, clientId: this.clientId });
    grant.addOIDCScope(String(params.scope));
    const { acr, amr } = person;
    await provider.interactionFinished(request, response, {
      login: {
        accountId: login,
        ...(acr === undefined ? {} : { acr }),
        ...(amr === undefined ? {} : { amr: [...amr] }),
      },
      consent: { grantId: await grant.save() },
    });
  }
}

function adapterOf(kind: string, kept: Map<string, AdapterPayload>): Adapter {
  const find = (fits: (payload: AdapterPayload) => boolean) =>
    [...kept].find(([key, payload]) => key.startsWith(`${kind} `) && fits(payload))?.[1];
  return {
    upsert: async (id, payload) => void kept.set(`${kind} ${id}`, payload),
    find: async (id) => kept.get(`${kind} ${id}`),
    findByUid: async (uid) => find((payload) => payload.uid === uid),
    findByUserCode: async (code) => find((payload) => payload.userCode === code),
    consume: async (id) => {
      const payload = kept.get(`${kind} ${id}`);
      if (payload !== undefined) payload.consumed = 1;
    },
    destroy: async (id) => void kept.delete(`${kind} ${id}`),
    revokeByGrantId: async (grant) => {
      for (const [key, payload] of kept) if (payload.grantId === grant) kept.delete(key);
    },
  };
}

function newKey(): JWK {
  const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
  return { ...privateKey.export({ format: 'jwk' }), kid: randomUUID(), alg: 'RS256', use: 'sig' } as JWK;
}
