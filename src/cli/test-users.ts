import type { CreatedInvitation, InvitationView, UserView } from '../contract/user-schemas.ts';
import { newId } from '../model/ids.ts';
import type { Api } from './api.ts';

const at = '2026-01-01T00:00:00.000Z';

function userView(name: string, more: Partial<UserView> = {}): UserView {
  return {
    ...{ name, displayName: null, email: null, role: 'developer', eligibleRoles: [], teams: ['core'] },
    ...{ phase: 'active', password: true, mfa: false, createdAt: at, lastSignInAt: null, ...more },
  };
}

/** For tests: two users, one of whom calls herself what a terminal would obey. */
export function fakeUsers(calls: string[]): Api['users'] {
  const said = (name: string, what: string, more: Partial<UserView> = {}) => {
    calls.push(`users.${what} ${name}`);
    return userView(name, more);
  };
  return {
    list: async (query = {}) => {
      calls.push(`users.list ${JSON.stringify(query)}`);
      return { items: [userView('ada', { displayName: '\x1b[2J' }), userView('grace')], nextCursor: null };
    },
    get: async (name) => userView(name),
    update: async (name, change) => said(name, `update ${JSON.stringify(change)}`),
    disable: async (name) => said(name, 'disable', { phase: 'disabled' }),
    enable: async (name) => said(name, 'enable'),
    resetMfa: async (name) => said(name, 'reset-mfa'),
    resetPassword: async (name, request = {}) => {
      said(name, `reset-password ${JSON.stringify(request)}`);
      return { user: name, link: 'http://localhost:7717/reset#swp_secret', expiresAt: at };
    },
    signOut: async (name) => {
      said(name, 'sign-out');
      return { ended: 2 };
    },
    remove: async (name) => void said(name, 'remove'),
    ticket: async (name) => {
      said(name, 'ticket');
      return { ticket: 'swt_secret', expiresAt: at };
    },
    identities: async () => ({
      items: [{ provider: null, issuer: 'https://idp.example', subject: 'a\x1b[2J' }],
    }),
    link: async (name, identity) => {
      said(name, `link ${JSON.stringify(identity)}`);
      return { ...identity, issuer: 'https://idp.example' };
    },
    unlink: async (name, identity) => void said(name, `unlink ${JSON.stringify(identity)}`),
  };
}

export function fakeInvitations(calls: string[]): Api['invitations'] {
  const made: InvitationView = {
    ...{ id: newId('invitation', 1), name: null, email: null, role: 'developer', teams: [] },
    ...{ createdBy: 'system:local', createdAt: at, expiresAt: at },
  };
  return {
    create: async (request): Promise<CreatedInvitation> => {
      calls.push(`invitations.create ${JSON.stringify(request)}`);
      return {
        ...made,
        ...request,
        link: 'http://localhost:7717/invitation#swi_secret',
      } as CreatedInvitation;
    },
    list: async () => ({ items: [made], nextCursor: null }),
    revoke: async (id) => void calls.push(`invitations.revoke ${id}`),
  };
}
