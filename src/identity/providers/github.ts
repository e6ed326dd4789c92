import {
  allowInsecureRequests,
  authorizationCodeGrant,
  buildAuthorizationUrl,
  ClientSecretPost,
  Configuration,
  calculatePKCECodeChallenge,
  customFetch,
  None,
} from 'openid-client';
import type { Clock } from '../../base/clock.ts';
import type { GithubSettings } from '../../contract/providers.ts';
import { providerLimits } from './limits.ts';
import { type Claims, mapClaims } from './mapping.ts';
import { type Outbound, openOutbound } from './outbound.ts';
import {
  type ExternalProfile,
  type LogoutNotice,
  type Provider,
  ProviderRefusal,
  type Round,
} from './provider.ts';
import { refusing } from './refusing.ts';

/**
 * GitHub, which is OAuth without OpenID Connect: who somebody is comes from its API, with a token that is used for
 * this alone and not kept. Claims are `login`, `id`, `name`, `email` (the primary one, where it is verified), `orgs` (logins) and
 * `teams` (`org/team`).
 */
export function openGithub(settings: GithubSettings, clock: Clock): Provider {
  return new GithubProvider(settings, clock);
}

class GithubProvider implements Provider {
  readonly id: string;
  readonly label: string;
  readonly kind = 'github';
  readonly issuer: string;
  readonly mapping: Provider['mapping'];
  readonly syncOnSignIn: boolean;
  readonly allowSignUp: boolean;
  readonly #settings: GithubSettings;
  readonly #clock: Clock;
  readonly #outbound: Outbound;
  readonly #configuration: Configuration;
  readonly #api: string;

  constructor(settings: GithubSettings, clock: Clock) {
    const base = settings.baseUrl.replace(/\/$/, '');
    this.id = settings.id;
    this.label = settings.label ?? 'GitHub';
    this.issuer = `${base}/login/oauth`;
    this.mapping = settings.mapping;
    this.syncOnSignIn = settings.syncOnSignIn;
    this.allowSignUp = settings.allowSignUp;
    this.#settings = settings;
    this.#clock = clock;
    this.#api = apiOf(base, settings.apiUrl);
    const loopback = new URL(base).protocol === 'http:';
    this.#outbound = openOutbound({ authorities: settings.authorities, loopback });
    this.#configuration = new Configuration(
      {
        issuer: this.issuer,
        authorization_endpoint: `${this.issuer}/authorize`,
        token_endpoint: `${this.issuer}/access_token`,
      },
      settings.clientId,
      {},
      settings.clientSecret === null ? None() : ClientSecretPost(settings.clientSecret),
    );
    this.#configuration[customFetch] = this.#outbound;
    if (loopback) allowInsecureRequests(this.#configuration);
  }

