import type { AgentCredentialView, AgentView, AuthorityCertificateView } from '../contract/agents-schemas.ts';
import type { Api } from './api.ts';

const at = '2026-01-01T00:00:00.000Z';

/** For tests: agents whose every change is told in `calls`. What a name says is escaped or it is a mistake. */
export function fakeAgents(calls: string[]): Api['agents'] {
  const agent = (id: string): AgentView => ({
    id,
    displayName: '\x1b[2J',
    owner: 'user:t',
    role: 'worker',
    scopes: ['run:read'],
    egress: null,
    phase: 'active',
    createdAt: at,
  });
  const credential = (kind: AgentCredentialView['kind']): AgentCredentialView => ({
    id: 'crd_01kamcq5r8v0x4m2e7hj9n3tzb',
    kind,
    name: null,
    thumbprint: kind === 'secret' ? null : 'thumb',
    createdAt: at,
    expiresAt: at,
    lastUsedAt: null,
  });
  const told = <T>(call: string, given: unknown, answer: T): T => {
    calls.push(`agents.${call} ${JSON.stringify(given)}`);
    return answer;
  };
  return {
    create: async (request) => told('create', request, agent(`${request.kind}:${request.name}`)),
    list: async (query) =>
      told('list', query, { items: [agent('agent:a'), agent('service:b')], nextCursor: null }),
    get: async (id) => agent(id),
    update: async (id, change) => told(`update ${id}`, change, agent(id)),
    disable: async (id) => told('disable', id, agent(id)),
    enable: async (id) => told('enable', id, agent(id)),
    remove: async (id) => told('remove', id, undefined),
    credentials: async () => ({ items: [credential('secret'), credential('certificate')], nextCursor: null }),
    addSecret: async (id, request) =>
      told(`addSecret ${id}`, request, { ...credential('secret'), clientId: id, secret: 'sws_shown' }),
    addKey: async (id, request) => told(`addKey ${id}`, request, credential('public-key')),
    issueCertificate: async (id, request) =>
      told(`issueCertificate ${id}`, request, {
        ...credential('certificate'),
        certificate: 'PEM\n',
        authorities: [],
      }),
    revokeCredential: async (id, revoked) => told(`revokeCredential ${id}`, revoked, undefined),
  };
}

export function fakeAuthority(calls: string[]): Api['authority'] {
  const one: AuthorityCertificateView = {
    id: 'key_1',
    certificate: 'PEM\n',
    fingerprint: '00',
    createdAt: at,
    expiresAt: at,
    signs: true,
  };
  return {
    get: async () => ({ trustDomain: 'example.com', certificates: [one, one], revoked: [] }),
    rotate: async (request) => {
      calls.push(`authority.rotate ${JSON.stringify(request)}`);
      return one;
    },
  };
}
