import assert from 'node:assert/strict';
import { hash } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, it } from 'node:test';
import type { ActorId } from '../model/actor.ts';
import { newId } from '../model/ids.ts';
import { openSqliteStore } from '../store/sqlite/open.ts';
import type { Store } from '../store/store.ts';
import { type AgentCertificates, openAgentCertificates } from './agent-certificates.ts';
import { type ChangeFeed, openChangeFeed } from './change-feed.ts';
import { openPrincipals } from './principals.ts';

const planner: ActorId = 'agent:planner';

describe('a certificate of an agent', () => {
  let folder: string;
  let store: Store;
  let changes: ChangeFeed;
  let certificates: AgentCertificates;
  let now: number;
  let lookUps: number;
  /** What the authority gave up. */
  const givenUp = new Set<string>();

  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'sealwright-certificates-'));
    store = await openSqliteStore({ file: join(folder, 'store.db') });
    now = 1_000_000;
    lookUps = 0;
    givenUp.clear();
    const clock = { now: () => now, monotonic: () => now };
    const onError = (error: unknown) => {
      throw error;
    };
    changes = await openChangeFeed({ store: store.identity.changes, clock, onError });
    const { agents } = store.identity;
    certificates = openAgentCertificates({
      store: {
        credentialByProof: (...asked) => {
          lookUps += 1;
          return agents.credentialByProof(...asked);
        },
        credential: agents.credential,
        touchCredential: agents.touchCredential,
      },
      principals: openPrincipals({ store: store.identity, changes, clock }),
      authority: { verifies: async (certificate) => !givenUp.has(certificate) },
      changes,
      clock,
      onError,
    });
    await agents.create({
      id: planner,
      displayName: null,
      owner: 'user:ann',
      role: 'planner',
      scopes: ['run:read'],
      egress: null,
      phase: 'active',
      createdAt: now,
    });
  });
  afterEach(async () => {
    await certificates.close();
    await changes.close();
    await store.close();
    await rm(folder, { recursive: true, force: true });
  });

  async function issued(name: string, expiresAt = now + 1000) {
    const id = newId('credential', now);
    const fingerprint = hash('sha256', name, 'hex');
    const proved = { kind: 'certificate', proof: fingerprint, material: name } as const;
    await store.identity.agents.addCredential({
      id,
      agent: planner,
      name,
      createdAt: now,
      expiresAt,
      ...proved,
    });
    return { id, fingerprint };
  }

  it('proves the agent, with what its role and its own scopes give now', async () => {
    const { id, fingerprint } = await issued('a');
    assert.deepEqual(await certificates.ofFingerprint(fingerprint), {
      id: planner,
      scopes: new Set(['read:memory', 'write:memory', 'manage:campaign', 'run:read']),
      reach: 'own',
      teams: new Set(),
      role: 'planner',
      narrowed: true,
      credential: id,
    });
    await store.identity.agents.update(planner, { role: 'worker', scopes: [] }, null);
    await changes.look();
    assert.deepEqual((await certificates.ofFingerprint(fingerprint))?.scopes, new Set(['execute:task']));
  });

  it('is looked up once and then known', async () => {
    const { fingerprint } = await issued('a');
    for (let count = 0; count < 5; count += 1) assert(await certificates.ofFingerprint(fingerprint));
    assert.equal(lookUps, 1);
  });

  it('that nobody issued is refused, and what is no fingerprint without a look-up', async () => {
    const { fingerprint } = await issued('a');
    assert.equal(await certificates.ofFingerprint(hash('sha256', 'b', 'hex')), null);
    assert.equal(lookUps, 1);
    for (const bad of ['', fingerprint.toUpperCase(), fingerprint.slice(1), `${fingerprint}0`, 'a:b'])
      assert.equal(await certificates.ofFingerprint(bad), null);
    assert.equal(lookUps, 1);
  });

  it('is no secret or key of the agent', async () => {
    const proof = hash('sha256', 'secret', 'hex');
    const common = { id: newId('credential', now), agent: planner, name: null, proof, createdAt: now };
    const { agents } = store.identity;
    await agents.addCredential({ ...common, kind: 'secret', material: null, expiresAt: now + 1000 });
    assert.equal(await certificates.ofFingerprint(proof), null);
  });

  it('stops when it is revoked, when it is over, and when its authority was given up', async () => {
    const [revoked, brief, orphan] = [await issued('a'), await issued('b', now + 10), await issued('c')];
    for (const { fingerprint } of [revoked, brief, orphan])
      assert(await certificates.ofFingerprint(fingerprint));
    assert.equal((await certificates.actorOf(revoked.id))?.id, planner);
    await store.identity.agents.revokeCredential(revoked.id, now);
    await changes.look();
    assert.equal(await certificates.ofFingerprint(revoked.fingerprint), null);
    assert.equal(await certificates.actorOf(revoked.id), null);
    now += 10;
    assert.equal(await certificates.ofFingerprint(brief.fingerprint), null);
    assert(await certificates.ofFingerprint(orphan.fingerprint));
    givenUp.add('c');
    await store.identity.changes.note('key', '*');
    await changes.look();
    assert.equal(await certificates.ofFingerprint(orphan.fingerprint), null);
  });

  it('stops when its agent is disabled or removed', async () => {
    const { fingerprint } = await issued('a');
    const { agents } = store.identity;
    const phase = async (to: 'active' | 'disabled') => {
      await agents.update(planner, { phase: to }, null);
      await changes.look();
      return (await certificates.ofFingerprint(fingerprint))?.id ?? null;
    };
    assert.deepEqual([await phase('disabled'), await phase('active')], [null, planner]);
    await agents.remove(planner, now);
    await changes.look();
    assert.equal(await certificates.ofFingerprint(fingerprint), null);
  });

  it('is asked after at the store while nobody knows what changed meanwhile', async () => {
    const { id, fingerprint } = await issued('a');
    assert(await certificates.ofFingerprint(fingerprint));
    await changes.close();
    await store.identity.agents.revokeCredential(id, now);
    now += 500;
    assert.equal(changes.isFresh, false);
    assert.equal(await certificates.ofFingerprint(fingerprint), null);
  });

  it('writes its last use at most once a minute', async () => {
    const { id, fingerprint } = await issued('a', now + 1_000_000);
    const lastUse = async () => {
      await certificates.ofFingerprint(fingerprint);
      await certificates.close();
      return (await store.identity.agents.credential(id))?.lastUsedAt;
    };
    const first = now;
    assert.equal(await lastUse(), first);
    now = first + 59_999;
    assert.equal(await lastUse(), first);
    now = first + 60_000;
    assert.equal(await lastUse(), now);
  });
});
