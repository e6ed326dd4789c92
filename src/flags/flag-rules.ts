import { type FlagProblem, type FlagSource, parseFlagRule } from '../contract/flags-schemas.ts';
import type { ActorId } from '../model/actor.ts';
import { type FlagName, type FlagRule, flagNames, flagTable, parseFlagName } from '../model/flags.ts';
import type { FlagRecord, FlagStore } from '../store/identity-store.ts';
import { type FlagsFile, type FlagsPlace, readFlagsFile } from './flags-file.ts';
import { flagsLimits } from './limits.ts';

/** What the API set; a rule of null is one that this version does not understand. */
export type SetFlag = {
  readonly rule: FlagRule | null;
  readonly author: ActorId;
  readonly changedAt: number;
  readonly version: number;
};

/** One flag as it holds. `opens` and `since` are null for a name that was set once and that no feature has any more. */
export type FlagState = {
  readonly name: string;
  readonly opens: string | null;
  readonly since: string | null;
  readonly rule: FlagRule;
  readonly source: FlagSource;
  readonly set: SetFlag | null;
  /** Why it is off whatever was said. */
  readonly problem: string | null;
};

export type FlagRulesOptions = {
  readonly store: Pick<FlagStore, 'list'>;
  readonly place: FlagsPlace;
  /** What changed of what holds, by the names of the flags. */
  readonly onChange: (names: readonly string[]) => void;
  /** What is wrong now, where that changed; empty where it was mended. */
  readonly onProblems: (problems: readonly string[]) => void;
};

/**
 * What holds for every flag, from the file and from the store. The file wins over the store; where neither says
 * anything a flag is off; and it is off where either says something that cannot be understood or read.
 */
export class FlagRules {
  readonly #options: FlagRulesOptions;
  #file: FlagsFile = { state: 'absent' };
  #set: ReadonlyMap<string, SetFlag> = new Map();
  #storeReadable = true;
  #problems: readonly string[] = [];
  #looking: Promise<void> = Promise.resolve();

  constructor(options: FlagRulesOptions) {
    this.#options = options;
  }

  /** Reads both again: what was there when it was called holds when it resolves. Never rejects. */
  look(): Promise<void> {
    // One after the other, so that an older answer never replaces a newer one.
    this.#looking = this.#looking.then(() => this.#look());
    return this.#looking;
  }

  of(name: FlagName): FlagState {
    const set = this.#set.get(name) ?? null;
    return { name, ...flagTable[name], set, ...this.#holding(name, set) };
  }

  /** Every flag there is, and what else was set over the API. */
  all(): readonly FlagState[] {
    const left = [...this.#set.keys()].filter((name) => parseFlagName(name) === null).sort();
    return [...flagNames.map((name) => this.of(name)), ...left.map((name) => this.#leftOver(name))];
  }

  /** What is wrong, for operators; without paths of the host. */
  problems(): readonly string[] {
    return this.#problems;
  }

  #holding(name: FlagName, set: SetFlag | null): Pick<FlagState, 'rule' | 'source' | 'problem'> {
    const off = (source: FlagSource, problem: string | null) => ({ rule: 'off', source, problem }) as const;
    if (this.#file.state === 'broken') return off('file', 'the flags file cannot be used');
    const said = this.#file.state === 'read' ? this.#file.rules.get(name) : undefined;
    if (said !== undefined) return { rule: said, source: 'file', problem: null };
    if (!this.#storeReadable) return off('api', 'the store cannot be read');
    if (set === null) return off('default', null);
    if (set.rule === null) return off('api', 'the rule that was set is not understood by this version');
    return { rule: set.rule, source: 'api', problem: null };
  }

  #leftOver(name: string): FlagState {
    const set = this.#set.get(name) ?? null;
    const problem = 'no feature has this flag in this version';
    return { name, opens: null, since: null, rule: 'off', source: 'default', set, problem };
  }

  async #look(): Promise<void> {
    const { store, place, onChange, onProblems } = this.#options;
    const before = this.#fingerprints();
    const [file, records] = await Promise.all([readFlagsFile(place), store.list().catch(() => null)]);
    this.#file = file;
    this.#storeReadable = records !== null;
    if (records !== null) this.#set = new Map(records.map((record) => [record.name, setFlag(record)]));
    const after = this.#fingerprints();
    const names = new Set([...before.keys(), ...after.keys()]);
    const changed = [...names].filter((name) => before.get(name) !== after.get(name));
    const problems = this.#findProblems();
    const isNew = problems.join('\n') !== this.#problems.join('\n');
    this.#problems = problems;
    if (changed.length > 0) onChange(changed);
    if (isNew) onProblems(problems);
  }

  #fingerprints(): ReadonlyMap<string, string> {
    return new Map(this.all().map((state) => [state.name, JSON.stringify(state)]));
  }

  #findProblems(): readonly string[] {
    const file = this.#file.state === 'broken' ? this.#file.problems.map(fileProblem) : [];
    const store = this.#storeReadable ? [] : ['the flags in the store cannot be read: those are off'];
    const set = this.all()
      .filter(({ opens, set }) => set !== null && (opens === null || set.rule === null))
      .map(({ name, opens }) =>
        opens === null
          ? `${name}: no feature has this flag in this version, and it was set over the API`
          : `${name}: the rule that was set over the API is not understood by this version: it is off`,
      );
    return [...file.slice(0, flagsLimits.problemsShown), ...store, ...set];
  }
}

function fileProblem({ path, message }: FlagProblem): string {
  return `the flags file${path === '' ? '' : `: ${path}`} ${message}: every flag is off`;
}

function setFlag({ rule, author, changedAt, version }: FlagRecord): SetFlag {
  return { rule: ruleOf(rule), author, changedAt, version };
}

function ruleOf(text: string): FlagRule | null {
  try {
    const parsed = parseFlagRule(JSON.parse(text));
    return 'rule' in parsed ? parsed.rule : null;
  } catch {
    return null;
  }
}
