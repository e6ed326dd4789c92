import type { Clock } from '../../base/clock.ts';
import { absent, Fault } from '../../contract/faults.ts';
import type { FlagExplanation, FlagView } from '../../contract/flags-schemas.ts';
import type { FlagState } from '../../flags/flag-rules.ts';
import type { Flags } from '../../flags/flags.ts';
import type { Principals } from '../../identity/principals.ts';
import type { ActionName } from '../../model/actions.ts';
import { parseActorId } from '../../model/actor.ts';
import { type FlagName, type FlagSubject, parseFlagName } from '../../model/flags.ts';
import type { FlagStore } from '../../store/identity-store.ts';
import type { Control, Versioned } from '../control.ts';
import type { Act, Gate } from '../gate.ts';

export type FlagParts = {
  readonly flags: Flags;
  readonly flagStore: FlagStore;
  readonly principals: Pick<Principals, 'of'>;
  readonly gate: Gate;
  readonly clock: Clock;
};

export function flagUseCases(parts: FlagParts): Control['flags'] {
  const { flags, gate } = parts;
  return {
    list: async (caller) => {
      await gate.read(caller, flagAct('flag.list'));
      return { items: flags.list().map(flagView), problems: [...flags.problems()] };
    },
    get: async (caller, name) => {
      await gate.read(caller, flagAct('flag.list', name));
      return versioned(flags, known(name));
    },
    put: (caller, name, request, ifMatch) => put(parts, caller, name, request, ifMatch),
    remove: async (caller, name) => {
      // Takes away what was opened, so it happens even where nothing can be recorded.
      await gate.contain(caller, flagAct('flag.remove', name), async () => {
        if (!(await parts.flagStore.remove(name))) throw absent('flag');
        await flags.look();
      });
    },
    explain: (caller, name, actor) => explain(parts, caller, name, actor),
  };
}

function flagAct(action: ActionName, name?: string): Act {
  return { action, resource: { kind: 'flag', ...(name === undefined ? {} : { id: name }) } };
}

function known(name: string): FlagName {
  const parsed = parseFlagName(name);
  if (parsed === null) throw absent('flag');
  return parsed;
}

async function put(
  { flags, flagStore, gate, clock }: FlagParts,
  ...[caller, name, { rule }, ifMatch]: Parameters<Control['flags']['put']>
): Promise<Versioned<FlagView>> {
  const asked = flagAct('flag.put', name);
  await gate.read(caller, asked);
  const flag = known(name);
  const act: Act = { ...asked, data: { rule, current: ifMatch } };
  const effect = async () => {
    const record = {
      name: flag,
      rule: JSON.stringify(rule),
      author: caller.actor.id,
      changedAt: clock.now(),
    };
    // Version 0 is what a flag has that nobody set.
    const written = await flagStore.put(record, ifMatch === 0 ? null : ifMatch);
    if (written.outcome !== 'written') throw stale(ifMatch);
    await flags.look();
    return versioned(flags, flag);
  };
  return await (rule === 'off' ? gate.contain(caller, act, effect) : gate.act(caller, act, effect));
}

function stale(ifMatch: number | null): Fault {
  if (ifMatch === null)
    return new Fault('precondition.required', {
      detail:
        'The flag is set. Send If-Match with the ETag that you read, so that nobody else’s change is lost.',
    });
  return new Fault('precondition.failed', { detail: 'The flag changed since it was read. Read it again.' });
}

async function explain(
  { flags, principals, gate }: FlagParts,
  ...[caller, name, actor]: Parameters<Control['flags']['explain']>
): Promise<FlagExplanation> {
  await gate.read(caller, flagAct('flag.explain', name));
  const flag = known(name);
  const id = parseActorId(actor);
  if (id === null)
    throw new Fault('request.invalid', {
      detail: 'actor is not user:<name>, agent:<name> or service:<name> in lower case.',
    });
  const principal = await principals.of(id);
  const subject: FlagSubject =
    typeof principal === 'string'
      ? { id }
      : { id, role: (principal.elevated ?? principal).role, teams: principal.teams };
  const { on, by, rule, source, problem } = await flags.explain(flag, subject);
  return { name, actor, on, by, rule, source, problem };
}

function versioned(flags: Flags, name: FlagName): Versioned<FlagView> {
  const state = flags.of(name);
  return { view: flagView(state), version: state.set?.version ?? 0 };
}

function flagView({ name, opens, since, rule, source, set, problem }: FlagState): FlagView {
  const shown =
    set === null
      ? null
      : {
          rule: set.rule,
          author: set.author,
          changedAt: new Date(set.changedAt).toISOString(),
        };
  return { name, opens, since, rule, source, set: shown, problem };
}
