import { ApiError } from '../client/api-error.ts';
import type { ElevationView, RoleView, TeamView } from '../contract/access-schemas.ts';
import type { Api } from './api.ts';

const createdAt = '2026-01-02T03:04:05.678Z';

/** Roles, teams, access policies and elevations that remember what they were asked, in words of `calls`. */
export function testAccessApi(
  calls: string[],
): Pick<Api, 'roles' | 'teams' | 'accessPolicies' | 'elevations'> {
  const called = (name: string, ...parts: unknown[]) => {
    const words = parts.map((part) => (typeof part === 'string' ? part : JSON.stringify(part)));
    calls.push([name, ...words].join(' '));
  };
  return {
    roles: testRoles(called),
    teams: testTeams(called),
    accessPolicies: testPolicies(called),
    elevations: testElevations(called),
  };
}

type Called = (name: string, ...parts: unknown[]) => void;

function absent(): ApiError {
  return new ApiError({
    status: 404,
    code: 'resource.absent',
    detail: 'No such thing, or you may not see it.',
  });
}

function testRoles(called: Called): Api['roles'] {
  const admin: RoleView = {
    name: 'admin',
    description: null,
    scopes: ['identity:read'],
    reach: 'all',
    shipped: true,
    createdAt: null,
  };
  return {
    list: async () => ({ items: [admin], nextCursor: null }),
    get: async (name) => ({ ...admin, name }),
    put: async (name, request) => {
      called('roles.put', name, request);
      const { description = null } = request;
      return { ...request, name, shipped: false, createdAt, description };
    },
    remove: async (name) => called('roles.remove', name),
  };
}

function testTeams(called: Called): Api['teams'] {
  const teams = new Map<string, TeamView>();
  const known = (name: string) => {
    const team = teams.get(name);
    if (team === undefined) throw absent();
    return team;
  };
  const kept = (team: TeamView) => {
    teams.set(team.name, team);
    return team;
  };
  return {
    list: async () => ({ items: [...teams.values()], nextCursor: null }),
    get: async (name) => known(name),
    put: async (name, request) => {
      called('teams.put', name, request);
      const { description = null } = request;
      return kept({ ...request, name, createdAt, description });
    },
    addMember: async (name, actor) => {
      called('teams.addMember', name, actor);
      return kept({ ...known(name), members: [...known(name).members, actor] });
    },
    removeMember: async (name, actor) => {
      called('teams.removeMember', name, actor);
      return kept({ ...known(name), members: known(name).members.filter((other) => other !== actor) });
    },
    remove: async (name) => called('teams.remove', name),
  };
}

function testPolicies(called: Called): Api['accessPolicies'] {
  const summary = {
    name: 'office',
    generation: 2,
    removed: false,
    author: 'user:t',
    reason: null,
    createdAt,
  };
  const text = 'forbid (principal, action, resource);\n';
  return {
    list: async () => ({ items: [summary], nextCursor: null }),
    get: async (name) => ({ ...summary, name, text }),
    put: async (name, request) => {
      called('accessPolicies.put', name, request);
      return { ...summary, name, text: request.text };
    },
    history: async (name) => ({
      items: [
        { ...summary, name },
        { ...summary, name, generation: 1, removed: true },
      ],
      nextCursor: null,
    }),
    remove: async (name) => called('accessPolicies.remove', name),
    shipped: async () => ({ policies: 'the policies that ship\n', schema: 'the schema\n' }),
    explain: async (request) => {
      called('accessPolicies.explain', request);
      const { actor = 'user:t', action, resource } = request;
      const allow = action === 'run.read';
      return {
        actor,
        action,
        resource: { kind: 'run', id: resource ?? null },
        allow,
        rule: allow ? 'scope:run:read' : 'policy:office',
        determining: [{ id: 'policy:office', document: 'office', label: 'at \x1b[2J home' }],
        missing: allow ? [] : ['policy:office forbids it'],
      };
    },
  };
}

function testElevations(called: Called): Api['elevations'] {
  const view: ElevationView = {
    id: 'elv_01kamcq5r8v0x4m2e7hj9n3tzb',
    user: 'user:t',
    role: 'admin',
    reason: 'pager',
    seconds: 3600,
    state: 'active',
    requestedAt: createdAt,
    decidedBy: null,
    decidedAt: createdAt,
    expiresAt: '2026-01-02T04:04:05.678Z',
  };
  const moved = (verb: string, state: ElevationView['state']) => async (id: string) => {
    called(`elevations.${verb}`, id);
    return { ...view, id, state };
  };
  return {
    request: async (request) => {
      called('elevations.request', request);
      return { ...view, ...request, state: request.role === 'admin' ? 'active' : 'requested' };
    },
    list: async (query) => {
      called('elevations.list', { state: query?.state });
      return { items: [view], nextCursor: null };
    },
    listOwn: async () => ({ items: [view], nextCursor: null }),
    approve: moved('approve', 'active'),
    deny: moved('deny', 'denied'),
    end: moved('end', 'ended'),
  };
}
