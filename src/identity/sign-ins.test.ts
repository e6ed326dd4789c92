import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { testLives, testSealing } from '../../tests/support/test-control.ts';
import type { Actor } from '../model/actor.ts';
import { newId } from '../model/ids.ts';
import { openSqliteStore } from '../store/sqlite/open.ts';
import type { Store } from '../store/store.ts';
import { type IdentityDirectory, openIdentityDirectory } from './open.ts';
import type { NewProgramSignIn, Proof } from './sign-ins.ts';

let folder: string;
let now: number;
let passed: number;
const opened: { store: Store; directory: IdentityDirectory }[] = [];

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'sealwright-sign-ins-'));
  now = 1_000_000;
  passed = 0;
});
afterEach(async () => {
  for (const { store, directory } of opened.splice(0)) {
    await directory.close();
    await store.close();
  }
  await rm(folder, { recursive: true, force: true });
});

/** One process on the store that all of a test share. */
async function open(): Promise<{ store: Store; directory: IdentityDirectory }> {
  const store = await openSqliteStore({ file: join(folder, 'store.db') });
  const directory = await openIdentityDirectory({
    store,
    clock: { now: () => now, monotonic: () => passed },
    sealing: testSealing,
    publicUrl: 'http://localhost:7717',
    bootstrap: { secret: null },
    lives: testLives,
    trustDomain: 'sealwright.test',
    onError: (error) => {
      throw error;
    },
  });
  const made = { store, directory };
  opened.push(made);
  return made;
}

async function addUser(store: Store, name = 'ann', role = 'developer'): Promise<void> {
  const made = await store.identity.users.create(
    {
      name,
      displayName: null,
      email: null,
      role,
      eligibleRoles: role === 'developer' ? ['admin'] : [],
      phase: 'active',
      passwordHash: null,
      totpSealed: null,
      createdAt: now,
    },
    { external: null, teams: [] },
  );
  assert.equal(made.outcome, 'created');
}

const proof = (): Proof => ({ at: now, methods: ['pwd'], mfa: false, provider: null, providerSession: null });
const from = { address: '192.0.2.1', userAgent: 'test' };
const browser = () => ({ actor: 'user:ann', proof: proof(), ...from }) as const;
const program = (more: Partial<NewProgramSignIn> = {}): NewProgramSignIn => ({
  ...browser(),
  client: 'sealwright-cli',
  scopes: null,
  reach: null,
  refreshable: true,
  ...more,
});
const facts = (actor: Actor | null) =>
  actor === null ? null : [actor.role, actor.reach, [...actor.scopes].sort().join(' '), actor.narrowed];
const developer = ['developer', 'team', 'policy:read run:read run:write session:read session:write', false];

