import { Fault } from '../../contract/faults.ts';
import { type Rights, shippedRole } from '../../identity/principals.ts';
import { narrowerReach, type Reach } from '../../model/actor.ts';
import { type GrantableScope, type Scope, within } from '../../model/scopes.ts';
import type { Store } from '../../store/store.ts';
import type { Caller } from '../control.ts';
import type { Act, Gate } from '../gate.ts';

/** What a role gives, or null where there is no such role. */
export async function rightsOf(store: Store, role: string): Promise<Rights | null> {
  const shipped = shippedRole(role);
  if (shipped !== null) return shipped;
  const record = await store.identity.roles.get(role);
  return record === null ? null : { role, scopes: new Set(record.scopes), reach: record.reach };
}

/** The roles to be given, each of which must exist. Throws Fault `request.invalid`. */
export async function knownRoles(store: Store, roles: readonly string[]): Promise<readonly Rights[]> {
  return await Promise.all(
    roles.map(async (role) => {
      const rights = await rightsOf(store, role);
      if (rights !== null) return rights;
      throw new Fault('request.invalid', { detail: `There is no role ${role}.` });
    }),
  );
}

/**
 * Nobody gives a role that holds more than they hold, nor has a hand on somebody whose role does: else whoever may
 * change users is everything that any user is. Records the denial and throws.
 */
export async function refuseAbove(
  gate: Gate,
  caller: Caller,
  act: Act,
  roles: readonly Rights[],
): Promise<void> {
  const above = firstAbove(caller.actor, roles);
  if (above === null) return;
  throw await gate.refuse(caller, act, {
    rule: 'role:above',
    detail: `The role ${above.role} holds more than you do, so it is not yours to give or to change.`,
  });
}

/**
 * Whoever is kept to egress makes nothing that is not: no token, and no way to be a person. Records the denial and
 * throws.
 */
export async function refuseEgressBound(gate: Gate, caller: Caller, act: Act): Promise<void> {
  const { egress } = caller.actor;
  if (egress === undefined) return;
  throw await gate.refuse(caller, act, {
    rule: 'egress:beyond',
    detail: `This may ask for any egress, and you only for this: ${[...egress].join(', ') || 'none'}.`,
  });
}

/** The first of the roles that holds more than that, or null. */
export function firstAbove(
  held: { readonly scopes: ReadonlySet<Scope>; readonly reach: Reach },
  roles: readonly Rights[],
): Rights | null {
  const isAbove = ({ scopes, reach }: Rights) =>
    !within(held.scopes, scopes as ReadonlySet<GrantableScope>) || narrowerReach(reach, held.reach) !== reach;
  return roles.find(isAbove) ?? null;
}

/** The rights of a user as it is: its role, and those that it may be elevated to. A role that is gone gives nothing. */
export async function rightsOfUser(
  store: Store,
  user: { readonly role: string; readonly eligibleRoles: readonly string[] },
): Promise<readonly Rights[]> {
  const found = await Promise.all([user.role, ...user.eligibleRoles].map((role) => rightsOf(store, role)));
  return found.filter((rights) => rights !== null);
}
