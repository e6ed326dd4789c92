import type {
  AccessExplanationView,
  AccessPolicySummaryView,
  AccessPolicyView,
  ElevationView,
  ExplainAccess,
  PutAccessPolicy,
  PutRole,
  PutTeam,
  RequestElevation,
  RoleView,
  ShippedAccessView,
  TeamView,
} from '../contract/access-schemas.ts';
import type { Page, Query } from './client.ts';
import type { Connection } from './connection.ts';
import { part, putVersion, queryText } from './requests.ts';

/** Who has which rights, for how long, and why. */
export type AccessCalls = {
  readonly roles: {
    list(): Promise<Page<RoleView>>;
    get(name: string): Promise<RoleView>;
    /** Made or replaced, whatever it was before: a change by others meanwhile is read again. */
    put(name: string, request: PutRole): Promise<RoleView>;
    remove(name: string): Promise<void>;
  };
  readonly teams: {
    list(query?: Query): Promise<Page<TeamView>>;
    get(name: string): Promise<TeamView>;
    put(name: string, request: PutTeam): Promise<TeamView>;
    addMember(name: string, actor: string): Promise<TeamView>;
    removeMember(name: string, actor: string): Promise<TeamView>;
    remove(name: string): Promise<void>;
  };
  readonly accessPolicies: {
    list(): Promise<Page<AccessPolicySummaryView>>;
    get(name: string, query?: Query): Promise<AccessPolicyView>;
    put(name: string, request: PutAccessPolicy): Promise<AccessPolicyView>;
    history(name: string, query?: Query): Promise<Page<AccessPolicySummaryView>>;
    remove(name: string): Promise<void>;
    shipped(): Promise<ShippedAccessView>;
    explain(request: ExplainAccess): Promise<AccessExplanationView>;
  };
  readonly elevations: {
    request(request: RequestElevation): Promise<ElevationView>;
    list(query?: Query): Promise<Page<ElevationView>>;
    /** The caller's own. */
    listOwn(query?: Query): Promise<Page<ElevationView>>;
    approve(id: string): Promise<ElevationView>;
    deny(id: string): Promise<ElevationView>;
    end(id: string): Promise<ElevationView>;
  };
};

export function accessCalls(connection: Connection): AccessCalls {
  return {
    roles: roleCalls(connection),
    teams: teamCalls(connection),
    accessPolicies: policyCalls(connection),
    elevations: elevationCalls(connection),
  };
}

function roleCalls(connection: Connection): AccessCalls['roles'] {
  const path = '/api/v1/roles';
  const of = (name: string) => `${path}/${part(name)}`;
  return {
    list: () => connection.json('GET', path),
    get: async (name) => connection.json('GET', of(name)),
    put: async (name, request) => putVersion(connection, of(name), request),
    remove: async (name) => connection.empty('DELETE', of(name)),
  };
}

function teamCalls(connection: Connection): AccessCalls['teams'] {
  const path = '/api/v1/teams';
  const of = (name: string) => `${path}/${part(name)}`;
  const member = (name: string, actor: string) => `${of(name)}/members/${part(actor)}`;
  return {
    list: (query) => connection.json('GET', path + queryText(query)),
    get: async (name) => connection.json('GET', of(name)),
    put: async (name, request) => putVersion(connection, of(name), request),
    addMember: async (name, actor) => connection.json('PUT', member(name, actor)),
    removeMember: async (name, actor) => connection.json('DELETE', member(name, actor)),
    remove: async (name) => connection.empty('DELETE', of(name)),
  };
}

function policyCalls(connection: Connection): AccessCalls['accessPolicies'] {
  const path = '/api/v1/access/policies';
  const of = (name: string) => `${path}/${part(name)}`;
  return {
    list: () => connection.json('GET', path),
    get: async (name, query) => connection.json('GET', of(name) + queryText(query)),
    put: async (name, request) => putVersion(connection, of(name), request),
    history: async (name, query) => connection.json('GET', `${of(name)}/history${queryText(query)}`),
    remove: async (name) => connection.empty('DELETE', of(name)),
    shipped: () => connection.json('GET', '/api/v1/access/shipped'),
    explain: (request) => connection.json('POST', '/api/v1/access/explain', { body: request }),
  };
}

function elevationCalls(connection: Connection): AccessCalls['elevations'] {
  const path = '/api/v1/elevations';
  const decide = (verb: string) => async (id: string) =>
    connection.json<ElevationView>('POST', `${path}/${part(id)}/${verb}`);
  return {
    request: (request) => connection.json('POST', path, { body: request }),
    list: (query) => connection.json('GET', path + queryText(query)),
    listOwn: (query) => connection.json('GET', `/api/v1/account/elevations${queryText(query)}`),
    approve: decide('approve'),
    deny: decide('deny'),
    end: decide('end'),
  };
}