  async authorizationUrl(round: Round): Promise<URL> {
    return buildAuthorizationUrl(this.#configuration, {
      redirect_uri: round.redirectUri,
      scope: this.#settings.scopes.join(' '),
      state: round.state,
      code_challenge: await calculatePKCECodeChallenge(round.verifier),
      code_challenge_method: 'S256',
      ...(round.fresh ? { prompt: 'select_account' } : {}),
    });
  }

  async profileOf(query: URLSearchParams, round: Round): Promise<ExternalProfile> {
    const answer = new URL(round.redirectUri);
    answer.search = query.toString();
    const { access_token: token } = await refusing('answer', () =>
      authorizationCodeGrant(this.#configuration, answer, {
        expectedState: round.state,
        pkceCodeVerifier: round.verifier,
      }),
    );
    const user = await this.#user(token);
    const claims: Claims = {
      id: user.id,
      login: user.login,
      name: user.name,
      email: await this.#email(token),
      ...(await this.#memberships(token)),
    };
    return {
      ...mapClaims(this.mapping, claims, ['login']),
      provider: this.id,
      subject: String(user.id),
      methods: [],
      mfa: this.#settings.mfa.twoFactor && user.two_factor_authentication === true,
      authAt: this.#authAt(round),
      providerSession: null,
    };
  }

  /**
   * GitHub says nothing of when somebody proved who it is, and a browser that is signed in there comes back by itself: so it
   * proves nothing anew, unless the configuration takes coming back for that.
   */
  #authAt({ fresh }: Round): number {
    if (this.#settings.authTime === 'round') return this.#clock.now();
    if (fresh) throw new ProviderRefusal('not-fresh', 'auth_time');
    return 0;
  }

  async logoutOf(): Promise<LogoutNotice> {
    throw new ProviderRefusal('logout-token', 'kind');
  }

  async #user(token: string): Promise<Claims & { readonly id: number; readonly login: string }> {
    const user = await this.#read(token, '/user');
    const { id, login } = isObject(user) ? user : {};
    if (!Number.isSafeInteger(id) || (id as number) <= 0 || typeof login !== 'string')
      throw new ProviderRefusal('userinfo', 'user');
    return { ...(user as Claims), id: id as number, login };
  }

  async #email(token: string): Promise<string | null> {
    if (!this.#settings.scopes.some((scope) => scope === 'user:email' || scope === 'user')) return null;
    const emails = await this.#read(token, '/user/emails');
    const primary = list(emails).find(({ primary, verified }) => primary === true && verified === true);
    return typeof primary?.email === 'string' ? primary.email : null;
  }

  /** Only what a rule looks at is asked for. */
  async #memberships(token: string): Promise<{ orgs?: readonly string[]; teams?: readonly string[] }> {
    const { roles, teams } = this.mapping;
    const used = new Set([...roles.map(({ claim }) => claim), teams?.claim]);
    const orgs = used.has('orgs') ? await this.#all(token, '/user/orgs') : null;
    const memberships = used.has('teams') ? await this.#all(token, '/user/teams') : null;
    return {
      ...(orgs === null ? {} : { orgs: orgs.map(({ login }) => text(login)) }),
      ...(memberships === null
        ? {}
        : {
            teams: memberships.map(
              ({ slug, organization }) =>
                `${text(isObject(organization) ? organization.login : null)}/${text(slug)}`,
            ),
          }),
    };
  }

  async #all(token: string, path: string): Promise<Claims[]> {
    const found: Claims[] = [];
    const { githubPagesMax, githubPageItems } = providerLimits;
    for (let page = 1; page <= githubPagesMax; page += 1) {
      const items = list(await this.#read(token, `${path}?per_page=${githubPageItems}&page=${page}`));
      found.push(...items);
      if (items.length < githubPageItems) return found;
    }
    return found;
  }

  async #read(token: string, path: string): Promise<unknown> {
    const response = await this.#outbound(`${this.#api}${path}`, {
      method: 'GET',
      headers: {
        accept: 'application/vnd.github+json',
        authorization: `Bearer ${token}`,
        'user-agent': 'sealwright',
        'x-github-api-version': '2022-11-28',
      },
    });
    if (response.status !== 200) throw new ProviderRefusal('userinfo', `status-${response.status}`);
    try {
      return await response.json();
    } catch {
      throw new ProviderRefusal('userinfo', 'json');
    }
  }
}

/** github.com and its data-residency hosts have a host of their own for the API, a GitHub Enterprise server a path. */
function apiOf(base: string, apiUrl: string | undefined): string {
  if (apiUrl !== undefined) return apiUrl.replace(/\/$/, '');
  const { hostname, protocol } = new URL(base);
  if (hostname === 'github.com' || hostname.endsWith('.ghe.com')) return `${protocol}//api.${hostname}`;
  return `${base}/api/v3`;
}

function isObject(value: unknown): value is Claims {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function list(value: unknown): Claims[] {
  if (!Array.isArray(value)) throw new ProviderRefusal('userinfo', 'list');
  return value.filter(isObject);
}

function text(value: unknown): string {
  if (typeof value !== 'string' || !/^[A-Za-z0-9._-]{1,255}$/.test(value))
    throw new ProviderRefusal('userinfo', 'name');
  return value;
}
