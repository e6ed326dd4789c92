import type { ActionName, ResourceKind } from './actions.ts';

/** The act of looking at one thing of a kind; whoever may do it may learn that the thing is there. */
export const readingOf: Readonly<Partial<Record<ResourceKind, ActionName>>> = {
  session: 'session.read',
  run: 'run.read',
  policy: 'policy.read',
  token: 'token.list',
  user: 'user.read',
  invitation: 'invitation.list',
  team: 'team.read',
  role: 'role.list',
  agent: 'agent.read',
  elevation: 'elevation.list',
  'access-policy': 'access-policy.read',
  key: 'key.list',
  flag: 'flag.list',
  audit: 'audit.read',
  cluster: 'metrics.read',
};
