import { absent, Fault } from '../../contract/faults.ts';
import type { LinkedIdentityView, LinkIdentity } from '../../contract/identity-schemas.ts';
import type { Provider } from '../../identity/providers/provider.ts';
import type { ExternalIdentity } from '../../store/identity-store.ts';
import type { Caller } from '../control.ts';
import type { ProviderParts } from './provider-parts.ts';
import { refuseEgressBound } from './rank.ts';
import { touchable, userAct } from './users.ts';

/**
 * Which persons of other providers a user is. Only administrators say so, and of nobody whose role holds more than
 * theirs: whoever is linked to a user is that user.
 */
export type UserIdentityUseCases = {
  list(caller: Caller, name: string): Promise<readonly LinkedIdentityView[]>;
  link(caller: Caller, name: string, identity: LinkIdentity): Promise<LinkedIdentityView>;
  /** Containment: ends what the user signed in to by way of that provider. */
  unlink(caller: Caller, name: string, identity: LinkIdentity): Promise<void>;
};

export function userIdentityUseCases(parts: ProviderParts): UserIdentityUseCases {
  const { gate, store } = parts;
  const { users } = store.identity;
  return {
    list: async (caller, name) => {
      await gate.read(caller, userAct('user.read', name));
      if ((await users.get(name)) === null) throw absent('user');
      return (await users.externalsOf(name)).map((identity) => viewOf(parts, identity));
    },
    link: async (caller, name, asked) => {
      const act = userAct('user.link', name, { ...asked });
      await touchable(parts, caller, act, name);
      await refuseEgressBound(gate, caller, act);
      const identity = identityOf(parts, asked);
      return await gate.act(caller, act, async () => {
        if (!(await users.link(name, identity))) throw taken(await users.byExternal(identity), name);
        return viewOf(parts, identity);
      });
    },
    unlink: (caller, name, asked) => unlink(parts, caller, name, asked),
  };
}

function taken(owner: { readonly name: string } | null, name: string): Fault {
  const whose = owner === null || owner.name === name ? 'linked already' : `${owner.name} already`;
  return new Fault('state.conflict', { detail: `This person of the provider is ${whose}. Unlink it first.` });
}

async function unlink(
  parts: ProviderParts,
  caller: Caller,
  name: string,
  asked: LinkIdentity,
): Promise<void> {
  const { gate, store, clock, changes } = parts;
  const act = userAct('user.unlink', name, { ...asked });
  await touchable(parts, caller, act, name);
  const identity = identityOf(parts, asked);
  await gate.contain(caller, act, async () => {
    if (!(await store.identity.users.unlink(name, identity))) throw absent('identity');
    for (const { id } of providersOf(parts, identity))
      await store.identity.signIns.revokeOfProvider(id, { user: name }, clock.now());
    await changes.look();
  });
}

function identityOf({ providers }: ProviderParts, { provider: id, subject }: LinkIdentity): ExternalIdentity {
  const provider = providers.get(id);
  if (provider !== undefined) return { provider: provider.issuer, subject };
  const known = [...providers.keys()].join(', ') || 'none';
  throw new Fault('request.invalid', {
    detail: `There is no provider ${id} in providers.yaml; there ${known === 'none' ? 'is none' : `are ${known}`}.`,
  });
}

function providersOf({ providers }: ProviderParts, { provider: issuer }: ExternalIdentity): Provider[] {
  return [...providers.values()].filter((one) => one.issuer === issuer);
}

function viewOf(parts: ProviderParts, identity: ExternalIdentity): LinkedIdentityView {
  const [provider] = providersOf(parts, identity);
  return { provider: provider?.id ?? null, issuer: identity.provider, subject: identity.subject };
}
