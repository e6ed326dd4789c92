import type { Logger } from '../control/logger.ts';
import { type Flags, openFlags } from '../flags/flags.ts';
import type { ChangeFeed } from '../identity/change-feed.ts';
import type { FlagStore } from '../store/identity-store.ts';

export type FeatureFlagsOptions = {
  readonly store: FlagStore;
  readonly changes: ChangeFeed;
  /** Null for flags.yaml or flags.json in the data folder. */
  readonly flagsFile: string | null;
  readonly homeFolder: string;
  readonly logger: Logger;
};

/** The flags of this process; they follow what other processes on the same store set. */
export async function openFeatureFlags(options: FeatureFlagsOptions): Promise<Flags> {
  const { store, changes, flagsFile, homeFolder, logger } = options;
  const flags = await openFlags({
    store,
    place: flagsFile === null ? { folder: homeFolder } : { path: flagsFile },
    onProblems: (problems) => {
      if (problems.length > 0) logger.warn({ problems }, 'feature flags are off because something is wrong');
      else logger.info({}, 'nothing is wrong with feature flags any more');
    },
  });
  changes.on(({ kind }) => {
    if (kind === 'flag') void flags.look();
  });
  return flags;
}
