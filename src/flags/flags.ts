import { randomUUID } from 'node:crypto';
import { type Client, NOOP_PROVIDER, OpenFeature } from '@openfeature/server-sdk';
import { Fault } from '../contract/faults.ts';
import type { FlagSource } from '../contract/flags-schemas.ts';
import type { FlagName, FlagRule, FlagSubject } from '../model/flags.ts';
import type { FlagStore } from '../store/identity-store.ts';
import { FlagRules, type FlagState } from './flag-rules.ts';
import type { FlagsPlace } from './flags-file.ts';
import { flagsLimits } from './limits.ts';
import { contextOf, FlagsProvider } from './provider.ts';

/** What a flag says to one actor. `by` is as in `FlagDecision`, or `problem` where it is off because of one. */
export type FlagReply = {
  readonly on: boolean;
  readonly by: string;
  readonly rule: FlagRule;
  readonly source: FlagSource;
  readonly problem: string | null;
};

/** Whether features are on, asked through OpenFeature, so that another provider can take the place of ours. */
export type Flags = {
  /** Never rejects: whatever goes wrong is off. */
  isOn(name: FlagName, subject: FlagSubject): Promise<boolean>;
  /** Throws Fault `feature.off` where it is. */
  demand(name: FlagName, subject: FlagSubject): Promise<void>;
  /** The same as `isOn`, with what made it. */
  explain(name: FlagName, subject: FlagSubject): Promise<FlagReply>;
  of(name: FlagName): FlagState;
  list(): readonly FlagState[];
  /** What is wrong with the file or with what was set; empty where nothing is. */
  problems(): readonly string[];
  /** Looks at the file and the store now: after a change of the store has been told of. Never rejects. */
  look(): Promise<void>;
  close(): Promise<void>;
};

export type FlagsOptions = {
  readonly store: Pick<FlagStore, 'list'>;
  readonly place: FlagsPlace;
  /** What is wrong from now on, for the log; empty where it was mended. */
  readonly onProblems: (problems: readonly string[]) => void;
  readonly lookEveryMs?: number;
};

/** Resolves once file and store have been read. What is wrong with them makes flags off, never a server that does not start. */
export async function openFlags(options: FlagsOptions): Promise<Flags> {
  const { store, place, onProblems, lookEveryMs = flagsLimits.lookEveryMs } = options;
  const rules = new FlagRules({ store, place, onProblems, onChange: (names) => provider.changed(names) });
  const provider = new FlagsProvider(rules);
  await rules.look();
  // A domain of its own: OpenFeature is one for the whole process.
  const domain = `sealwright-${randomUUID()}`;
  await OpenFeature.setProviderAndWait(domain, provider);
  const timer = setInterval(() => void rules.look(), lookEveryMs).unref();
  return {
    ...asking(OpenFeature.getClient(domain), rules),
    of: (name) => rules.of(name),
    list: () => rules.all(),
    problems: () => rules.problems(),
    look: () => rules.look(),
    close: async () => {
      clearInterval(timer);
      // A look that is under way still uses the store.
      await rules.look();
      await OpenFeature.setProviderAndWait(domain, NOOP_PROVIDER);
    },
  };
}

function asking(client: Client, rules: FlagRules): Pick<Flags, 'isOn' | 'demand' | 'explain'> {
  const isOn: Flags['isOn'] = (name, subject) => client.getBooleanValue(name, false, contextOf(subject));
  return {
    isOn,
    demand: async (name, subject) => {
      if (await isOn(name, subject)) return;
      throw new Fault('feature.off', {
        detail: `The feature ${name} is off for ${subject.id}. An administrator opens it: sealwright flags set ${name}`,
        extra: { flag: name },
      });
    },
    explain: async (name, subject) => {
      const { value, variant } = await client.getBooleanDetails(name, false, contextOf(subject));
      const { rule, source, problem } = rules.of(name);
      return { on: value, by: variant ?? 'problem', rule, source, problem };
    },
  };
}
