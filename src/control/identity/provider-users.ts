import { managedTeams } from '../../identity/providers/mapping.ts';
import type { ExternalProfile, Provider } from '../../identity/providers/provider.ts';
import type { ExternalIdentity, UserRecord } from '../../store/identity-store.ts';
import type { Store } from '../../store/store.ts';
import { demandsMfa } from './completion.ts';
import { standsForSomething } from './names.ts';
import type { ProviderDenial, ProviderParts } from './provider-parts.ts';
import { rightsOf } from './rank.ts';
import type { Asked } from './sign-in-parts.ts';
import { revokeInvitationsOf } from './users.ts';

export type Admitted = { readonly user: UserRecord } | { readonly denied: ProviderDenial };

/** The actor of what happens because a provider says so. */
const byProvider = { id: 'system:provider' } as const;

/**
 * The user that somebody from a provider is: whoever has this issuer and subject, and nobody else, whatever name or
 * address the claims hold. Somebody new becomes a user where the provider may make one and the name stands for nothing.
 */
export async function admit(
  parts: ProviderParts,
  asked: Asked,
  provider: Provider,
  profile: ExternalProfile,
): Promise<Admitted> {
  const identity = { provider: provider.issuer, subject: profile.subject };
  const known = await parts.store.identity.users.byExternal(identity);
  const admitted =
    known === null
      ? await signUp(parts, asked, provider, profile, identity)
      : await returning(parts, asked, provider, profile, known);
  if ('denied' in admitted || profile.mfa || !demandsMfa(parts.signInConfig, admitted.user)) return admitted;
  return { denied: { error: 'mfa-required', reason: 'mfa', user: admitted.user.name } };
}

async function returning(
  parts: ProviderParts,
  asked: Asked,
  provider: Provider,
  profile: ExternalProfile,
  user: UserRecord,
): Promise<Admitted> {
  const { name } = user;
  if (user.phase !== 'active')
    return { denied: { error: 'account-disabled', reason: 'disabled', user: name } };
  if (!provider.syncOnSignIn) return { user };
  const { role } = profile;
  if (role === null || !(await roleExists(parts.store, role)))
    return { denied: { error: 'no-role', reason: role === null ? 'no-role' : 'role-unknown', user: name } };
  await followTeams(parts, asked, provider, profile, name);
  return { user: role === user.role ? user : await followRole(parts, asked, provider, user, role) };
}

/** On the record before it is so. What was signed in with one factor is not what the new role takes. */
async function followRole(
  parts: ProviderParts,
  asked: Asked,
  provider: Provider,
  user: UserRecord,
  role: string,
): Promise<UserRecord> {
  const { store, gate, signIns, changes } = parts;
  const { name } = user;
  await gate.record({
    action: 'user.update',
    actor: byProvider,
    resource: { kind: 'user', id: name },
    outcome: 'allowed',
    rule: 'provider:claims',
    request: asked,
    data: { provider: provider.id, role, was: user.role },
  });
  const written = await store.identity.users.update(name, { role }, null);
  if (written.outcome !== 'written') return user;
  await revokeInvitationsOf(parts, name);
  await changes.look();
  if (demandsMfa(parts.signInConfig, written.record) && !demandsMfa(parts.signInConfig, user))
    await signIns.endAllOf(`user:${name}`, 'role changed', null);
  return written.record;
}

/** The provider decides about the teams that its mapping names; all others stay. */
async function followTeams(
  { store, gate, changes }: ProviderParts,
  asked: Asked,
  { id, mapping }: Provider,
  { teams }: ExternalProfile,
  name: string,
): Promise<void> {
  if (teams === null) return;
  const actor = `user:${name}` as const;
  const current = await store.identity.teams.of(actor);
  const managed = new Set(managedTeams(mapping, current));
  const taken = current.filter((team) => managed.has(team) && !teams.includes(team));
  const given = teams.filter((team) => !current.includes(team));
  if (taken.length + given.length === 0) return;
  await gate.record({
    action: 'team.put',
    actor: byProvider,
    resource: { kind: 'user', id: name },
    outcome: 'allowed',
    rule: 'provider:claims',
    request: asked,
    data: { provider: id, given, taken },
  });
  await store.identity.teams.assign(actor, teams, [...new Set([...managed, ...teams])]);
  await changes.look();
}

async function signUp(
  parts: ProviderParts,
  asked: Asked,
  provider: Provider,
  profile: ExternalProfile,
  external: ExternalIdentity,
): Promise<Admitted> {
  const { store, gate, clock, changes } = parts;
  const { userName: name, role, teams, displayName, email } = profile;
  const denial = await signUpDenial(parts, provider, profile);
  if (denial !== null || name === null || role === null)
    return { denied: denial ?? { error: 'no-role', reason: 'no-role' } };
  const event = {
    action: 'user.sign-up',
    actor: byProvider,
    resource: { kind: 'user', id: name },
    rule: 'provider:sign-up',
    request: asked,
    data: {
      provider: provider.id,
      issuer: external.provider,
      subject: external.subject,
      role,
      teams: [...(teams ?? [])],
    },
  } as const;
  await gate.record({ ...event, outcome: 'allowed' });
  const made = await store.identity.users.create(
    {
      ...{ name, displayName, email, role },
      eligibleRoles: [],
      phase: 'active',
      passwordHash: null,
      totpSealed: null,
      createdAt: clock.now(),
    },
    { external, teams: teams ?? [] },
  );
  gate.note({ ...event, outcome: made.outcome === 'created' ? 'succeeded' : 'failed' });
  if (made.outcome === 'created') {
    await changes.look();
    return { user: made.record };
  }
  // Two windows of one person may come back at once; then the other one has made the user.
  const other = await store.identity.users.byExternal(external);
  if (other !== null && other.phase === 'active') return { user: other };
  return { denied: { error: 'name-taken', reason: 'name-taken' } };
}

async function signUpDenial(
  parts: ProviderParts,
  { allowSignUp }: Provider,
  { userName, role, mfa }: ExternalProfile,
): Promise<ProviderDenial | null> {
  const { store } = parts;
  if (!allowSignUp) return { error: 'sign-up-closed', reason: 'sign-up-closed' };
  if (role === null) return { error: 'no-role', reason: 'no-role' };
  if (!(await roleExists(store, role))) return { error: 'no-role', reason: 'role-unknown' };
  if (userName === null) return { error: 'name-unusable', reason: 'name' };
  const isTaken = (await store.identity.users.get(userName)) !== null;
  if (isTaken || (await standsForSomething(store, userName)))
    return { error: 'name-taken', reason: 'name-taken' };
  if (!mfa && demandsMfa(parts.signInConfig, { role, eligibleRoles: [] }))
    return { error: 'mfa-required', reason: 'mfa' };
  return null;
}

async function roleExists(store: Store, role: string): Promise<boolean> {
  return (await rightsOf(store, role)) !== null;
}
