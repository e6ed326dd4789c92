import {
  commandLineClient,
  type DeviceAnswer,
  grantTypes,
  type Introspection,
  OAuthFault,
  type TokenAnswer,
} from '../../contract/oauth.ts';
import type { PublicJwk } from '../../identity/signing-keys.ts';
import { authorize, redeemCode } from './authorization.ts';
import { clientCredentials } from './client-credentials.ts';
import { authorizeDevice, pollDevice } from './devices.ts';
import { exchange } from './exchange.ts';
import { introspect, revoke } from './introspection.ts';
import { type Asked, clientOf, type OAuthClient } from './oauth-clients.ts';
import { type Form, required } from './oauth-form.ts';
import { type ServerMetadata, serverMetadata } from './oauth-metadata.ts';
import type { OAuthParts } from './oauth-parts.ts';
import { refresh } from './refresh.ts';

/**
 * The authorization server. Its callers are not signed in: they prove themselves by what they ask with. Each throws
 * OAuthFault for what the protocol names, and Fault for the rest.
 */
export type OAuth = {
  /** Where the browser goes next; `cookie` is what its session cookie holds. */
  authorize(query: Form): { readonly location: string };
  token(asked: Asked): Promise<TokenAnswer>;
  deviceAuthorization(asked: Asked): Promise<DeviceAnswer>;
  introspect(asked: Asked): Promise<Introspection>;
  revoke(asked: Asked): Promise<void>;
  metadata(): ServerMetadata;
  jwks(): Promise<{ readonly keys: readonly PublicJwk[] }>;
};

export function oauthUseCases(parts: OAuthParts): OAuth {
  return {
    authorize: (query) => authorize(parts, query),
    token: (asked) => token(parts, asked),
    deviceAuthorization: async (asked) => {
      requirePublic(await clientOf(parts, asked));
      return await authorizeDevice(parts, asked);
    },
    introspect: (asked) => introspect(parts, asked),
    revoke: (asked) => revoke(parts, asked),
    metadata: () => serverMetadata(parts.accessTokens.issuer),
    jwks: async () => ({ keys: (await parts.signingKeys.list()).map(({ jwk }) => jwk) }),
  };
}

async function token(parts: OAuthParts, asked: Asked): Promise<TokenAnswer> {
  const grant = required(asked.form, 'grant_type');
  const known: readonly string[] = Object.values(grantTypes);
  if (!known.includes(grant))
    throw new OAuthFault('unsupported_grant_type', `The grant types are: ${known.join(' ')}`);
  const client = await clientOf(parts, asked);
  if (grant === grantTypes.tokenExchange) return await exchange(parts, client, asked);
  if (client === null) throw new OAuthFault('invalid_client', 'The parameter client_id is missing.');
  if (grant === grantTypes.refreshToken) return await refresh(parts, client, asked);
  if (grant === grantTypes.clientCredentials) {
    if (client.kind === 'proved') return await clientCredentials(parts, client, asked);
    throw new OAuthFault('unauthorized_client', 'This grant is for agents and services.');
  }
  requirePublic(client);
  if (grant === grantTypes.deviceCode) return await pollDevice(parts, asked);
  return await redeemCode(parts, asked);
}

/** What a person does goes through the command line alone. */
function requirePublic(client: OAuthClient | null): void {
  if (client?.kind !== 'public')
    throw new OAuthFault('unauthorized_client', `This is for the client ${commandLineClient}.`);
}
