import { readdirSync, rmdirSync } from 'node:fs';
import { join } from 'node:path';
import { localLimits } from '../limits.ts';
import type { ControlGroup } from './control-groups.ts';
import { killMembers } from './mounts.ts';

/** Removes a group whose processes are gone, or a moment from it when the last one anybody waits for has exited. */
export async function removeWhenEmpty(group: ControlGroup): Promise<void> {
  let waitMs: number = localLimits.removeRetryMs;
  for (let attempt = 1; ; attempt += 1) {
    try {
      return group.remove();
    } catch (error) {
      if (attempt === localLimits.removeAttempts) throw error;
      await new Promise((resolve) => setTimeout(resolve, waitMs));
      waitMs *= 2;
    }
  }
}

/** Kills and removes the groups below a folder, as an earlier process left them. */
export function removeLeftovers(folder: string): void {
  for (const entry of readdirSync(folder, { withFileTypes: true }))
    if (entry.isDirectory()) removeLeftover(join(folder, entry.name));
}

/** One whose last process is still dying stays, for the next time. */
export function removeLeftover(folder: string): void {
  killMembers(folder);
  try {
    rmdirSync(folder);
  } catch {
    // It is tried again at the end and at the next start.
  }
}
