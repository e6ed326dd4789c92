import { hash } from 'node:crypto';
import type { AccessDocument } from '../../access/engine.ts';
import type { AccessProblem } from '../../access/policy-check.ts';
import { schemaText } from '../../access/schema.ts';
import type { Clock } from '../../base/clock.ts';
import type {
  AccessPolicySummaryView,
  AccessPolicyView,
  PutAccessPolicy,
  ShippedAccessView,
} from '../../contract/access-schemas.ts';
import { absent, Fault } from '../../contract/faults.ts';
import { localOwner } from '../../identity/local-owner.ts';
import type { ActionName } from '../../model/actions.ts';
import { roles, within } from '../../model/scopes.ts';
import type { AccessPolicyRecord, AccessPolicyStore } from '../../store/identity-store.ts';
import type { Caller, Page, PageRequest, Versioned } from '../control.ts';
import type { Act, Gate } from '../gate.ts';
import { positionCursor, storePosition } from '../paging.ts';
import type { AccessSet } from './access-set.ts';
import { staleOf } from './stale.ts';

/** Administrators' own `permit` and `forbid`, beside the policies that ship. */
export type AccessPolicyUseCases = {
  /** All there are, by name. */
  list(caller: Caller): Promise<readonly AccessPolicySummaryView[]>;
  get(caller: Caller, name: string, generation?: number): Promise<Versioned<AccessPolicyView>>;
  /** In force when it resolves. `ifMatch` is the generation that the caller read; null where there was none. */
  put(
    caller: Caller,
    name: string,
    request: PutAccessPolicy,
    ifMatch: number | null,
  ): Promise<Versioned<AccessPolicyView>>;
  remove(caller: Caller, name: string): Promise<void>;
  /** Newest first, of removed ones too. */
  history(caller: Caller, name: string, query: PageRequest): Promise<Page<AccessPolicySummaryView>>;
  shipped(caller: Caller): Promise<ShippedAccessView>;
};

export type AccessPolicyParts = {
  readonly access: AccessSet;
  readonly accessPolicyStore: AccessPolicyStore;
  readonly gate: Gate;
  readonly clock: Clock;
};

export function accessPolicyUseCases(parts: AccessPolicyParts): AccessPolicyUseCases {
  const { access, accessPolicyStore: store, gate } = parts;
  return {
    list: async (caller) => {
      await gate.read(caller, policyAct('access-policy.list'));
      return (await store.all()).map(summaryView);
    },
    get: (caller, name, generation) => get(parts, caller, name, generation),
    put: (caller, name, request, ifMatch) => put(parts, caller, name, request, ifMatch),
    remove: (caller, name) => remove(parts, caller, name),
    history: async (caller, name, query) => {
      await gate.read(caller, policyAct('access-policy.read', name));
      const { after, limit } = storePosition(query);
      const { records, more } = await store.history(name, { before: after?.[0] ?? null, limit });
      if (records.length === 0 && after === null) throw absent('access policy');
      const last = records.at(-1);
      const position = last === undefined ? undefined : ([last.generation, last.name] as const);
      return { items: records.map(summaryView), nextCursor: positionCursor(more, position) };
    },
    shipped: async (caller) => {
      await gate.read(caller, policyAct('access-policy.list'));
      return { policies: access.engine.shipped, schema: schemaText };
    },
  };
}

function policyAct(action: ActionName, name?: string): Act {
  return { action, resource: { kind: 'access-policy', ...(name === undefined ? {} : { id: name }) } };
}

async function get(
  { accessPolicyStore: store, gate }: AccessPolicyParts,
  ...[caller, name, generation]: Parameters<AccessPolicyUseCases['get']>
): Promise<Versioned<AccessPolicyView>> {
  await gate.read(caller, policyAct('access-policy.read', name));
  const record =
    generation === undefined ? await store.get(name) : await store.getGeneration(name, generation);
  if (record === null || record.text === null) throw absent('access policy');
  return versioned(record, record.text);
}

