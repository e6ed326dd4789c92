import type { Control } from '../control.ts';
import { type ExplainParts, explainAccess } from './access-explain.ts';
import { accessPolicyUseCases } from './access-policies.ts';
import { type ElevationParts, elevationUseCases } from './elevations.ts';
import { type RoleParts, roleUseCases } from './roles.ts';
import { teamUseCases } from './teams.ts';

export type RightsParts = RoleParts & ElevationParts & ExplainParts;

/** Who has which rights, for how long, and why. */
export function rightsUseCases(
  parts: RightsParts,
): Pick<Control, 'roles' | 'teams' | 'accessPolicies' | 'elevations' | 'explainAccess'> {
  const { teams, accessPolicies } = parts.store.identity;
  return {
    roles: roleUseCases(parts),
    teams: teamUseCases({ ...parts, teamStore: teams }),
    accessPolicies: accessPolicyUseCases({ ...parts, accessPolicyStore: accessPolicies }),
    elevations: elevationUseCases(parts),
    explainAccess: (caller, request) => explainAccess(parts, caller, request),
  };
}
