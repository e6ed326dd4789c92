import assert from 'node:assert/strict';
import { once } from 'node:events';
import { type IncomingMessage, request } from 'node:http';
import { join } from 'node:path';
import { pino } from 'pino';
import { localOwner } from '../../src/identity/local-owner.ts';
import { actionSpec, type ResourceKind } from '../../src/model/actions.ts';
import { type Actor, type ActorId, actorName } from '../../src/model/actor.ts';
import { newId, type RunId, type SessionId } from '../../src/model/ids.ts';
import { type GrantableScope, roles } from '../../src/model/scopes.ts';
import type { RouteLine } from '../../src/server/app.ts';
import { type OpenServer, openServer } from '../../src/server/server.ts';
import type { ElevationState } from '../../src/store/identity-store.ts';
import { actorOf, callerOf, TestControl } from './test-control.ts';
import { site } from './test-people.ts';
import { wideRates } from './test-server.ts';

/** Who asks: somebody who signed in with a role, an API token, or nobody. */
export type Persona = {
  readonly name: string;
  /** What decisions see of it; null for nobody. */
  readonly actor: Actor | null;
  headers(): Promise<Record<string, string>>;
};

export type Reply = { readonly status: number; readonly text: string; readonly code: string | null };

/** Everybody and everything that routes are driven with: a real control behind a real server. */
export class EndpointWorld {
  readonly at: TestControl;
  readonly server: OpenServer;
  #made = 0;

  private constructor(at: TestControl, server: OpenServer) {
    this.at = at;
    this.server = server;
  }

  static async open(): Promise<EndpointWorld> {
    const at = await TestControl.open({
      endsAtOnce: true,
      config: { elevationApproval: true, sessionsPerOwnerMax: 10_000, liveRunsPerOwnerMax: 10_000 },
    });
    const server = await openServer({
      control: at.control,
      logger: pino({ level: 'silent' }),
      listen: { host: '127.0.0.1', port: 0 },
      localSocketPath: join(at.folder, 'local.sock'),
      identity: { localOwner },
      version: '0.0.0-test',
      rateLimits: wideRates,
      origins: [site.origin],
    });
    const world = new EndpointWorld(at, server);
    await world.user('somebody', 'developer');
    return world;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.server.close();
    await this.at[Symbol.asyncDispose]();
  }

  /** Nobody; a stranger, who has no scope; somebody of each role that ships; and an administrator's token. */
  async personas(): Promise<readonly Persona[]> {
    await this.at.store.identity.roles.put(
      { name: 'stranger', description: null, scopes: [], reach: 'own', createdAt: 1 },
      null,
    );
    const people: Persona[] = [];
    for (const role of ['stranger', ...Object.keys(roles)]) people.push(await this.#person(role));
    const nobody: Persona = { name: 'nobody', actor: null, headers: async () => ({}) };
    return [nobody, ...people, await this.#token()];
  }

  async #person(role: string): Promise<Persona> {
    const name = `p-${role}`;
    await this.user(name, role, ['auditor']);
    await this.at.directory.changes.look();
    const id = `user:${name}` as const;
    const known = await this.at.directory.principals.of(id);
    assert(typeof known === 'object');
    const { scopes, reach } = known;
    const actor: Actor = { id, scopes, reach, role, signIn: { at: Date.now(), mfa: true } };
    return { name: role, actor, headers: async () => await this.#browser(id) };
  }

  /** A browser that signed in a moment ago: what a route ends is not what the next one needs. */
  async #browser(actor: ActorId): Promise<Record<string, string>> {
    const proof = {
      at: Date.now(),
      methods: ['pwd', 'otp'],
      mfa: true,
      provider: null,
      providerSession: null,
    };
    const signIn = { actor, proof, address: null, userAgent: null };
    const { cookie } = await this.at.directory.signIns.openBrowser(signIn);
    return { cookie: `sealwright=${cookie}`, origin: site.origin, 'sec-fetch-site': 'same-origin' };
  }

  async #token(): Promise<Persona> {
    const scopes: GrantableScope[] = [...roles.admin];
    const id = 'service:token';
    const issued = await this.at.directory.tokens.issue(
      { name: 'all', actor: id, scopes, reach: 'all', expiresAt: null },
      null,
    );
    assert('secret' in issued);
    const actor: Actor = { id, scopes: new Set(scopes), reach: 'all', narrowed: true };
    return { name: 'token', actor, headers: async () => ({ authorization: `Bearer ${issued.secret}` }) };
  }

  async user(name: string, role: string, eligibleRoles: readonly string[] = []): Promise<string> {
    const made = await this.at.store.identity.users.create(
      {
        ...{ name, displayName: null, email: null, role, eligibleRoles, phase: 'active' },
        ...{ passwordHash: null, totpSealed: null, createdAt: Date.now() },
      },
      { external: null, teams: [] },
    );
    assert.equal(made.outcome, 'created');
    return name;
  }

