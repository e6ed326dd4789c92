import { grantTypes, OAuthFault, type TokenAnswer } from '../../contract/oauth.ts';
import { identityLimits } from '../../identity/limits.ts';
import { within } from '../../model/scopes.ts';
import { openAndIssue } from './issuing.ts';
import type { Asked, OAuthClient } from './oauth-clients.ts';
import { askedScopes } from './oauth-form.ts';
import type { OAuthParts } from './oauth-parts.ts';

/**
 * Grant `client_credentials` (RFC 6749 §4.4): a token of the agent or service itself. It ends with the credential that
 * it was given for, and there is nothing to refresh: the client proves itself again.
 */
export async function clientCredentials(
  parts: OAuthParts,
  client: Extract<OAuthClient, { kind: 'proved' }>,
  { form, request }: Asked,
): Promise<TokenAnswer> {
  const { principals, clock } = parts;
  const scopes = askedScopes(form);
  const principal = await principals.of(client.id);
  if (typeof principal === 'string')
    throw new OAuthFault('invalid_grant', 'The client may not sign in any more.');
  if (scopes !== null && !within(principal.scopes, scopes))
    throw new OAuthFault('invalid_scope', `It asks for more than ${client.id} may do.`);
  const now = clock.now();
  const { address, userAgent } = request;
  const proof = { at: now, methods: [], mfa: false, provider: null, providerSession: null };
  const { answer } = await openAndIssue(
    parts,
    {
      ...{ actor: client.id, client: client.id, proof, scopes, address, userAgent },
      reach: null,
      parent: client.credential,
      refreshable: false,
      expiresAt: now + identityLimits.accessTokenLifeMs,
    },
    {
      action: 'token.issue',
      grant: grantTypes.clientCredentials,
      request,
      data: { credential: client.credential },
    },
  );
  return answer;
}
