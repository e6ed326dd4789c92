import type { Clock } from '../../base/clock.ts';
import type { AgentView, CreateAgent, UpdateAgent } from '../../contract/agents-schemas.ts';
import { absent, Fault } from '../../contract/faults.ts';
import type { Authority } from '../../identity/certificates/authority.ts';
import type { ChangeFeed } from '../../identity/change-feed.ts';
import type { SignIns } from '../../identity/sign-ins.ts';
import type { ActionName } from '../../model/actions.ts';
import { type ActorId, actorName } from '../../model/actor.ts';
import { agentRoles, agentScopes, holds, roles } from '../../model/scopes.ts';
import type { AgentRecord } from '../../store/identity-store.ts';
import type { Store } from '../../store/store.ts';
import type { Caller, Page, PageRequest, Versioned } from '../control.ts';
import type { Act, Gate } from '../gate.ts';
import { storePage, viewPage } from '../paging.ts';
import { timeText } from './account-views.ts';
import { knownRoles, refuseAbove, rightsOf } from './rank.ts';

/** What agents, their credentials and the authority behind them work with. */
export type AgentParts = {
  readonly store: Store;
  readonly gate: Gate;
  readonly clock: Clock;
  readonly signIns: Pick<SignIns, 'endAllOf'>;
  readonly changes: Pick<ChangeFeed, 'look'>;
  readonly authority: Authority;
};

/** Agents and services: machines that are somebody, with an owner who answers for them. */
export type AgentUseCases = {
  /** Throws `state.conflict` where the name is, or was, somebody's. */
  create(caller: Caller, request: CreateAgent): Promise<Versioned<AgentView>>;
  list(caller: Caller, query: PageRequest & { owner?: ActorId | undefined }): Promise<Page<AgentView>>;
  get(caller: Caller, id: ActorId): Promise<Versioned<AgentView>>;
  /** `ifMatch` is the version that the caller read. */
  update(caller: Caller, id: ActorId, change: UpdateAgent, ifMatch: number): Promise<Versioned<AgentView>>;
  /** Containment: nothing that it has works any more, until it is enabled. */
  disable(caller: Caller, id: ActorId): Promise<AgentView>;
  enable(caller: Caller, id: ActorId): Promise<AgentView>;
  /** Containment, and for ever: nobody has the name again. What it owns stays. */
  remove(caller: Caller, id: ActorId): Promise<void>;
};

export function agentUseCases(parts: AgentParts): AgentUseCases {
  const { gate, store } = parts;
  return {
    create: (caller, request) => create(parts, caller, request),
    list: async (caller, { owner, ...query }) => {
      await gate.privileged(caller, { action: 'agent.list', resource: { kind: 'agent' } });
      const { id, reach } = caller.actor;
      if (reach !== 'all' && owner !== undefined && owner !== id) return { items: [], nextCursor: null };
      const filter = { owner: reach === 'all' ? owner : id };
      const listed = await store.identity.agents.list(filter, storePage(query));
      return viewPage(listed, agentView, (record) => record);
    },
    get: async (caller, id) => {
      const record = await touchable(parts, caller, id, 'agent.read');
      return { view: agentView(record), version: record.version };
    },
    update: (caller, id, change, ifMatch) => update(parts, caller, id, { change, ifMatch }),
    disable: async (caller, id) => {
      const act = agentAct('agent.disable', await known(parts, caller, id, 'agent.disable'));
      return await gate.contain(caller, act, async () => {
        const record = await write(parts, id, { phase: 'disabled' }, null);
        await parts.signIns.endAllOf(id, 'disabled', null);
        return agentView(record);
      });
    },
    enable: async (caller, id) => {
      const record = await touchable(parts, caller, id, 'agent.update');
      const act = agentAct('agent.update', record, { phase: 'active' });
      await refuseWider(parts, caller, act, record);
      return await gate.act(caller, act, async () =>
        agentView(await write(parts, id, { phase: 'active' }, null)),
      );
    },
    remove: (caller, id) => remove(parts, caller, id),
  };
}

