import { Fault } from '../../contract/faults.ts';
import { type LogoutNotice, type Provider, ProviderRefusal } from '../../identity/providers/provider.ts';
import { secretHash } from '../../identity/token-secret.ts';
import type { SignInRecord } from '../../store/identity-store.ts';
import type { ProviderParts } from './provider-parts.ts';
import type { Asked } from './sign-in-parts.ts';

/**
 * Ends the sign-ins that a provider's logout token means (OpenID Connect Back-Channel Logout 1.0 §2.7): those of its
 * session, or where none came from that, all of its subject. Each token works once.
 */
export async function providerLogout(
  parts: ProviderParts,
  asked: Asked,
  provider: Provider,
  token: string,
): Promise<void> {
  const notice = await believed(parts, asked, provider, token);
  const { store, clock, changes, gate } = parts;
  const used = secretHash(`logout ${provider.id} ${provider.issuer} ${notice.tokenId}`);
  const { oneTimes } = store.identity;
  if (!(await oneTimes.put('assertion-id', used, {}, notice.expiresAt)))
    throw refused(parts, asked, provider, 'used');
  let ended: readonly SignInRecord[];
  try {
    ended = await endMeant(parts, provider, notice);
  } catch (error) {
    // The provider will say it again, with the same token.
    await oneTimes.take('assertion-id', used, clock.now());
    throw error;
  }
  await changes.look();
  gate.note({
    action: 'sign-in.provider-logout',
    actor: { id: 'system:provider' },
    resource: { kind: 'user', ...userOf(ended) },
    outcome: 'succeeded',
    rule: 'provider:logout-token',
    request: asked,
    data: { provider: provider.id, signIns: ended.map(({ id }) => id) },
  });
}

function userOf(ended: readonly SignInRecord[]): { id?: string } {
  const [first] = ended;
  return first === undefined ? {} : { id: first.actor.slice('user:'.length) };
}

async function endMeant(
  { store, clock }: ProviderParts,
  { id, issuer }: Provider,
  { session, subject }: LogoutNotice,
): Promise<readonly SignInRecord[]> {
  const { signIns, users } = store.identity;
  const now = clock.now();
  if (session !== null) {
    const ended = await signIns.revokeOfProvider(id, { session }, now);
    if (ended.length > 0 || subject === null) return ended;
  }
  const user = await users.byExternal({ provider: issuer, subject: subject! });
  return user === null ? [] : await signIns.revokeOfProvider(id, { user: user.name }, now);
}

async function believed(
  parts: ProviderParts,
  asked: Asked,
  provider: Provider,
  token: string,
): Promise<LogoutNotice> {
  try {
    return await provider.logoutOf(token);
  } catch (error) {
    if (!(error instanceof ProviderRefusal)) throw error;
    throw refused(parts, asked, provider, error.at);
  }
}

function refused({ gate }: ProviderParts, asked: Asked, { id }: Provider, at: string): Fault {
  gate.note({
    action: 'sign-in.provider-logout',
    actor: { id: 'system:nobody' },
    resource: { kind: 'user' },
    outcome: 'denied',
    rule: 'provider:logout-token',
    request: asked,
    data: { provider: id, at },
    countAs: `sign-in.provider-logout ${id} ${at} ${asked.address ?? 'local'}`,
  });
  return new Fault('request.invalid', { detail: 'The logout token is not one that this server takes.' });
}
