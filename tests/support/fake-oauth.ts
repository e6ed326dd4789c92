import { absent, Fault } from '../../src/contract/faults.ts';
import { OAuthFault } from '../../src/contract/oauth.ts';
import type { SigningKeyView } from '../../src/contract/oauth-schemas.ts';
import type { Caller, Control } from '../../src/control/control.ts';
import { required } from '../../src/control/identity/oauth-form.ts';
import { serverMetadata } from '../../src/control/identity/oauth-metadata.ts';
import { newId } from '../../src/model/ids.ts';
import type { GrantableScope } from '../../src/model/scopes.ts';

type Parts = {
  readonly gate: (caller: Caller, needs: GrantableScope) => void;
  readonly tokens: Pick<Control['tokens'], 'create' | 'list' | 'revoke'>;
};

/** An authorization server in front of which nobody has signed in: every grant is refused, in its own form. */
export function fakeOAuth({
  gate,
  tokens,
}: Parts): Pick<Control, 'oauth' | 'devices' | 'programs' | 'keys' | 'ownTokens' | 'whoami'> {
  const key: SigningKeyView = {
    id: newId('key', 1),
    algorithm: 'EdDSA',
    createdAt: new Date(1).toISOString(),
    retiredAt: null,
    expiresAt: null,
  };
  return {
    oauth: fakeServer(),
    devices: {
      find: async () => {
        throw absent('device');
      },
      answer: async () => {
        throw absent('device');
      },
    },
    programs: {
      answer: async () => {
        throw new Fault('request.invalid', { detail: 'No program asks.' });
      },
    },
    keys: {
      list: async (caller) => {
        gate(caller, 'identity:read');
        return [key];
      },
      rotate: async (caller) => {
        gate(caller, 'identity:write');
        return key;
      },
    },
    ownTokens: {
      create: (caller, creation) => tokens.create(caller, creation),
      list: (caller, query) => tokens.list(caller, query),
      revoke: (caller, id) => tokens.revoke(caller, id),
      rotate: async () => {
        throw absent('token');
      },
    },
    whoami: async ({ actor }) => ({
      actor: actor.id,
      role: actor.role ?? null,
      scopes: [...actor.scopes],
      reach: actor.reach,
      teams: [],
      onBehalfOf: null,
      credential: null,
      signIn: null,
      expiresAt: null,
    }),
  };
}

function fakeServer(): Control['oauth'] {
  const refuse = () => new OAuthFault('invalid_grant', 'Nobody has signed in.');
  return {
    authorize: (query) => {
      required(query, 'client_id');
      return { location: '/authorize' };
    },
    token: async ({ form }) => {
      required(form, 'grant_type');
      throw refuse();
    },
    deviceAuthorization: async ({ form }) => {
      required(form, 'client_id');
      throw refuse();
    },
    introspect: async () => {
      throw new OAuthFault('invalid_client', 'Nobody is known.');
    },
    revoke: async ({ form }) => {
      required(form, 'token');
    },
    metadata: () => serverMetadata('http://localhost'),
    jwks: async () => ({ keys: [] }),
  };
}
