import { grantTypes, oauthPaths } from '../../contract/oauth.ts';
import { assertionAlgorithms } from '../../identity/client-assertions.ts';
import { scopes } from '../../model/scopes.ts';

/** RFC 8414, with what OpenID Connect Discovery adds for relying parties of run identities. */
export type ServerMetadata = { readonly issuer: string } & Readonly<
  Record<string, string | boolean | readonly string[]>
>;

/** What clients and relying parties can find out without asking anybody. */
export function serverMetadata(issuer: string): ServerMetadata {
  const proofs = ['client_secret_basic', 'client_secret_post', 'private_key_jwt'];
  return {
    issuer,
    authorization_endpoint: issuer + oauthPaths.authorize,
    token_endpoint: issuer + oauthPaths.token,
    device_authorization_endpoint: issuer + oauthPaths.deviceAuthorization,
    introspection_endpoint: issuer + oauthPaths.introspect,
    revocation_endpoint: issuer + oauthPaths.revoke,
    jwks_uri: issuer + oauthPaths.jwks,
    scopes_supported: [...scopes],
    response_types_supported: ['code'],
    response_modes_supported: ['query'],
    grant_types_supported: Object.values(grantTypes),
    code_challenge_methods_supported: ['S256'],
    token_endpoint_auth_methods_supported: ['none', ...proofs],
    token_endpoint_auth_signing_alg_values_supported: [...assertionAlgorithms],
    introspection_endpoint_auth_methods_supported: proofs,
    introspection_endpoint_auth_signing_alg_values_supported: [...assertionAlgorithms],
    revocation_endpoint_auth_methods_supported: ['none'],
    authorization_response_iss_parameter_supported: true,
    subject_types_supported: ['public'],
    id_token_signing_alg_values_supported: ['EdDSA'],
    claims_supported: ['iss', 'sub', 'aud', 'exp', 'iat', 'jti'],
  };
}
