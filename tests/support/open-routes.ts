/**
 * Every route that answers without authentication, by hand: whoever opens another one adds it here, and whoever reads
 * the change sees it (G1). Nothing of `/api/v1` is among them but the document that describes it.
 */
export const openRoutes: readonly string[] = [
  'GET /.well-known/jwks.json',
  'GET /.well-known/oauth-authorization-server',
  'GET /.well-known/openid-configuration',
  'GET /api/v1/openapi.json',
  'GET /auth/methods',
  'GET /auth/providers/{provider}/callback',
  'GET /auth/providers/{provider}/start',
  'GET /healthz',
  'GET /oauth2/authorize',
  'GET /readyz',
  'HEAD /healthz',
  'HEAD /readyz',
  'POST /auth/enrollment/passkey',
  'POST /auth/enrollment/passkey/options',
  'POST /auth/enrollment/totp',
  'POST /auth/enrollment/totp/confirm',
  'POST /auth/invitations/accept',
  'POST /auth/invitations/look',
  'POST /auth/passkey/options',
  'POST /auth/passkey/verify',
  'POST /auth/password',
  'POST /auth/password-resets/accept',
  'POST /auth/password-resets/look',
  'POST /auth/providers/{provider}/backchannel-logout',
  'POST /auth/recovery-code',
  'POST /auth/ticket',
  'POST /auth/totp',
  'POST /oauth2/device_authorization',
  'POST /oauth2/introspect',
  'POST /oauth2/revoke',
  'POST /oauth2/token',
];

/** Open routes that answer with success to nobody who sends nothing. */
export function answersAtOnce(route: string): boolean {
  return openRoutes.includes(route) && !/ \/(auth|oauth2)\//.test(route);
}