describe("a browser's sign-in", () => {
  it('is its user, with the role and teams that the user has now', async () => {
    const { store, directory } = await open();
    await addUser(store);
    const { record, cookie } = await directory.signIns.openBrowser(browser());
    const actor = await directory.identity.ofCookie(cookie);
    assert.deepEqual(facts(actor), developer);
    assert.deepEqual(
      [actor?.id, actor?.credential, actor?.signIn],
      ['user:ann', record.id, { at: now, mfa: false }],
    );
    await store.identity.users.update('ann', { role: 'auditor' }, null);
    await store.identity.teams.assign('user:ann', ['red'], ['red']);
    await directory.changes.look();
    const changed = await directory.identity.ofCookie(cookie);
    assert.deepEqual([changed?.role, changed?.reach, changed?.teams], ['auditor', 'all', new Set(['red'])]);
  });

  it('is nobody once its user is disabled or removed, and says nothing else for what is no cookie', async () => {
    const { store, directory } = await open();
    await addUser(store);
    await addUser(store, 'bob');
    const ann = await directory.signIns.openBrowser(browser());
    const bob = await directory.signIns.openBrowser({ ...browser(), actor: 'user:bob' });
    assert(await directory.identity.ofCookie(ann.cookie));
    await store.identity.users.update('ann', { phase: 'disabled' }, null);
    await store.identity.users.remove('bob', now);
    await directory.changes.look();
    for (const cookie of [ann.cookie, bob.cookie, '', 'x', `${ann.cookie} `, ann.record.id])
      assert.equal(await directory.identity.ofCookie(cookie), null);
  });

  it('ends when it is idle, when it is old and when it is ended, in this process at once', async () => {
    const { store, directory } = await open();
    await addUser(store);
    const idle = await directory.signIns.openBrowser(browser());
    now += testLives.browserIdleMs - 1;
    assert(await directory.identity.ofCookie(idle.cookie));
    now += testLives.browserIdleMs - 1;
    assert(await directory.identity.ofCookie(idle.cookie), 'a use renews it');
    now += testLives.browserIdleMs;
    assert.equal(await directory.identity.ofCookie(idle.cookie), null);
    const old = await directory.signIns.openBrowser(browser());
    for (const end = now + testLives.browserMs; now < end; now += testLives.browserIdleMs / 2)
      assert(await directory.identity.ofCookie(old.cookie));
    assert.equal(await directory.identity.ofCookie(old.cookie), null);
    const ended = await directory.signIns.openBrowser(browser());
    assert(await directory.identity.ofCookie(ended.cookie));
    const ending = directory.signIns.end(ended.record.id, 'signed out');
    assert.equal(await directory.identity.ofCookie(ended.cookie), null, 'before it is stored');
    assert.equal(await ending, true);
    assert.equal(await directory.identity.ofCookie(ended.cookie), null);
  });

  it('gets another cookie when the person proves again who it is, and the old one is worth nothing anywhere', async () => {
    const one = await open();
    const two = await open();
    await addUser(one.store);
    const { record, cookie } = await one.directory.signIns.openBrowser(browser());
    assert(await two.directory.identity.ofCookie(cookie), 'another process knows it');
    now += 1000;
    const proved = await one.directory.signIns.prove(record.id, { ...proof(), mfa: true });
    assert(proved !== null && proved.cookie !== null && proved.cookie !== cookie);
    await two.directory.changes.look();
    for (const { directory } of [one, two]) {
      assert.deepEqual((await directory.identity.ofCookie(proved.cookie))?.signIn, { at: now, mfa: true });
      assert.equal(await directory.identity.ofCookie(cookie), null);
    }
  });

  it('has one cookie, also where a process missed that it got another', async () => {
    const one = await open();
    const two = await open();
    await addUser(one.store);
    const { record, cookie } = await one.directory.signIns.openBrowser(browser());
    assert(await two.directory.identity.ofCookie(cookie));
    const proved = await one.directory.signIns.prove(record.id, proof());
    assert(proved?.cookie);
    await one.store.identity.changes.forgetBefore(Number.MAX_SAFE_INTEGER);
    await two.directory.changes.look();
    assert(await two.directory.identity.ofCookie(proved.cookie));
    assert.equal(await two.directory.identity.ofCookie(cookie), null);
  });

  it('that another process ended is believed no longer than the feed is fresh', async () => {
    const one = await open();
    const two = await open();
    await addUser(one.store);
    const { record, cookie } = await one.directory.signIns.openBrowser(browser());
    assert(await two.directory.identity.ofCookie(cookie));
    await one.directory.signIns.end(record.id, 'signed out');
    passed += 10_000;
    assert.equal(await two.directory.identity.ofCookie(cookie), null, 'without any look of its feed');
  });
});