async function put(
  parts: AccessPolicyParts,
  ...[caller, name, request, ifMatch]: Parameters<AccessPolicyUseCases['put']>
): Promise<Versioned<AccessPolicyView>> {
  const { access, accessPolicyStore: store, gate, clock } = parts;
  const { text, reason = null } = request;
  const asked = policyAct('access-policy.put', name);
  await gate.read(caller, asked);
  await refuseLesser(gate, caller, asked);
  const checked = access.engine.check(text);
  if ('problems' in checked) throw unfit(checked.problems);
  await refuseUnusable(parts, { name, text });
  const act: Act = {
    ...asked,
    data: {
      reason,
      current: ifMatch,
      policies: checked.policies.length,
      sha256: hash('sha256', text, 'hex'),
    },
  };
  return await gate.act(caller, act, async () => {
    const policy = { name, text, author: caller.actor.id, reason, createdAt: clock.now() };
    const written = await store.put(policy, ifMatch);
    if (written.outcome === 'stale') throw staleOf('access policy', 'stale', ifMatch);
    await inForce(access);
    return versioned(written.record, text);
  });
}

/**
 * A policy permits whatever it says to whomever it names, and its removal lets in whom it kept out. So whoever may change
 * identities and holds less than an administrator, or reaches less, changes none: it would be more by its own word.
 */
async function refuseLesser(gate: Gate, caller: Caller, act: Act): Promise<void> {
  const { scopes, reach } = caller.actor;
  if (reach === 'all' && within(scopes, roles.admin)) return;
  throw await gate.refuse(caller, act, {
    rule: 'role:above',
    detail: 'Policies can permit anything, so only who holds all that the role admin holds changes them.',
  });
}

/**
 * Beside the others it must stay within the bounds, and must leave the owner of the data folder, who is known on the
 * machine's own socket alone, the means to mend whatever policies do.
 */
async function refuseUnusable(
  { access, accessPolicyStore: store }: AccessPolicyParts,
  document: AccessDocument,
): Promise<void> {
  const others = (await store.all()).filter(({ name }) => name !== document.name);
  const documents = [...others.map(({ name, text }) => ({ name, text: text ?? '' })), document];
  const trial = access.engine.trial(documents);
  if ('problems' in trial) throw unfit(trial.problems);
  for (const { name } of documents)
    for (const action of mending) {
      const { allow } = trial.decide(localOwner, action, policyAct(action, name).resource, { address: null });
      if (!allow)
        throw new Fault('request.invalid', {
          detail:
            'It would forbid the owner of the data folder, on the machine’s own socket, to mend access policies. ' +
            'Add `unless { principal.id == "system:local" }`.',
        });
    }
}

const mending = [
  'access-policy.list',
  'access-policy.read',
  'access-policy.put',
  'access-policy.remove',
] as const;

function unfit(problems: readonly AccessProblem[]): Fault {
  const shown = problems.map(({ line, column, message }) => `line ${line}, column ${column}: ${message}`);
  return new Fault('request.invalid', {
    detail: `It is not a policy that can be in force: ${shown[0]}`,
    extra: { in: 'body', errors: shown.map((message) => ({ path: '/text', message })) },
  });
}

/** Its forbids go too, so it happens only where it can be recorded. */
async function remove(
  { access, accessPolicyStore: store, gate, clock }: AccessPolicyParts,
  caller: Caller,
  name: string,
): Promise<void> {
  const act = policyAct('access-policy.remove', name);
  await gate.read(caller, act);
  await refuseLesser(gate, caller, act);
  await gate.act(caller, act, async () => {
    const removal = { name, text: null, author: caller.actor.id, reason: null, createdAt: clock.now() };
    for (;;) {
      const current = await store.get(name);
      if (current === null) throw absent('access policy');
      if ((await store.put(removal, current.generation)).outcome === 'written') break;
    }
    await inForce(access);
  });
}

/** Throws Fault `store.unavailable` where what is stored now does not decide yet: nobody is told that it does. */
async function inForce(access: AccessSet): Promise<void> {
  await access.reload();
  const { ok, detail = '' } = access.health();
  if (!ok)
    throw new Fault('store.unavailable', { detail: `The change is stored and tried again, but ${detail}.` });
}

function versioned(record: AccessPolicyRecord, text: string): Versioned<AccessPolicyView> {
  return { view: { ...summaryView(record), text }, version: record.generation };
}

function summaryView(record: AccessPolicyRecord): AccessPolicySummaryView {
  const { name, generation, text, author, reason, createdAt } = record;
  const at = new Date(createdAt).toISOString();
  return { name, generation, removed: text === null, author, reason, createdAt: at };
}
