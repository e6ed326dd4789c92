import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { actionSpec, type ResourceKind } from '../../src/model/actions.ts';
import type { Actor } from '../../src/model/actor.ts';
import { decideByRole } from '../../src/model/decide.ts';
import { newId } from '../../src/model/ids.ts';
import type { RouteLine } from '../../src/server/app.ts';
import { EndpointWorld, harmless, owned, type Persona, touched } from '../support/endpoint-world.ts';
import { authorizeQuery } from '../support/oauth-site.ts';

/** G2: no scope, no effect; foreign objects look absent. Every route, as nobody, a stranger, each role and a token. */

type Sample = {
  readonly body?: unknown;
  readonly headers?: Readonly<Record<string, string>>;
  /** Answers to who may, besides success: what the sample lacks, such as a code of an authenticator. */
  readonly taken?: readonly number[];
  /** What the path's first parameter names, where it is not what the act is on. */
  readonly object?: ResourceKind | 'none';
  /** Further parameters of the path. */
  readonly params?: Readonly<Record<string, string>>;
  readonly query?: string;
};

const ifMatch = { 'if-match': '"v1"' };
const absentPasskey = { id: 'AAAA' };
const name = { name: 'renamed' };
const device = { userCode: 'BCDF-GHJK' };
const program = { query: new URLSearchParams(authorizeQuery('v'.repeat(43))).toString(), decision: 'deny' };

const tile = { stream: 'control', level: '0' };

/** What each route is sent. A route that is not here is sent nothing but its path. */
const samples: Readonly<Record<string, Sample>> = {
  createSession: { body: {} },
  renameSession: { body: name, headers: ifMatch },
  renameRun: { body: name, headers: ifMatch, taken: [412] },
  resumeRun: { body: {} },
  readArtifact: { params: { name: 'none' }, taken: [404] },
  readDiff: { taken: [404] },
  createToken: { body: { name: 'made', scopes: ['run:read'] } },
  rotateToken: { body: {} },
  createOwnToken: { body: { name: 'made', scopes: ['run:read'], expiresInSeconds: 60 }, taken: [403] },
  rotateOwnToken: { body: {}, object: 'token', taken: [403, 404] },
  revokeOwnToken: { object: 'token', taken: [404] },
  findDevice: { body: device, taken: [404] },
  answerDevice: { body: { ...device, decision: 'deny' }, taken: [404] },
  answerProgram: { body: program },
  rotateKeys: { body: {} },
  putPolicy: { body: { document: { rules: [] } }, headers: ifMatch },
  simulateEgress: { body: { policies: [{ document: { rules: [] } }] } },
  getFlag: { params: { name: 'sso-tickets' }, object: 'none' },
  explainFlag: { params: { name: 'sso-tickets' }, object: 'none', query: '?actor=user:somebody' },
  putFlag: { params: { name: 'sso-tickets' }, object: 'none', body: { rule: 'off' }, taken: [428] },
  removeFlag: { params: { name: 'sso-tickets' }, object: 'none', taken: [404] },
  redeliverAuditSink: { params: { sink: 'none' }, object: 'none', taken: [404] },
  exportAuditEvidence: { query: '?since=2026-01-01T00:00:00Z' },
  proveAuditEvent: { params: { stream: 'control' }, object: 'none', query: '?seq=1' },
  proveAuditGrowth: { params: { stream: 'control' }, object: 'none', query: '?first=1' },
  tlogCheckpoint: { params: { stream: 'control' }, object: 'none' },
  tlogTile: { params: { ...tile, n1: '000' }, object: 'none', taken: [200, 404] },
  tlogTile2: { params: { ...tile, n1: '000.p', n2: '1' }, object: 'none' },
  tlogTile3: { params: { ...tile, n1: 'x001', n2: '000.p', n3: '1' }, object: 'none', taken: [404] },
  tlogTile4: {
    params: { ...tile, n1: 'x001', n2: 'x000', n3: '000.p', n4: '1' },
    object: 'none',
    taken: [404],
  },
  createAgent: { body: { kind: 'agent', name: 'made', role: 'worker' }, taken: [409] },
  updateAgent: { body: { displayName: 'made' }, headers: ifMatch },
  addAgentSecret: { body: { expiresInSeconds: 60 } },
  addAgentKey: { body: { jwk: {}, expiresInSeconds: 60 }, taken: [400] },
  issueAgentCertificate: { body: { request: 'none' }, taken: [400] },
  revokeAgentCredential: { params: { credential: newId('credential', 1) }, taken: [404] },
  rotateAuthority: { body: {} },
  putRole: { body: { scopes: [], reach: 'own' }, headers: ifMatch },
  putTeam: { body: { members: [] }, headers: ifMatch },
  addTeamMember: { params: { actor: 'user:somebody' } },
  removeTeamMember: { params: { actor: 'user:somebody' } },
  putAccessPolicy: { body: { text: harmless }, headers: ifMatch },
  requestElevation: { body: { role: 'auditor', reason: 'test', seconds: 900 }, taken: [409] },
  changePassword: {
    body: { current: 'none', password: 'correct horse battery staple' },
    taken: [401, 403, 409],
  },
  confirmTotp: { body: { code: '000000' }, taken: [400, 401, 403, 409] },
  removeTotp: { taken: [403, 404, 409] },
  renewRecoveryCodes: { taken: [409] },
  passkeyOptions: { taken: [404, 409] },
  removePasskey: { params: absentPasskey, object: 'none', taken: [403, 404, 409] },
  endSignIn: { params: { id: newId('signIn', 1) }, object: 'none', taken: [404] },
  updateUser: { body: { displayName: 'Made' }, headers: ifMatch },
  linkUserIdentity: { body: { provider: 'none', subject: '1' }, taken: [400, 404] },
  unlinkUserIdentity: { params: { provider: 'none', subject: '1' }, taken: [400] },
  makePasswordReset: { body: {}, taken: [409, 403] },
  makeTicket: { taken: [409, 403] },
  createInvitation: { body: { role: 'developer' } },
  createUpload: { body: 'bundle' },
  explainAccess: { body: { action: 'run.read' } },
  // A WebSocket, which a ticket lets in: the tests of attaching drive those.
  attach: { taken: [426] },
  // The run of a sample has ended.
  createAttachTicket: { body: {}, taken: [409] },
  createExec: { body: { command: ['true'] }, taken: [409] },
  createPortForward: { body: { port: 80 }, taken: [409] },
  putSessionAttach: { body: { enabled: true } },
  readRecording: { params: { terminal: newId('terminal', 1) }, taken: [404] },
  searchRecording: { params: { terminal: newId('terminal', 1) }, query: '?text=x', taken: [404] },
  exportAuditEvents: { query: '?format=jsonl' },
};