describe("a program's sign-in", () => {
  it('is refreshed by one caller alone, and a token that comes again ends it for everybody', async () => {
    const one = await open();
    const two = await open();
    await addUser(one.store);
    const { record, refreshToken } = await one.directory.signIns.openProgram(program());
    assert(refreshToken !== null);
    const tries = await Promise.all(
      Array.from({ length: 20 }, (_, index) =>
        (index % 2 === 0 ? one : two).directory.signIns.refresh(refreshToken, 'sealwright-cli'),
      ),
    );
    const outcomes = tries.map(({ outcome }) => outcome);
    assert.equal(outcomes.filter((outcome) => outcome === 'refreshed').length, 1);
    assert(outcomes.every((outcome) => outcome !== 'refused' || outcomes.includes('reused')));
    const won = tries.find(({ outcome }) => outcome === 'refreshed');
    assert(won?.outcome === 'refreshed');
    for (const { directory } of [one, two]) {
      await directory.changes.look();
      assert.equal(await directory.signIns.actorOf(record.id), null);
      assert.equal(
        (await directory.signIns.refresh(won.refreshToken, 'sealwright-cli')).outcome === 'refreshed',
        false,
      );
    }
  });

  it('goes on while each token is used once, and is worth nothing to another client', async () => {
    const { store, directory } = await open();
    await addUser(store);
    const opened = await directory.signIns.openProgram(program());
    let token = opened.refreshToken;
    for (let count = 0; count < 3; count += 1) {
      assert(token !== null);
      assert.equal((await directory.signIns.refresh(token, 'another')).outcome, 'refused');
      const refreshed = await directory.signIns.refresh(token, 'sealwright-cli');
      assert(refreshed.outcome === 'refreshed');
      token = refreshed.refreshToken;
    }
    assert.deepEqual(facts(await directory.signIns.actorOf(opened.record.id)), developer);
  });

  it('that is narrowed holds no more than it was given and no more than its user has', async () => {
    const { store, directory } = await open();
    await addUser(store);
    const given = { scopes: ['run:read', 'audit:read'], reach: 'own' } as const;
    const { record } = await directory.signIns.openProgram(program(given));
    const actor = await directory.signIns.actorOf(record.id);
    assert.deepEqual(facts(actor), ['developer', 'own', 'run:read', true]);
    assert.equal(actor?.signIn, undefined, 'it cannot step up');
  });

  it('may ask for no more egress than what it was exchanged from may by now', async () => {
    const { store, directory } = await open();
    const agent = async (id: 'agent:a' | 'agent:b') => {
      const rights = { role: 'worker', scopes: ['run:write'], egress: null, phase: 'active' } as const;
      const fresh = { id, displayName: null, owner: 'user:ann', ...rights, createdAt: now } as const;
      assert.equal((await store.identity.agents.create(fresh)).outcome, 'created');
    };
    await agent('agent:a');
    await agent('agent:b');
    const narrow = { scopes: ['run:write'], reach: 'own' } as const;
    const parent = await directory.signIns.openProgram(program({ ...narrow, actor: 'agent:a' }));
    const delegated = { actor: 'agent:b', onBehalfOf: 'agent:a', parent: parent.record.id } as const;
    const child = await directory.signIns.openProgram(program({ ...narrow, ...delegated }));
    const egress = async () => (await directory.signIns.actorOf(child.record.id))?.egress;
    assert.equal(await egress(), undefined);
    await store.identity.agents.update('agent:a', { egress: ['github'] }, null);
    await directory.changes.look();
    assert.deepEqual(await egress(), new Set(['github']));
    await store.identity.agents.update('agent:b', { egress: ['npm'] }, null);
    await directory.changes.look();
    assert.deepEqual(await egress(), new Set());
  });

  it('ends with what it was exchanged from', async () => {
    const { store, directory } = await open();
    await addUser(store);
    const parent = await directory.signIns.openProgram(program());
    const narrow = { scopes: ['run:read'], reach: 'own', onBehalfOf: 'user:ann' } as const;
    const child = await directory.signIns.openProgram(program({ ...narrow, parent: parent.record.id }));
    const token = await directory.tokens.issue(
      { name: 'ci', actor: 'user:ann', scopes: ['run:read'], reach: 'own', expiresAt: null },
      null,
    );
    assert('secret' in token);
    const other = await directory.signIns.openProgram(program({ ...narrow, parent: token.record.id }));
    const orphan = await directory.signIns.openProgram(program({ ...narrow, parent: newId('run', 1) }));
    assert.equal((await directory.signIns.actorOf(child.record.id))?.onBehalfOf, 'user:ann');
    assert(await directory.signIns.actorOf(other.record.id));
    assert.equal(await directory.signIns.actorOf(orphan.record.id), null);
    await directory.signIns.end(parent.record.id, 'signed out');
    await directory.tokens.revoke(token.record.id);
    assert.equal(await directory.signIns.actorOf(child.record.id), null);
    assert.equal(await directory.signIns.actorOf(other.record.id), null);
  });
});

describe('an elevation', () => {
  it('gives a person its role for its time, and an API token of that person nothing', async () => {
    const { store, directory } = await open();
    await addUser(store);
    const { cookie } = await directory.signIns.openBrowser(browser());
    const token = await directory.tokens.issue(
      { name: 'ci', actor: 'user:ann', scopes: ['identity:write'], reach: 'all', expiresAt: null },
      null,
    );
    assert('secret' in token);
    const incident = {
      id: newId('elevation', now),
      user: 'user:ann',
      role: 'admin',
      reason: 'an incident',
      seconds: 900,
      state: 'active',
      requestedAt: now,
      decidedBy: null,
      decidedAt: now,
      expiresAt: now + 900_000,
    } as const;
    assert(await store.identity.elevations.create(incident, now));
    passed += 10_000;
    const elevated = await directory.identity.ofCookie(cookie);
    assert.deepEqual([elevated?.role, elevated?.reach], ['admin', 'all']);
    assert.deepEqual(facts(await directory.identity.ofBearer(token.secret)), ['developer', 'team', '', true]);
    await directory.changes.look();
    assert.equal((await directory.identity.ofCookie(cookie))?.role, 'admin');
    await store.identity.users.update('ann', { eligibleRoles: [] }, null);
    await directory.changes.look();
    assert.equal((await directory.identity.ofCookie(cookie))?.role, 'developer', 'eligible no more');
    await store.identity.users.update('ann', { eligibleRoles: ['admin'] }, null);
    await directory.changes.look();
    assert.equal((await directory.identity.ofCookie(cookie))?.role, 'admin');
    now += 900_000;
    assert.equal((await directory.identity.ofCookie(cookie))?.role, 'developer', 'without any change');
  });
});

describe('a caller who is looked at again', () => {
  it('is as it is now, and never more than it was', async () => {
    const { store, directory } = await open();
    await addUser(store);
    const { cookie, record } = await directory.signIns.openBrowser(browser());
    const before = await directory.identity.ofCookie(cookie);
    assert(before !== null);
    await store.identity.users.update('ann', { role: 'auditor' }, null);
    await directory.changes.look();
    const after = await directory.identity.renew(before);
    assert.deepEqual([...(after?.scopes ?? [])].sort(), ['policy:read', 'run:read', 'session:read']);
    await directory.signIns.end(record.id, 'signed out');
    assert.equal(await directory.identity.renew(before), null);
  });
});
