import type { ControlGroups } from './control-groups.ts';
import { readGroupMounts } from './mounts.ts';
import { openControlGroupsV1 } from './v1.ts';
import { openControlGroupsV2 } from './v2.ts';

/** The control groups that this process may use, version 2 first; null where neither can be had. */
export function openControlGroups(instance: string): ControlGroups | null {
  const mounts = readGroupMounts();
  return openControlGroupsV2(mounts, instance) ?? openControlGroupsV1(mounts, instance);
}
