import type { Actor } from '../model/actor.ts';
import { roles, type Scope } from '../model/scopes.ts';

/**
 * The owner of the data folder, proved by the kernel on the machine's own socket. Administers, but is not the
 * bootstrap token: it cannot hand out what an administrator does not hold.
 */
export const localOwner: Actor = {
  id: 'system:local',
  scopes: new Set<Scope>(roles.admin),
  reach: 'all',
};
