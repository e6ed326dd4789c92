import { assertionType, commandLineClient, OAuthFault } from '../../contract/oauth.ts';
import { secretHash } from '../../identity/token-secret.ts';
import { type ActorId, parseActorId } from '../../model/actor.ts';
import type { CredentialId } from '../../model/ids.ts';
import type { AgentCredentialRecord } from '../../store/identity-store.ts';
import type { Caller } from '../control.ts';
import { type Form, optional } from './oauth-form.ts';
import type { OAuthParts } from './oauth-parts.ts';

/** Who asks for a token: the command line, which proves nothing, or an agent or service that proved itself. */
export type OAuthClient =
  | { readonly kind: 'public'; readonly id: typeof commandLineClient }
  | { readonly kind: 'proved'; readonly id: ActorId; readonly credential: CredentialId };

export type Asked = {
  readonly form: Form;
  /** The `Authorization` header as it came, or null. */
  readonly authorization: string | null;
  readonly request: Caller['request'];
};

type ClientParts = Pick<OAuthParts, 'store' | 'assertions' | 'gate' | 'clock'>;

/** The client of a request, or null where it names none. Throws OAuthFault `invalid_client`, which is on record. */
export async function clientOf(parts: ClientParts, asked: Asked): Promise<OAuthClient | null> {
  const { form, authorization } = asked;
  const assertion = optional(form, 'client_assertion');
  const id = optional(form, 'client_id');
  const secret = optional(form, 'client_secret');
  const basic = authorization === null ? null : basicCredentials(authorization);
  if ([assertion, secret, basic].filter((way) => way !== null).length > 1)
    throw new OAuthFault('invalid_request', 'Prove the client in one way: more than one was used.');
  if (assertion !== null) return await byAssertion(parts, asked, assertion, id);
  if (basic !== null) {
    if (id !== null && id !== basic.id) throw refusedClient(parts, asked);
    return await bySecret(parts, asked, basic.id, basic.secret);
  }
  if (secret !== null) return await bySecret(parts, asked, id ?? '', secret);
  if (id === null) return null;
  if (id === commandLineClient) return { kind: 'public', id };
  throw refusedClient(parts, asked);
}

/** The same for what only an agent or service may ask. */
export async function provedClient(
  parts: ClientParts,
  asked: Asked,
): Promise<Extract<OAuthClient, { kind: 'proved' }>> {
  const client = await clientOf(parts, asked);
  if (client?.kind === 'proved') return client;
  throw refusedClient(parts, asked);
}

async function bySecret(parts: ClientParts, asked: Asked, id: string, secret: string): Promise<OAuthClient> {
  const { store, clock } = parts;
  const hash = secretHash(secret);
  const credential = await store.agents.credentialByProof('secret', hash, clock.now());
  if (credential === null || credential.agent !== parseActorId(id)) throw refusedClient(parts, asked);
  return await proved(parts, asked, credential);
}

async function byAssertion(
  parts: ClientParts,
  asked: Asked,
  assertion: string,
  id: string | null,
): Promise<OAuthClient> {
  if (optional(asked.form, 'client_assertion_type') !== assertionType)
    throw new OAuthFault('invalid_request', `client_assertion_type is ${assertionType}.`);
  const credential = await parts.assertions.verify(assertion);
  if (credential === null || (id !== null && id !== credential.agent)) throw refusedClient(parts, asked);
  return await proved(parts, asked, credential);
}

async function proved(
  parts: ClientParts,
  asked: Asked,
  { id, agent }: AgentCredentialRecord,
): Promise<OAuthClient> {
  const { store, clock } = parts;
  if ((await store.agents.get(agent))?.phase !== 'active') throw refusedClient(parts, asked);
  await store.agents.touchCredential(id, clock.now());
  return { kind: 'proved', id: agent, credential: id };
}

/** The same whatever was wrong, so that it tells nobody which agents there are. */
function refusedClient({ gate }: Pick<OAuthParts, 'gate'>, { request }: Asked): OAuthFault {
  gate.note({
    action: 'client.verify',
    actor: { id: 'system:nobody' },
    resource: { kind: 'agent' },
    outcome: 'denied',
    rule: 'client:refused',
    request,
    countAs: `client.verify ${request.address ?? 'local'}`,
  });
  return new OAuthFault(
    'invalid_client',
    'The client is unknown, or what it proved itself with is not valid.',
  );
}

/** RFC 6749 §2.3.1: both are form-encoded before they are joined. Null for headers of another scheme. */
function basicCredentials(header: string): { id: string; secret: string } | null {
  const text = /^Basic +([A-Za-z0-9+/]{1,1024}={0,2}) *$/i.exec(header)?.[1];
  if (text === undefined) return null;
  const plain = Buffer.from(text, 'base64').toString('utf8');
  const colon = plain.indexOf(':');
  if (colon < 0) return null;
  try {
    return { id: decoded(plain.slice(0, colon)), secret: decoded(plain.slice(colon + 1)) };
  } catch {
    return null;
  }
}

function decoded(text: string): string {
  return decodeURIComponent(text.replaceAll('+', ' '));
}