/** Routes that are not driven here, each with its reason. The test fails where one of them is gone. */
const notDriven: Readonly<Record<string, string>> = {
  createRun: 'its session is named in the body; the tests of runs name foreign ones',
  addPasskey: 'asks for an answer of an authenticator; the tests of sign-in have one',
  renewAgentCertificate: 'asks for the certificate that it renews; the tests of agents have one',
  stepUpOptions: 'is about the sign-in itself; the tests of sign-in drive it',
  stepUp: 'is about the sign-in itself; the tests of sign-in drive it',
  approveElevation: 'nobody approves for themselves, whatever the role; its own test follows here',
  endElevation: 'anybody ends their own without a scope; its own test follows here',
};

/** Routes of which a policy of a team is what is hidden; `team-ownership.test.ts` drives them as strangers. */
const byTeam: ReadonlySet<ResourceKind> = new Set(['policy']);

let world: EndpointWorld;
let personas: readonly Persona[];
let routes: readonly RouteLine[];

before(async () => {
  world = await EndpointWorld.open();
  personas = await world.personas();
  routes = world.server.routes.filter(({ open, operationId }) => !open && !(operationId in notDriven));
});
after(() => world[Symbol.asyncDispose]());

function sampleOf(route: RouteLine): Sample {
  return samples[route.operationId] ?? {};
}

function objectOf(route: RouteLine): ResourceKind | null {
  const { object } = sampleOf(route);
  if (!/:(id|name)\b/.test(route.url) || object === 'none') return null;
  return object ?? (route.action === null ? null : actionSpec(route.action).on);
}

/** The path with an object in it, or with the id of none. */
function pathOf(route: RouteLine, id: string | null): string {
  const { params = {}, query = '' } = sampleOf(route);
  let isFirst = id !== null;
  const path = route.url.replaceAll(/:(\w+)/g, (_, parameter: string) => {
    const value = isFirst ? id : params[parameter];
    isFirst = false;
    assert(value !== undefined && value !== null, `${route.operationId}: no ${parameter}`);
    return encodeURIComponent(value);
  });
  return path + query;
}

async function drive(route: RouteLine, persona: Persona, id: string | null) {
  const { body, headers } = sampleOf(route);
  const sent = { ...(await persona.headers()), ...headers };
  return await world.ask(route, pathOf(route, id), sent, body);
}

type Reply = Awaited<ReturnType<typeof drive>>;

/** What is wrong with the answer to somebody who may; null for nothing. */
function wrongWhereAllowed(route: RouteLine, reply: Reply): string | null {
  const { taken = [] } = sampleOf(route);
  const isDecision = reply.code === 'access.denied' && /"(required|rule)":/.test(reply.text);
  const isTaken = reply.status < 400 || taken.includes(reply.status);
  return isTaken && (!isDecision || taken.includes(403)) ? null : told('may', reply);
}

/** The same to somebody who may not, about what is its own or nobody's. */
function wrongWhereDenied(reply: Reply): string | null {
  return reply.status === 403 && reply.code === 'access.denied' ? null : told('may not', reply);
}

function told(claim: string, { status, text }: Reply): string {
  return `${claim}, and is answered ${status} ${text.slice(0, 240)}`;
}

/** Drives every route as everybody, and fails with all that is wrong. */
async function driveAll(
  judge: (route: RouteLine, persona: Persona & { actor: Actor }) => Promise<string | null>,
): Promise<void> {
  const wrong: string[] = [];
  for (const persona of personas) {
    const { actor } = persona;
    if (actor === null) continue;
    for (const route of routes) {
      const found = await judge(route, { ...persona, actor });
      if (found !== null) wrong.push(`${persona.name} ${route.operationId}: ${found}`);
    }
  }
  assert.deepEqual(wrong, []);
}

