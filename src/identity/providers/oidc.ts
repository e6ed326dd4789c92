import {
  allowInsecureRequests,
  authorizationCodeGrant,
  buildAuthorizationUrl,
  type ClientAuth,
  ClientSecretBasic,
  ClientSecretPost,
  type Configuration,
  calculatePKCECodeChallenge,
  clockTolerance,
  customFetch,
  discovery,
  fetchUserInfo,
  None,
} from 'openid-client';
import type { Clock } from '../../base/clock.ts';
import type { OidcSettings } from '../../contract/providers.ts';
import { KeySet } from './key-set.ts';
import { providerLimits } from './limits.ts';
import { type Claims, claimValues, mapClaims } from './mapping.ts';
import { type Outbound, openOutbound } from './outbound.ts';
import {
  type ExternalProfile,
  type LogoutNotice,
  type Provider,
  ProviderRefusal,
  type Round,
} from './provider.ts';
import { refusing } from './refusing.ts';
import { type IdTokenClaims, type Relation, verifyIdToken, verifyLogoutToken } from './verify.ts';

/** What the provider says about itself, and its keys. */
type Known = { readonly configuration: Configuration; readonly relation: Relation };

/** Any provider of OpenID Connect, found by discovery at the first use and from time to time again. */
export function openOidc(settings: OidcSettings, clock: Clock): Provider {
  return new OidcProvider(settings, clock);
}

class OidcProvider implements Provider {
  readonly id: string;
  readonly label: string;
  readonly kind = 'oidc';
  readonly issuer: string;
  readonly mapping: Provider['mapping'];
  readonly syncOnSignIn: boolean;
  readonly allowSignUp: boolean;
  readonly #settings: OidcSettings;
  readonly #clock: Clock;
  readonly #outbound: Outbound;
  #known: { readonly at: number; readonly is: Promise<Known> } | null = null;

  constructor(settings: OidcSettings, clock: Clock) {
    this.id = settings.id;
    this.label = settings.label ?? settings.id;
    this.issuer = settings.issuer;
    this.mapping = settings.mapping;
    this.syncOnSignIn = settings.syncOnSignIn;
    this.allowSignUp = settings.allowSignUp;
    this.#settings = settings;
    this.#clock = clock;
    this.#outbound = openOutbound({ authorities: settings.authorities, loopback: isPlain(settings.issuer) });
  }

  async authorizationUrl(round: Round): Promise<URL> {
    const { configuration } = await this.#discovered();
    const parameters = {
      redirect_uri: round.redirectUri,
      scope: this.#settings.scopes.join(' '),
      state: round.state,
      nonce: round.nonce,
      code_challenge: await calculatePKCECodeChallenge(round.verifier),
      code_challenge_method: 'S256',
      ...this.#demands(),
      ...(round.fresh ? { prompt: 'login', max_age: '0' } : {}),
    };
    return await refusing('metadata', () => buildAuthorizationUrl(configuration, parameters));
  }

  async profileOf(query: URLSearchParams, round: Round): Promise<ExternalProfile> {
    const { configuration, relation } = await this.#discovered();
    const answer = new URL(round.redirectUri);
    answer.search = query.toString();
    const tokens = await refusing('answer', () =>
      authorizationCodeGrant(configuration, answer, {
        expectedState: round.state,
        expectedNonce: round.nonce,
        pkceCodeVerifier: round.verifier,
        idTokenExpected: true,
      }),
    );
    const proved = await verifyIdToken(tokens.id_token!, relation, {
      nonce: round.nonce,
      accessToken: tokens.access_token,
      now: this.#clock.now(),
    });
    const more = this.#settings.userinfo
      ? await refusing('userinfo', () => fetchUserInfo(configuration, tokens.access_token, proved.sub))
      : {};
    return this.#profile(proved, { ...more, ...proved }, round);
  }

  async logoutOf(token: string): Promise<LogoutNotice> {
    const { relation } = await this.#discovered();
    const now = this.#clock.now();
    const { untypedLogoutTokens: untyped } = this.#settings;
    const { sub, sid, jti } = await verifyLogoutToken(token, relation, { untyped, now });
    const expiresAt = now + providerLimits.logoutTokenAgeMs + 2 * providerLimits.skewMs;
    return { subject: sub, session: sid, tokenId: jti, expiresAt };
  }

