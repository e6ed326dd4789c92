import type { GrantableScope } from './scopes.ts';

/** What an act may touch. */
export const resourceKinds = [
  'session',
  'run',
  'upload',
  'token',
  'policy',
  'audit',
  'cluster',
  'user',
  'account',
  'invitation',
  'team',
  'role',
  'agent',
  'elevation',
  'access-policy',
  'key',
  'flag',
] as const;
export type ResourceKind = (typeof resourceKinds)[number];

export type ActionSpec = {
  /** The scope it asks for. Null for what everybody who signed in may do with their own account. */
  readonly needs: GrantableScope | null;
  readonly on: ResourceKind;
  /** Whether a person must have proved who it is a moment ago (RFC 9470). */
  readonly stepUp?: true;
};

/**
 * Every act that is decided, by the dotted words that the record calls it: the scope it needs and what it
 * touches. Policies name actions by these words; the shipped policies and the reference are made from this table.
 */
export const actions = {
  'session.create': { needs: 'session:write', on: 'session' },
  'session.list': { needs: 'session:read', on: 'session' },
  'session.read': { needs: 'session:read', on: 'session' },
  'session.rename': { needs: 'session:write', on: 'session' },
  'session.close': { needs: 'session:write', on: 'session' },
  'run.create': { needs: 'run:write', on: 'run' },
  'run.resume': { needs: 'run:write', on: 'run' },
  'run.list': { needs: 'run:read', on: 'run' },
  'run.read': { needs: 'run:read', on: 'run' },
  'run.logs': { needs: 'run:read', on: 'run' },
  'run.artifact': { needs: 'run:read', on: 'run' },
  'run.egress': { needs: 'run:read', on: 'run' },
  'run.rename': { needs: 'run:write', on: 'run' },
  'run.remove': { needs: 'run:write', on: 'run' },
  'run.stop': { needs: 'run:write', on: 'run' },
  'run.terminals': { needs: 'run:read', on: 'run' },
  'run.recording': { needs: 'run:read', on: 'run' },
  /** A command beside the run's own, in its sandbox. */
  'run.exec': { needs: 'control:write', on: 'run' },
  /** A connection to a port inside. */
  'run.port': { needs: 'control:write', on: 'run' },
  /** Switches attaching on or off. */
  'attach.control': { needs: 'control:write', on: 'session' },
  'attach.view': { needs: 'run:read', on: 'run' },
  'attach.drive': { needs: 'control:write', on: 'run' },
  /** Egress `full`, asked for by a session or a run. */
  'egress.full': { needs: 'control:write', on: 'session' },
  'egress.simulate': { needs: 'run:read', on: 'run' },
  'upload.create': { needs: 'session:write', on: 'upload' },
  'upload.remove': { needs: 'session:write', on: 'upload' },
  'policy.list': { needs: 'policy:read', on: 'policy' },
  'policy.read': { needs: 'policy:read', on: 'policy' },
  'policy.put': { needs: 'policy:write', on: 'policy' },
  'policy.remove': { needs: 'policy:write', on: 'policy' },
  'audit.read': { needs: 'audit:read', on: 'audit' },
  'audit.sinks': { needs: 'audit:read', on: 'audit' },
  'audit.witnesses': { needs: 'audit:read', on: 'audit' },
  /** Sends to a receiver again what it refused. */
  'audit.redeliver': { needs: 'incident:write', on: 'audit' },
  'audit.export': { needs: 'audit:read', on: 'audit' },
  /** Makes the search index anew. */
  'audit.reindex': { needs: 'audit:read', on: 'audit' },
  'audit.prove': { needs: 'audit:read', on: 'audit' },
  'audit.key.rotate': { needs: 'identity:write', on: 'audit', stepUp: true },
  'metrics.read': { needs: 'cluster:read', on: 'cluster' },
  'token.list': { needs: 'identity:read', on: 'token' },
  'token.create': { needs: 'identity:write', on: 'token', stepUp: true },
  'token.rotate': { needs: 'identity:write', on: 'token', stepUp: true },
  'token.revoke': { needs: 'identity:write', on: 'token' },
  'user.list': { needs: 'identity:read', on: 'user' },
  'user.read': { needs: 'identity:read', on: 'user' },
  'user.update': { needs: 'identity:write', on: 'user', stepUp: true },
  'user.reset-mfa': { needs: 'identity:write', on: 'user', stepUp: true },
  'user.reset-password': { needs: 'identity:write', on: 'user', stepUp: true },
  'user.sign-out': { needs: 'identity:write', on: 'user' },
  'user.disable': { needs: 'identity:write', on: 'user' },
  'user.remove': { needs: 'identity:write', on: 'user', stepUp: true },
  'user.link': { needs: 'identity:write', on: 'user', stepUp: true },
  'user.unlink': { needs: 'identity:write', on: 'user' },
  'user.ticket': { needs: 'identity:write', on: 'user', stepUp: true },
  'invitation.list': { needs: 'identity:read', on: 'invitation' },
  'invitation.create': { needs: 'identity:write', on: 'invitation', stepUp: true },
  'invitation.revoke': { needs: 'identity:write', on: 'invitation' },
  'team.list': { needs: 'identity:read', on: 'team' },
  'team.read': { needs: 'identity:read', on: 'team' },
  'team.put': { needs: 'identity:write', on: 'team' },
  'team.remove': { needs: 'identity:write', on: 'team' },
  'role.list': { needs: 'identity:read', on: 'role' },
  'role.put': { needs: 'identity:write', on: 'role', stepUp: true },
  'role.remove': { needs: 'identity:write', on: 'role', stepUp: true },
  'agent.list': { needs: 'identity:read', on: 'agent' },
  'agent.read': { needs: 'identity:read', on: 'agent' },
  'agent.create': { needs: 'identity:write', on: 'agent', stepUp: true },
  'agent.update': { needs: 'identity:write', on: 'agent', stepUp: true },
  'agent.disable': { needs: 'identity:write', on: 'agent' },
  'agent.remove': { needs: 'identity:write', on: 'agent' },
  'agent.credential.create': { needs: 'identity:write', on: 'agent', stepUp: true },
  'agent.credential.revoke': { needs: 'identity:write', on: 'agent' },
  'elevation.list': { needs: 'identity:read', on: 'elevation' },
  'elevation.decide': { needs: 'identity:write', on: 'elevation', stepUp: true },
  'elevation.end': { needs: 'identity:write', on: 'elevation' },
  'access-policy.list': { needs: 'identity:read', on: 'access-policy' },
  'access-policy.read': { needs: 'identity:read', on: 'access-policy' },
  'access-policy.put': { needs: 'identity:write', on: 'access-policy', stepUp: true },
  'access-policy.remove': { needs: 'identity:write', on: 'access-policy', stepUp: true },
  'access.explain': { needs: 'identity:read', on: 'access-policy' },
  'key.list': { needs: 'identity:read', on: 'key' },
  'key.rotate': { needs: 'identity:write', on: 'key', stepUp: true },
  'flag.list': { needs: 'cluster:read', on: 'flag' },
  /** Tells something of the role and teams of whom it is asked about. */
  'flag.explain': { needs: 'identity:read', on: 'flag' },
  'flag.put': { needs: 'flag:write', on: 'flag' },
  'flag.remove': { needs: 'flag:write', on: 'flag' },
  'account.read': { needs: null, on: 'account' },
  'account.password': { needs: null, on: 'account', stepUp: true },
  'account.mfa.enroll': { needs: null, on: 'account', stepUp: true },
  'account.mfa.remove': { needs: null, on: 'account', stepUp: true },
  'account.recovery-codes': { needs: null, on: 'account', stepUp: true },
  'account.sign-in.list': { needs: null, on: 'account' },
  'account.sign-out': { needs: null, on: 'account' },
  'account.token.list': { needs: null, on: 'account' },
  'account.token.create': { needs: null, on: 'account', stepUp: true },
  'account.token.rotate': { needs: null, on: 'account', stepUp: true },
  'account.token.revoke': { needs: null, on: 'account' },
  'account.device.approve': { needs: null, on: 'account' },
  'account.program.approve': { needs: null, on: 'account' },
  'account.elevation.request': { needs: null, on: 'account', stepUp: true },
  'account.elevation.end': { needs: null, on: 'account' },
} as const satisfies Record<string, ActionSpec>;

export type ActionName = keyof typeof actions;

/** The action of this name, or null. */
export function parseAction(text: string): ActionName | null {
  return Object.hasOwn(actions, text) ? (text as ActionName) : null;
}

/** What an action asks for, as the table says. */
export function actionSpec(action: ActionName): ActionSpec {
  return actions[action];
}