test('every route is driven, or says why not', () => {
  const known = new Set(world.server.routes.map(({ operationId }) => operationId));
  for (const operationId of [...Object.keys(samples), ...Object.keys(notDriven)])
    assert(known.has(operationId), `there is no ${operationId}`);
  const nameless = routes.filter(({ action }) => action === null).map(({ operationId }) => operationId);
  assert.deepEqual(nameless.sort(), ['explainAccess', 'whoami'], 'routes that everybody may use');
  assert(routes.length >= 90, `${routes.length} routes`);
});

test('nobody gets anywhere', async () => {
  for (const route of world.server.routes.filter(({ open }) => !open)) {
    const reply = await world.ask(route, route.url.replaceAll(/:\w+/g, 'x'), {});
    assert.equal(reply.status, 401, `${route.operationId}: ${reply.status}`);
  }
});

test('each role does with what is its own exactly what the table of acts says', async () => {
  await driveAll(async (route, persona) => {
    const { actor } = persona;
    const kind = objectOf(route);
    const id = kind === null ? null : await world.fresh(kind, actor.id);
    const reply = await drive(route, persona, id);
    if (route.action === null) return wrongWhereAllowed(route, reply);
    const { allow } = decideByRole(actor, route.action, touched(route, actor.id, kind !== null));
    return allow ? wrongWhereAllowed(route, reply) : wrongWhereDenied(reply);
  });
});

test('what is somebody else’s answers byte for byte as what is not there, to whom it is out of reach', async () => {
  let hidden = 0;
  await driveAll(async (route, persona) => {
    const kind = objectOf(route);
    if (kind === null || !owned.has(kind) || route.action === null) return null;
    if (actionSpec(route.action).on === 'account') return null;
    const reply = await drive(route, persona, await world.fresh(kind, 'user:somebody'));
    const decision = decideByRole(persona.actor, route.action, touched(route, 'user:somebody', true));
    if (decision.allow) return wrongWhereAllowed(route, reply);
    if (decision.visible) return wrongWhereDenied(reply);
    const none = await drive(route, persona, absentId(kind));
    hidden += 1;
    const isSame = JSON.stringify(bytesOf(reply)) === JSON.stringify(bytesOf(none));
    return isSame && [403, 404].includes(reply.status) ? null : told('may not see it', reply);
  });
  assert(hidden > 100, `${hidden} comparisons`);
});

function absentId(kind: ResourceKind): string {
  const kinds = {
    session: 'session',
    run: 'run',
    token: 'token',
    upload: 'upload',
    elevation: 'elevation',
  } as const;
  return kind in kinds ? newId(kinds[kind as keyof typeof kinds], 1) : 'agent:nobody';
}

/** All of an answer but the id of the request. */
function bytesOf({ status, text }: { status: number; text: string }) {
  return { status, text: text.replace(/"requestId":"[^"]*"/, '') };
}

test('names of people, teams, roles and policies that are there answer like others to who may not read them', async () => {
  const stranger = personas.find(({ name }) => name === 'stranger')!;
  for (const route of routes) {
    const kind = objectOf(route);
    if (kind === null || owned.has(kind) || kind === 'account' || byTeam.has(kind)) continue;
    const there = await drive(route, stranger, await world.fresh(kind, 'user:somebody'));
    const absent = kind === 'invitation' ? newId('invitation', 1) : 'nothing';
    const none = await drive(route, stranger, absent);
    assert.deepEqual(bytesOf(there), bytesOf(none), route.operationId);
    assert.equal(there.status, 403, `${route.operationId}: ${there.text}`);
  }
});

test('an elevation is approved by somebody else who holds as much, and ended by its user or who may', async () => {
  const by = (operationId: string) => world.server.routes.find((route) => route.operationId === operationId)!;
  const [approve, end] = [by('approveElevation'), by('endElevation')];
  for (const persona of personas) {
    const { actor } = persona;
    if (actor === null) continue;
    const isPerson = actor.signIn !== undefined;
    const own = await world.fresh('elevation', actor.id);
    const approved = await drive(approve, persona, own);
    assert.equal(approved.status, 403, `${persona.name} approves for itself: ${approved.text}`);
    if (persona.name === 'admin') {
      const others = await drive(approve, persona, await world.fresh('elevation', 'user:somebody'));
      // Past the wall: this one is in force already.
      assert.equal(others.status, 409, `the control: of somebody else: ${others.text}`);
    }
    const ended = await drive(end, persona, own);
    assert.equal(ended.status, isPerson || persona.name === 'token' ? 200 : 403, persona.name);
    const foreign = await world.fresh('elevation', 'user:somebody');
    const isAdmin = persona.name === 'admin' || persona.name === 'token';
    const expected = isAdmin ? 200 : actor.reach === 'all' ? 403 : 404;
    assert.equal((await drive(end, persona, foreign)).status, expected, persona.name);
  }
});