  #profile(proved: IdTokenClaims, claims: Claims, round: Round): ExternalProfile {
    const { acr, amr } = this.#settings.mfa;
    const methods = claimValues(proved, 'amr')
      .filter((method) => /^[A-Za-z0-9._:-]{1,32}$/.test(method))
      .slice(0, providerLimits.methodsMax);
    const mfa =
      claimValues(proved, 'acr').some((value) => acr.includes(value)) ||
      claimValues(proved, 'amr').some((method) => amr.includes(method));
    return {
      ...mapClaims(this.mapping, claims, ['preferred_username', 'email']),
      provider: this.id,
      subject: proved.sub,
      methods,
      mfa,
      authAt: this.#authAt(proved, round),
      providerSession: typeof proved.sid === 'string' && proved.sid.length <= 255 ? proved.sid : null,
    };
  }

  /**
   * `prompt` and `max_age` went through the browser, where they can be taken away: that somebody proved anew who it is
   * can be told from `auth_time` alone (OpenID Connect Core §3.1.2.1).
   */
  #authAt({ auth_time: seconds }: IdTokenClaims, round: Round): number {
    const now = this.#clock.now();
    if (typeof seconds !== 'number' || !(seconds >= 0)) {
      if (this.#settings.authTime === 'round') return now;
      if (round.fresh) throw new ProviderRefusal('not-fresh', 'auth_time');
      return 0;
    }
    const at = Math.min(seconds * 1000, now);
    if (round.fresh && at < round.startedAt - providerLimits.skewMs)
      throw new ProviderRefusal('not-fresh', 'auth_time');
    return at;
  }

  #demands(): Record<string, string> {
    const { acr, request } = this.#settings.mfa;
    if (acr.length === 0 || request === 'none') return {};
    if (request === 'acr_values') return { acr_values: acr.join(' ') };
    return { claims: JSON.stringify({ id_token: { acr: { essential: true, values: acr } } }) };
  }

  /** Asked once for all who wait. What failed is not asked again at once. */
  #discovered(): Promise<Known> {
    const now = this.#clock.monotonic();
    if (this.#known !== null && now - this.#known.at < providerLimits.metadataFreshMs) return this.#known.is;
    const is = this.#discover();
    this.#known = { at: now, is };
    is.catch(() => {
      const retryAt = this.#clock.monotonic() + providerLimits.metadataRetryMs;
      if (this.#known?.is === is) this.#known = { at: retryAt - providerLimits.metadataFreshMs, is };
    });
    return is;
  }

  async #discover(): Promise<Known> {
    const { issuer, clientId, algorithms } = this.#settings;
    const metadata = { [clockTolerance]: providerLimits.skewMs / 1000 };
    const configuration = await refusing('metadata', () =>
      discovery(new URL(issuer), clientId, metadata, this.#clientAuth(), {
        [customFetch]: this.#outbound,
        timeout: providerLimits.exchangeMs / 1000,
        execute: isPlain(issuer) ? [allowInsecureRequests] : [],
      }),
    );
    const server = configuration.serverMetadata();
    // Whoever calls itself otherwise is another one, also where a library would let it pass.
    if (server.issuer !== issuer) throw new ProviderRefusal('metadata', 'issuer');
    if (server.jwks_uri === undefined) throw new ProviderRefusal('metadata', 'jwks_uri');
    if (server.code_challenge_methods_supported !== undefined && !server.supportsPKCE())
      throw new ProviderRefusal('metadata', 'pkce');
    const keys = new KeySet(server.jwks_uri, { outbound: this.#outbound, clock: this.#clock });
    return { configuration, relation: { issuer, clientId, algorithms, keys } };
  }

  /**
   * As configured, or as the provider says it takes it (RFC 8414 §2: basic where it says nothing). Not all read basic as
   * RFC 6749 §2.3.1 encodes it, so the other way is taken where there is a choice.
   */
  #clientAuth(): ClientAuth {
    const { clientSecret, clientAuth } = this.#settings;
    if (clientSecret === null) return None();
    const ways = { basic: ClientSecretBasic(clientSecret), post: ClientSecretPost(clientSecret) };
    return (server, client, body, headers) => {
      const offered = server.token_endpoint_auth_methods_supported ?? ['client_secret_basic'];
      const way = clientAuth ?? (offered.includes('client_secret_post') ? 'post' : 'basic');
      ways[way](server, client, body, headers);
    };
  }
}

function isPlain(issuer: string): boolean {
  return new URL(issuer).protocol === 'http:';
}