export function agentView(record: AgentRecord): AgentView {
  const { id, displayName, owner, role, scopes, egress, phase, createdAt } = record;
  return {
    ...{ id, displayName, owner, role, phase },
    scopes: [...scopes],
    egress: egress === null ? null : [...egress],
    createdAt: timeText(createdAt),
  };
}

/** What is done to an agent, with its owner, so that foreign ones look absent. */
export function agentAct(
  action: ActionName,
  { id, owner }: Pick<AgentRecord, 'id' | 'owner'>,
  data?: Act['data'],
): Act {
  return { action, resource: { kind: 'agent', id, owner }, ...(data === undefined ? {} : { data }) };
}

/**
 * The agent that is about to be acted on. Who may do this to no agent learns that first, whether this one exists or
 * not; whether it may be done to this one is still to be decided. Throws Fault `resource.absent`.
 */
export async function known(
  { gate, store }: AgentParts,
  caller: Caller,
  id: ActorId,
  action: ActionName,
): Promise<AgentRecord> {
  await gate.read(caller, { action, resource: { kind: 'agent' } });
  const record = await store.identity.agents.get(id);
  if (record === null) throw absent('agent');
  return record;
}

/** The agent, decided on for this action; what is done is recorded by whoever does it. */
export async function touchable(
  parts: AgentParts,
  caller: Caller,
  id: ActorId,
  action: ActionName,
): Promise<AgentRecord> {
  const record = await known(parts, caller, id, action);
  await parts.gate.read(caller, agentAct(action, record));
  return record;
}

/**
 * Nobody makes, or gets a hand on, an agent that may do more than they may: whoever gives it a credential could be
 * it. Scopes that are for agents alone count for nothing here. Records the denial and throws.
 */
export async function refuseWider(
  parts: AgentParts,
  caller: Caller,
  act: Act,
  agent: Pick<AgentRecord, 'role' | 'scopes' | 'egress'>,
): Promise<void> {
  const lacking = agent.scopes.find((scope) => !agentScopes.has(scope) && !holds(caller.actor.scopes, scope));
  if (lacking !== undefined)
    throw await parts.gate.refuse(caller, act, {
      rule: `scope:${lacking}:missing`,
      detail: `The agent holds the scope ${lacking}, which you do not hold yourself.`,
      required: lacking,
    });
  const { egress } = caller.actor;
  if (egress !== undefined && !(agent.egress?.every((name) => egress.has(name)) ?? false))
    throw await parts.gate.refuse(caller, act, {
      rule: 'egress:beyond',
      detail: `The agent may ask for more egress than you may: ${[...egress].join(', ') || 'none'}.`,
    });
  const rights = await rightsOf(parts.store, agent.role);
  if (rights === null) return;
  const scopes = new Set([...rights.scopes].filter((scope) => scope === '*' || !agentScopes.has(scope)));
  await refuseAbove(parts.gate, caller, act, [{ ...rights, scopes }]);
}

async function create(
  parts: AgentParts,
  caller: Caller,
  request: CreateAgent,
): Promise<Versioned<AgentView>> {
  const { gate, store, clock } = parts;
  const { kind, name, displayName = null, role } = request;
  const id: ActorId = `${kind}:${name}`;
  const scopes = [...new Set(request.scopes ?? [])];
  const egress = request.egress ?? null;
  const owner = (request.owner ?? caller.actor.id) as ActorId;
  const act: Act = {
    action: 'agent.create',
    resource: { kind: 'agent', id },
    data: { owner, role, scopes, ...(egress === null ? {} : { egress }) },
  };
  await gate.read(caller, act);
  await refuseForeignOwner(parts, caller, act, request.owner);
  await requireAgentRole(parts, role);
  await refuseWider(parts, caller, act, { role, scopes, egress });
  return await gate.act(caller, act, async () => {
    const rights = { role, scopes, egress } as const;
    const fresh = { id, displayName, owner, ...rights, phase: 'active', createdAt: clock.now() } as const;
    const made = await store.identity.agents.create(fresh);
    if (made.outcome === 'taken')
      throw new Fault('state.conflict', { detail: `${id} exists, or did. Names are never given again.` });
    await parts.changes.look();
    return { view: agentView(made.record), version: made.record.version };
  });
}