  #name(): string {
    this.#made += 1;
    return `n${this.#made}`;
  }

  /** Something new of a kind, whose owner is that where the kind has one; its id or name. */
  async fresh(kind: ResourceKind, owner: ActorId): Promise<string> {
    const caller = callerOf({ ...actorOf(actorName(owner), 'own', ['*']), id: owner });
    const { identity, tokens } = this.at.store;
    const name = this.#name();
    if (kind === 'session') return await this.at.session(caller, { name });
    if (kind === 'run') return await this.#run(owner);
    if (kind === 'token') {
      const id = newId('token', Date.now());
      const held = { scopes: ['run:read'] as const, reach: 'own' as const };
      const record = { id, hash: name, name, actor: owner, ...held, createdAt: Date.now(), expiresAt: null };
      assert.equal((await tokens.create(record, null)).outcome, 'created');
      return id;
    }
    if (kind === 'upload') {
      const bytes = (async function* () {
        yield Buffer.from('bundle');
      })();
      return (await this.at.control.uploads.store(caller, bytes)).id;
    }
    if (kind === 'agent') {
      const agent = { displayName: null, owner, role: 'worker', scopes: [], phase: 'active' as const };
      const id = `agent:${name}` as const;
      const made = await identity.agents.create({ ...agent, id, createdAt: Date.now(), egress: null });
      assert.equal(made.outcome, 'created');
      return id;
    }
    if (kind === 'elevation') return await this.elevation(owner, 'requested');
    return await this.#ownerless(kind, name);
  }

  async #run(owner: ActorId): Promise<RunId> {
    const caller = callerOf({ ...actorOf(actorName(owner), 'own', ['*']), id: owner });
    const session = await this.at.session(caller, { attach: { enabled: true } });
    const run = await this.at.run(caller, session as SessionId);
    await this.at.finished(caller, run.id as RunId);
    return run.id as RunId;
  }

  async elevation(user: ActorId, state: ElevationState): Promise<string> {
    const id = newId('elevation', Date.now());
    const asked = { id, user, role: 'auditor', reason: 'test', seconds: 900, state, requestedAt: Date.now() };
    const undecided = { decidedBy: null, decidedAt: null, expiresAt: null };
    await this.at.store.identity.elevations.create({ ...asked, ...undecided }, Number.MAX_SAFE_INTEGER);
    return id;
  }

  async #ownerless(kind: ResourceKind, name: string): Promise<string> {
    const root = callerOf(actorOf('root', 'all', ['*']));
    const { control } = this.at;
    if (kind === 'user') return await this.user(name, 'developer');
    if (kind === 'role') await control.roles.put(root, name, { scopes: ['run:read'], reach: 'own' }, null);
    else if (kind === 'team') await control.teams.put(root, name, { members: [] }, null);
    else if (kind === 'policy') await control.policies.put(root, name, { document: { rules: [] } }, null);
    else if (kind === 'access-policy') await control.accessPolicies.put(root, name, { text: harmless }, null);
    else if (kind === 'invitation') return await this.#invitation(name);
    else assert.fail(`nothing makes ${kind}`);
    return name;
  }

  async #invitation(hash: string): Promise<string> {
    const id = newId('invitation', Date.now());
    await this.at.store.identity.invitations.create({
      ...{ id, hash, name: null, email: null, role: 'developer', teams: [], createdBy: 'user:root' },
      ...{ createdAt: Date.now(), expiresAt: Date.now() + 3_600_000 },
    });
    return id;
  }

  /** Over a connection of its own: the server ends the one of a body that it did not read. */
  async ask(
    { method }: Pick<RouteLine, 'method'>,
    path: string,
    headers: Record<string, string>,
    body?: unknown,
  ): Promise<Reply> {
    const sent = typeof body === 'string' ? body : body === undefined ? '' : JSON.stringify(body);
    const type = typeof body === 'string' ? 'application/x-git-bundle' : 'application/json';
    const asking = request(this.server.address + path, {
      method,
      agent: false,
      headers: {
        ...(sent === '' ? {} : { 'content-type': type, 'content-length': sent.length }),
        ...headers,
      },
    });
    asking.end(sent);
    const answered = once(asking, 'response').catch((error: unknown) => {
      throw new Error(`${method} ${path} was cut off`, { cause: error });
    });
    const [answer] = (await answered) as [IncomingMessage];
    // Events have no end: that they begin is the answer.
    const isStream = answer.headers['content-type']?.startsWith('text/event-stream') === true;
    if (isStream) answer.destroy();
    const text = isStream ? '' : (await answer.setEncoding('utf8').toArray()).join('');
    const isProblem = answer.headers['content-type'] === 'application/problem+json';
    const code = isProblem ? (JSON.parse(text) as { code: string }).code : null;
    return { status: answer.statusCode ?? 0, text, code };
  }
}

export const harmless = 'permit (principal == Actor::"user:none", action == Action::"run.read", resource);';

/** The kinds of which everything has an owner. */
export const owned: ReadonlySet<ResourceKind> = new Set([
  'session',
  'run',
  'token',
  'upload',
  'agent',
  'elevation',
]);

/** What an act that a route names touches there: something of this owner, or nobody's. */
export function touched({ action }: RouteLine, owner: ActorId, hasObject: boolean) {
  assert(action !== null);
  const { on: kind } = actionSpec(action);
  if (kind === 'account') return { kind, owner };
  return hasObject && owned.has(kind) ? { kind, owner } : { kind };
}
