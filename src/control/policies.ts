import { hash } from 'node:crypto';
import { canonicalJson, type JsonValue } from '../base/canonical-json.ts';
import type { Clock } from '../base/clock.ts';
import { absent, Fault } from '../contract/faults.ts';
import { formatDocument, type PolicyDocument } from '../contract/policy.ts';
import type { PolicySummaryView, PolicyView, PresetView } from '../contract/schemas.ts';
import type { EgressRule } from '../model/egress.ts';
import { egressPresets, type PresetName, presetNames } from '../model/egress-presets.ts';
import type { Listed, PolicyRecord, PolicySummary, Store } from '../store/store.ts';
import type { Caller, Control, Page, Versioned } from './control.ts';
import type { EgressOrders } from './egress-orders.ts';
import type { EgressPolicies } from './egress-policies.ts';
import { requireUnkept, unenforceable } from './egress-requests.ts';
import type { EgressSimulations } from './egress-simulations.ts';
import type { Act, Gate } from './gate.ts';
import { positionCursor, shownOf, storePosition } from './paging.ts';
import { admitChange, admitReading, isAbsent, maySeePolicy, policyAct } from './policy-access.ts';
import { noTeam, requireMember, withinOf } from './team-access.ts';
import { policySummaryView, policyView } from './views.ts';

export type PolicyParts = {
  readonly store: Store;
  readonly egressPolicies: EgressPolicies;
  readonly gate: Gate;
  readonly clock: Clock;
  readonly egressOrders: EgressOrders;
  readonly simulations: EgressSimulations;
};

export function policyUseCases(parts: PolicyParts): Control['policies'] {
  const { gate } = parts;
  return {
    put: (caller, name, request, ifMatch) => put(parts, caller, name, request, ifMatch),
    get: (caller, name, generation) => get(parts, caller, name, generation),
    list: (caller, query) => list(parts, caller, query),
    remove: (caller, name) => remove(parts, caller, name),
    history: (caller, name, query) => history(parts, caller, name, query),
    presets: async (caller) => {
      await gate.read(caller, policyAct('policy.list'));
      return presetNames.map((name) => presetView(name, parts.egressPolicies.presets(name)));
    },
    simulate: (caller, request, signal) => parts.simulations.simulate(caller, request, signal),
  };
}

function presetView(name: PresetName, rules: readonly EgressRule[]): PresetView {
  const shown = rules.map(({ target, ports, protocol }) => ({ ...target, ports: [...ports], protocol }));
  return { name, source: egressPresets[name].source, rules: shown };
}

/** Stored in its one form, so that equal policies are equal documents. */
async function put(
  { store, gate, clock, egressPolicies, egressOrders }: PolicyParts,
  ...[caller, name, request, ifMatch]: Parameters<Control['policies']['put']>
): Promise<Versioned<PolicyView>> {
  const { reason = null, team } = request;
  const asked = await admitPut(gate, caller, { name, policy: await store.policies.newest(name) }, ifMatch);
  await requireUnkept(gate, caller, asked);
  requireMember(caller, team);
  const compiled = egressPolicies.rulesOf(name, request.document);
  if ('problems' in compiled) throw unenforceable('/document', compiled.problems);
  const document = formatDocument(request.document);
  const act: Act = {
    ...asked,
    data: {
      ...{ reason, current: ifMatch, rules: document.rules.length, sha256: digestOf(document) },
      ...(team === undefined ? {} : { team }),
    },
  };
  return await gate.act(caller, act, async () => {
    const policy = { name, document, team, author: caller.actor.id, reason, createdAt: clock.now() };
    const written = await store.policies.put(policy, ifMatch);
    if (written.outcome === 'stale') throw stale(ifMatch);
    if (written.outcome === 'team') throw noTeam(team);
    egressOrders.changed(written.affected);
    return policyView(written.record);
  });
}

/** Names are everybody's, so whoever puts a policy under one that it may not see learns that it is in use. */
async function admitPut(
  gate: Gate,
  caller: Caller,
  named: { readonly name: string; readonly policy: PolicyRecord | null },
  ifMatch: number | null,
): Promise<Act> {
  try {
    return await admitChange(gate, caller, 'policy.put', named);
  } catch (error) {
    if (!isAbsent(error)) throw error;
    if (ifMatch !== null) throw stale(ifMatch);
    throw new Fault('state.conflict', { detail: `The name ${named.name} is in use. Choose another.` });
  }
}

/** What the log holds of a document: the store keeps every generation, and this tells whether it still is that one. */
function digestOf(document: PolicyDocument): string {
  return hash('sha256', canonicalJson(JSON.parse(JSON.stringify(document)) as JsonValue), 'hex');
}

function stale(ifMatch: number | null): Fault {
  if (ifMatch === null)
    return new Fault('precondition.required', {
      detail:
        'The policy exists. Send If-Match with the ETag that you read, so that nobody else’s change is lost.',
    });
  return new Fault('precondition.failed', {
    detail: 'The policy changed since it was read. Read it again.',
  });
}

async function get(
  { store, gate }: PolicyParts,
  ...[caller, name, generation]: Parameters<Control['policies']['get']>
): Promise<Versioned<PolicyView>> {
  const { policies } = store;
  const newest = await policies.newest(name);
  const isThere = generation !== undefined || (newest !== null && newest.document !== null);
  const policy = await admitReading(gate, caller, name, isThere ? newest : null);
  const record = generation === undefined ? policy : await policies.getGeneration(name, generation);
  if (record === null || record.document === null) throw absent('policy');
  return policyView({ ...record, document: record.document });
}

async function list(
  { store, gate }: PolicyParts,
  ...[caller, query]: Parameters<Control['policies']['list']>
): Promise<Page<PolicySummaryView>> {
  await gate.read(caller, policyAct('policy.list'));
  const { after, limit } = storePosition(query);
  const within = withinOf(caller.actor);
  const listed = await store.policies.list({ within }, { after: after?.[1] ?? null, limit });
  return pageOf(listed, await shownOf(listed.records, (policy) => maySeePolicy(gate, caller, policy)));
}

async function history(
  { store, gate }: PolicyParts,
  ...[caller, name, query]: Parameters<Control['policies']['history']>
): Promise<Page<PolicySummaryView>> {
  await admitReading(gate, caller, name, await store.policies.newest(name));
  const { after, limit } = storePosition(query);
  return pageOf(await store.policies.history(name, { before: after?.[0] ?? null, limit }));
}

function pageOf(
  { records, more }: Listed<PolicySummary>,
  shown: readonly PolicySummary[] = records,
): Page<PolicySummaryView> {
  const last = records.at(-1);
  const position = last === undefined ? undefined : ([last.generation, last.name] as const);
  return { items: shown.map(policySummaryView), nextCursor: positionCursor(more, position) };
}

/** Takes rights away, so it happens even where nothing can be recorded. */
async function remove(
  { store, gate, clock, egressOrders }: PolicyParts,
  caller: Caller,
  name: string,
): Promise<void> {
  const newest = await store.policies.newest(name);
  const policy = newest === null || newest.document === null ? null : newest;
  const act = await admitChange(gate, caller, 'policy.remove', { name, policy });
  await gate.contain(caller, act, async () => {
    const policy = { name, author: caller.actor.id, reason: null, createdAt: clock.now() };
    const removed = await store.policies.remove(policy);
    if (removed.outcome === 'absent') throw absent('policy');
    egressOrders.changed(removed.affected);
  });
}