async function update(
  parts: AgentParts,
  caller: Caller,
  id: ActorId,
  { change, ifMatch }: { change: UpdateAgent; ifMatch: number },
): Promise<Versioned<AgentView>> {
  const { displayName, owner, role, scopes, egress } = change;
  const record = await touchable(parts, caller, id, 'agent.update');
  const wanted = {
    ...(displayName === undefined ? {} : { displayName }),
    ...(owner === undefined ? {} : { owner: owner as ActorId }),
    ...(role === undefined ? {} : { role }),
    ...(scopes === undefined ? {} : { scopes: [...new Set(scopes)] }),
    ...(egress === undefined ? {} : { egress }),
  };
  const { displayName: _, ...rights } = wanted;
  const act = agentAct('agent.update', record, { fields: Object.keys(wanted).sort(), ...rights });
  await refuseForeignOwner(parts, caller, act, owner);
  if (role !== undefined) await requireAgentRole(parts, role);
  await refuseWider(parts, caller, act, record);
  await refuseWider(parts, caller, act, { ...record, ...rights });
  return await parts.gate.act(caller, act, async () => {
    const written = await write(parts, id, wanted, ifMatch);
    return { view: agentView(written), version: written.version };
  });
}

async function remove(parts: AgentParts, caller: Caller, id: ActorId): Promise<void> {
  const { gate, store, clock, signIns, changes } = parts;
  const act = agentAct('agent.remove', await known(parts, caller, id, 'agent.remove'));
  await gate.contain(caller, act, async () => {
    if (!(await store.identity.agents.remove(id, clock.now()))) throw absent('agent');
    await signIns.endAllOf(id, 'removed', null);
    await changes.look();
  });
}

/** What this process keeps of the agent is dropped when it resolves. */
async function write(
  { store, changes }: AgentParts,
  id: ActorId,
  change: Parameters<Store['identity']['agents']['update']>[1],
  version: number | null,
): Promise<AgentRecord> {
  const written = await store.identity.agents.update(id, change, version);
  if (written.outcome === 'absent') throw absent('agent');
  if (written.outcome !== 'written')
    throw new Fault('precondition.failed', { detail: 'The agent changed since it was read. Read it again.' });
  await changes.look();
  return written.record;
}

/** An agent is its maker's; somebody else's by whoever reaches everybody, and only somebody's who exists. */
async function refuseForeignOwner(
  { gate, store }: AgentParts,
  caller: Caller,
  act: Act,
  owner: string | undefined,
): Promise<void> {
  if (owner === undefined || owner === caller.actor.id) return;
  if (caller.actor.reach !== 'all')
    throw await gate.refuse(caller, act, {
      rule: 'owner:foreign',
      detail: 'An agent of another owner needs a reach of all.',
    });
  const user = await store.identity.users.get(actorName(owner as ActorId));
  if (user === null) throw new Fault('request.invalid', { detail: `There is no ${owner}.` });
}

async function requireAgentRole({ store }: AgentParts, role: string): Promise<void> {
  const forPeople = Object.hasOwn(roles, role) && !(agentRoles as readonly string[]).includes(role);
  if (forPeople)
    throw new Fault('request.invalid', {
      detail: `The role ${role} is for people. Agents have one of ${agentRoles.join(', ')}, or a role that you make.`,
    });
  await knownRoles(store, [role]);
}
