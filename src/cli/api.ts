import type { Client } from '../client/client.ts';

export type { LogEvent, LogOptions } from '../client/log-events.ts';

/** What commands ask of a server. The typed client is one; tests make their own. */
export type Api = {
  readonly sessions: Pick<Client['sessions'], 'create' | 'list' | 'get' | 'rename' | 'close'>;
  readonly runs: Pick<
    Client['runs'],
    'create' | 'list' | 'get' | 'stop' | 'resume' | 'wait' | 'logs' | 'diff' | 'egress' | 'flows'
  >;
  readonly uploads: Client['uploads'];
  readonly tokens: Pick<Client['tokens'], 'create' | 'list' | 'revoke' | 'rotate'>;
  readonly account: Client['account'];
  readonly keys: Client['keys'];
  readonly whoami: Client['whoami'];
  readonly policies: Pick<Client['policies'], 'put' | 'get' | 'list' | 'remove' | 'simulate'>;
  readonly attach: Client['attach'];
  readonly flags: Client['flags'];
  readonly users: Client['users'];
  readonly invitations: Client['invitations'];
  readonly agents: Omit<Client['agents'], 'all'>;
  readonly authority: Client['authority'];
  readonly roles: Client['roles'];
  readonly teams: Client['teams'];
  readonly accessPolicies: Client['accessPolicies'];
  readonly elevations: Client['elevations'];
  readonly auditSinks: Client['auditSinks'];
  readonly auditWitnesses: Client['auditWitnesses'];
  readonly audit: Omit<Client['audit'], 'all'>;
  readonly auditProofs: Client['auditProofs'];
  readonly health: Client['health'];
  readonly readiness: Client['readiness'];
};
