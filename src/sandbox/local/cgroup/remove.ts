import { localLimits } from '../limits.ts';
import type { ControlGroup } from './control-groups.ts';

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
