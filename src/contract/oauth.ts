import type { JsonObject } from '../base/canonical-json.ts';

/** Where OAuth is spoken, from the server's root. */
export const oauthPaths = {
  authorize: '/oauth2/authorize',
  token: '/oauth2/token',
  deviceAuthorization: '/oauth2/device_authorization',
  introspect: '/oauth2/introspect',
  revoke: '/oauth2/revoke',
  jwks: '/.well-known/jwks.json',
  metadata: '/.well-known/oauth-authorization-server',
  openidConfiguration: '/.well-known/openid-configuration',
} as const;

/** The command line, which can keep no secret: a public client (RFC 6749 §2.1). */
export const commandLineClient = 'sealwright-cli';

/** How long a program of a person stays signed in with refresh tokens: at most, and without use. */
export const programLife = { days: 30, idleDays: 7 } as const;

export const grantTypes = {
  authorizationCode: 'authorization_code',
  refreshToken: 'refresh_token',
  clientCredentials: 'client_credentials',
  deviceCode: 'urn:ietf:params:oauth:grant-type:device_code',
  tokenExchange: 'urn:ietf:params:oauth:grant-type:token-exchange',
} as const;

export const accessTokenType = 'urn:ietf:params:oauth:token-type:access_token';
export const jwtTokenType = 'urn:ietf:params:oauth:token-type:jwt';
export const assertionType = 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer';

/** Every error of the OAuth endpoints with its status: RFC 6749 §5.2, RFC 8628 §3.5, RFC 8693 §2.2.2, RFC 7009 §2.2.1. */
const errorStatus = {
  invalid_request: 400,
  invalid_client: 401,
  invalid_grant: 400,
  invalid_scope: 400,
  invalid_target: 400,
  unauthorized_client: 400,
  unsupported_grant_type: 400,
  unsupported_response_type: 400,
  access_denied: 400,
  authorization_pending: 400,
  slow_down: 400,
  expired_token: 400,
} as const;
export type OAuthError = keyof typeof errorStatus;

/** A refusal in the form that OAuth clients understand. The description says what to do and holds nothing secret. */
export class OAuthFault extends Error {
  readonly error: OAuthError;
  readonly description: string;

  constructor(error: OAuthError, description: string) {
    super(description);
    this.name = 'OAuthFault';
    this.error = error;
    this.description = description;
  }

  get status(): number {
    return errorStatus[this.error];
  }
}

/** RFC 6749 §5.1; `issued_token_type` on an exchange alone (RFC 8693 §2.2.1). */
export type TokenAnswer = {
  readonly access_token: string;
  readonly token_type: 'Bearer';
  readonly expires_in: number;
  readonly refresh_token?: string;
  readonly scope?: string;
  readonly issued_token_type?: string;
};

/** RFC 8628 §3.2. */
export type DeviceAnswer = {
  readonly device_code: string;
  readonly user_code: string;
  readonly verification_uri: string;
  readonly verification_uri_complete: string;
  readonly expires_in: number;
  readonly interval: number;
};

/** RFC 7662 §2.2. Nothing but `active` about what is no valid token here. */
export type Introspection =
  | { readonly active: false }
  | ({ readonly active: true; readonly sub: string; readonly token_type: 'Bearer' } & JsonObject);
