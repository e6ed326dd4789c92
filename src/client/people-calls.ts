import type { LinkedIdentityView, LinkIdentity } from '../contract/identity-schemas.ts';
import type {
  CreatedInvitation,
  CreateInvitation,
  CreatePasswordReset,
  InvitationView,
  PasswordResetView,
  TicketView,
  UpdateUser,
  UserView,
} from '../contract/user-schemas.ts';
import type { Page, Query } from './client.ts';
import type { Connection } from './connection.ts';
import { part, patchVersion, queryText } from './requests.ts';

export type UserCalls = {
  list(query?: Query): Promise<Page<UserView>>;
  get(name: string): Promise<UserView>;
  /** Whatever it was before: a change by others meanwhile is read again. */
  update(name: string, change: UpdateUser): Promise<UserView>;
  disable(name: string): Promise<UserView>;
  enable(name: string): Promise<UserView>;
  resetMfa(name: string): Promise<UserView>;
  /** The link by which the user chooses another password. */
  resetPassword(name: string, request?: CreatePasswordReset): Promise<PasswordResetView>;
  signOut(name: string): Promise<{ readonly ended: number }>;
  remove(name: string): Promise<void>;
  ticket(name: string): Promise<TicketView>;
  /** Which persons of other providers the user is. */
  identities(name: string): Promise<{ readonly items: readonly LinkedIdentityView[] }>;
  link(name: string, identity: LinkIdentity): Promise<LinkedIdentityView>;
  unlink(name: string, identity: LinkIdentity): Promise<void>;
};

export type InvitationCalls = {
  create(request: CreateInvitation): Promise<CreatedInvitation>;
  list(query?: Query): Promise<Page<InvitationView>>;
  revoke(id: string): Promise<void>;
};

export function userCalls(connection: Connection): UserCalls {
  const path = '/api/v1/users';
  const of = (name: string) => `${path}/${part(name)}`;
  return {
    list: (query) => connection.json('GET', path + queryText(query)),
    get: async (name) => connection.json('GET', of(name)),
    update: async (name, change) => patchVersion(connection, of(name), change),
    disable: async (name) => connection.json('POST', `${of(name)}/disable`),
    enable: async (name) => connection.json('POST', `${of(name)}/enable`),
    resetMfa: async (name) => connection.json('POST', `${of(name)}/reset-mfa`),
    resetPassword: async (name, request = {}) =>
      connection.json('POST', `${of(name)}/password-resets`, { body: request }),
    signOut: async (name) => connection.json('POST', `${of(name)}/sign-out`),
    remove: async (name) => connection.empty('DELETE', of(name)),
    ticket: async (name) => connection.json('POST', `${of(name)}/tickets`),
    identities: async (name) => connection.json('GET', `${of(name)}/identities`),
    link: async (name, identity) => connection.json('POST', `${of(name)}/identities`, { body: identity }),
    unlink: async (name, { provider, subject }) =>
      connection.empty('DELETE', `${of(name)}/identities/${part(provider)}/${part(subject)}`),
  };
}

export function invitationCalls(connection: Connection): InvitationCalls {
  const path = '/api/v1/invitations';
  return {
    create: (request) => connection.json('POST', path, { body: request }),
    list: (query) => connection.json('GET', path + queryText(query)),
    revoke: async (id) => connection.empty('DELETE', `${path}/${part(id)}`),
  };
}
