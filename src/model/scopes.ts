import type { Reach } from './actor.ts';

/** Every scope there is (DESIGN §5). Scopes match exactly, as members of a set: no prefixes, no hierarchy. */
export const scopes = [
  'session:read',
  'session:write',
  'run:read',
  'run:write',
  'control:write',
  'policy:read',
  'policy:write',
  'secret:read',
  'secret:write',
  'audit:read',
  'identity:read',
  'identity:write',
  'cluster:read',
  'flag:write',
  'incident:write',
  'read:memory',
  'write:memory',
  'publish:content',
  'manage:campaign',
  'execute:task',
] as const;

/** `*` stands for every scope; only the bootstrap token holds it. */
export type Scope = (typeof scopes)[number] | '*';
export type GrantableScope = (typeof scopes)[number];

/** Of what agents do among themselves: no person holds them, and whoever may make an agent may give them. */
export const agentScopes: ReadonlySet<GrantableScope> = new Set([
  'read:memory',
  'write:memory',
  'publish:content',
  'manage:campaign',
  'execute:task',
]);

/** The roles that ship with the product; administrators add their own. Scopes of each, and below how far they reach. */
export const roles = {
  admin: scopes.filter((scope) => !agentScopes.has(scope)),
  operator: [
    'session:read',
    'session:write',
    'run:read',
    'run:write',
    'control:write',
    'policy:read',
    'secret:read',
    'audit:read',
    'cluster:read',
    'incident:write',
  ],
  developer: ['session:read', 'session:write', 'run:read', 'run:write', 'policy:read'],
  auditor: ['session:read', 'run:read', 'policy:read', 'audit:read', 'identity:read', 'cluster:read'],
  agent: ['execute:task'],
  planner: ['read:memory', 'write:memory', 'manage:campaign'],
  worker: ['execute:task'],
  judge: ['read:memory', 'publish:content'],
} as const satisfies Record<string, readonly GrantableScope[]>;

export type Role = keyof typeof roles;

/** Those for agents and services; the others are for people. */
export const agentRoles = ['agent', 'planner', 'worker', 'judge'] as const satisfies readonly Role[];

export const roleReach = {
  admin: 'all',
  operator: 'all',
  developer: 'team',
  auditor: 'all',
  agent: 'own',
  planner: 'own',
  worker: 'own',
  judge: 'own',
} as const satisfies Record<Role, Reach>;

/** Scopes match exactly, as set members; only `*` stands for others. */
export function holds(held: ReadonlySet<Scope>, needed: GrantableScope): boolean {
  return held.has('*') || held.has(needed);
}

/** Whether `granted` asks for nothing that `held` lacks: nobody can hand out more than they have. */
export function within(held: ReadonlySet<Scope>, granted: Iterable<GrantableScope>): boolean {
  for (const scope of granted) if (!holds(held, scope)) return false;
  return true;
}
