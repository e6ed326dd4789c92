import type { Control } from '../control.ts';
import { agentCredentialUseCases } from './agent-credentials.ts';
import { type AgentParts, agentUseCases } from './agents.ts';
import { authorityUseCases } from './authority.ts';

/** Everything about agents and services, and what they prove themselves with. */
export function machineUseCases(
  parts: AgentParts,
): Pick<Control, 'agents' | 'agentCredentials' | 'authority'> {
  return {
    agents: agentUseCases(parts),
    agentCredentials: agentCredentialUseCases(parts),
    authority: authorityUseCases(parts),
  };
}
