import type { Clock } from '../../base/clock.ts';
import type { PutRole, RoleView } from '../../contract/access-schemas.ts';
import { absent, Fault } from '../../contract/faults.ts';
import type { ChangeFeed } from '../../identity/change-feed.ts';
import { shippedRole } from '../../identity/principals.ts';
import type { ActionName } from '../../model/actions.ts';
import { type Role, roleReach, roles as shippedRoles } from '../../model/scopes.ts';
import type { RoleRecord } from '../../store/identity-store.ts';
import type { Store } from '../../store/store.ts';
import type { Caller, Versioned } from '../control.ts';
import type { Act, Gate } from '../gate.ts';
import { refuseAbove, rightsOf } from './rank.ts';
import { staleOf } from './stale.ts';

/** Roles: those that ship, and administrators' own. Nobody makes or changes one that holds more than they do. */
export type RoleUseCases = {
  /** Those that ship first. */
  list(caller: Caller): Promise<readonly RoleView[]>;
  get(caller: Caller, name: string): Promise<Versioned<RoleView>>;
  /** Whoever has the role has what it gives from then on. `ifMatch` is null where the caller read of none. */
  put(caller: Caller, name: string, request: PutRole, ifMatch: number | null): Promise<Versioned<RoleView>>;
  /** Throws Fault `state.conflict` while anybody has it. */
  remove(caller: Caller, name: string): Promise<void>;
};

export type RoleParts = {
  readonly store: Store;
  readonly gate: Gate;
  readonly clock: Clock;
  readonly changes: Pick<ChangeFeed, 'look'>;
};

export function roleUseCases(parts: RoleParts): RoleUseCases {
  const { store, gate } = parts;
  return {
    list: async (caller) => {
      await gate.read(caller, roleAct('role.list'));
      const own = await store.identity.roles.list();
      return [...shippedNames.map(shippedView), ...own.map(ownView)];
    },
    get: async (caller, name) => {
      await gate.read(caller, roleAct('role.list', name));
      if (isShipped(name)) return { view: shippedView(name), version: 0 };
      const record = await store.identity.roles.get(name);
      if (record === null) throw absent('role');
      return versioned(record);
    },
    put: (caller, name, request, ifMatch) => put(parts, caller, name, request, ifMatch),
    remove: (caller, name) => remove(parts, caller, name),
  };
}

function roleAct(action: ActionName, name?: string): Act {
  return { action, resource: { kind: 'role', ...(name === undefined ? {} : { id: name }) } };
}

async function put(
  parts: RoleParts,
  ...[caller, name, request, ifMatch]: Parameters<RoleUseCases['put']>
): Promise<Versioned<RoleView>> {
  const { store, gate, clock, changes } = parts;
  const { description = null, scopes, reach } = request;
  const asked = roleAct('role.put', name);
  await gate.read(caller, asked);
  refuseShipped(name);
  const before = await rightsOf(store, name);
  const act: Act = {
    ...asked,
    data: {
      scopes: [...scopes],
      reach,
      before: before === null ? null : { scopes: [...before.scopes], reach: before.reach },
    },
  };
  const after = { role: name, scopes: new Set(scopes), reach };
  await refuseAbove(gate, caller, act, before === null ? [after] : [before, after]);
  return await gate.act(caller, act, async () => {
    const role = { name, description, scopes, reach, createdAt: clock.now() };
    const written = await store.identity.roles.put(role, ifMatch);
    if (written.outcome !== 'written') throw staleOf('role', written.outcome, ifMatch);
    await changes.look();
    return versioned(written.record);
  });
}

async function remove({ store, gate, changes }: RoleParts, caller: Caller, name: string): Promise<void> {
  const act = roleAct('role.remove', name);
  await gate.read(caller, act);
  refuseShipped(name);
  const before = await rightsOf(store, name);
  if (before === null) throw absent('role');
  await refuseAbove(gate, caller, act, [before]);
  await gate.act(caller, act, async () => {
    const outcome = await store.identity.roles.remove(name);
    if (outcome === 'absent') throw absent('role');
    if (outcome === 'used')
      throw new Fault('state.conflict', {
        detail:
          'Somebody has this role, may be elevated to it, or is invited to it. Give them another first.',
      });
    await changes.look();
  });
}

function refuseShipped(name: string): void {
  if (shippedRole(name) === null) return;
  throw new Fault('state.conflict', {
    detail: `The role ${name} is part of the product and stays as it is. Make one of another name.`,
  });
}

const shippedNames = Object.keys(shippedRoles) as Role[];

function isShipped(name: string): name is Role {
  return shippedRole(name) !== null;
}

function shippedView(name: Role): RoleView {
  const [scopes, reach] = [[...shippedRoles[name]], roleReach[name]];
  return { name, description: null, scopes, reach, shipped: true, createdAt: null };
}

function ownView({ name, description, scopes, reach, createdAt }: RoleRecord): RoleView {
  const at = new Date(createdAt).toISOString();
  return { name, description, scopes: [...scopes], reach, shipped: false, createdAt: at };
}

function versioned(record: RoleRecord): Versioned<RoleView> {
  return { view: ownView(record), version: record.version };
}
