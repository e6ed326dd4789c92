import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { testLives, testSealing } from '../../tests/support/test-control.ts';
import type { GrantableScope } from '../model/scopes.ts';
import { openSqliteStore } from '../store/sqlite/open.ts';
import type { Store } from '../store/store.ts';
import { openIdentityDirectory } from './open.ts';
import { newTokenSecret } from './token-secret.ts';
import type { IssuedToken, Tokens } from './tokens.ts';

const bootstrap = 'the-bootstrap-secret';
const opens: { close(): Promise<void> }[] = [];

/** The tokens of one process on this store. */
async function opened(
  store: Store,
  { secret, now }: { secret: string | null; now: () => number },
): Promise<Tokens> {
  const directory = await openIdentityDirectory({
    store,
    clock: { now, monotonic: now },
    sealing: testSealing,
    publicUrl: 'http://localhost:7717',
    bootstrap: { secret },
    lives: testLives,
    trustDomain: 'sealwright.test',
    onError: (error) => {
      throw error;
    },
  });
  opens.push(directory);
  return directory.tokens;
}

async function closeAll(): Promise<void> {
  for (const directory of opens.splice(0)) await directory.close();
}

describe('API tokens', () => {
  let folder: string;
  let store: Store;
  let now: number;
  let lookUps: number;

  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'sealwright-tokens-'));
    store = await openSqliteStore({ file: join(folder, 'store.db') });
    now = 1_000_000;
    lookUps = 0;
  });
  afterEach(async () => {
    await closeAll();
    await store.close();
    await rm(folder, { recursive: true, force: true });
  });

  const open = async (): Promise<Tokens> =>
    await tokensOf({
      ...store,
      tokens: {
        ...store.tokens,
        byHash: (hash) => {
          lookUps += 1;
          return store.tokens.byHash(hash);
        },
      },
    });
  const tokensOf = (over: Store) => opened(over, { secret: bootstrap, now: () => now });

  async function issue(
    tokens: Tokens,
    options: { scopes?: GrantableScope[]; expiresAt?: number | null } = {},
  ): Promise<IssuedToken> {
    const { scopes = ['run:read'], expiresAt = null } = options;
    const issued = await tokens.issue(
      { name: 'ci', actor: 'user:ann', scopes, reach: 'own', expiresAt },
      null,
    );
    assert('secret' in issued);
    return issued;
  }

  it('prove an actor with exactly the scopes and the reach that were granted', async () => {
    const tokens = await open();
    const { secret, record } = await issue(tokens);
    const actor = await tokens.verify(secret);
    assert.deepEqual(actor, {
      id: 'user:ann',
      scopes: new Set(['run:read']),
      reach: 'own',
      narrowed: true,
      credential: record.id,
    });
  });

  it('are stored as a hash alone', async () => {
    const { secret, record } = await issue(await open());
    assert(!JSON.stringify(await store.tokens.get(record.id)).includes(secret.slice(3, 20)));
  });

  it('that nobody issued are refused, and malformed ones without a look-up', async () => {
    const tokens = await open();
    assert.equal(await tokens.verify(newTokenSecret()), null);
    assert.equal(lookUps, 1);
    const { secret } = await issue(tokens);
    for (const bad of [
      '',
      'x',
      secret.slice(0, -1),
      `${secret} `,
      'sw_'.padEnd(39, '0'),
      'y'.repeat(100_000),
    ])
      assert.equal(await tokens.verify(bad), null);
    assert.equal(lookUps, 1);
  });

  it('are looked up once and then known', async () => {
    const tokens = await open();
    const { secret } = await issue(tokens);
    for (let count = 0; count < 5; count += 1) assert(await tokens.verify(secret));
    assert.equal(lookUps, 1);
  });

  it('stop working the moment they are revoked, though they were known', async () => {
    const tokens = await open();
    const { secret, record } = await issue(tokens);
    assert(await tokens.verify(secret));
    assert.equal(await tokens.revoke(record.id), true);
    assert.equal(await tokens.verify(secret), null);
    assert.equal(await tokens.revoke(record.id), false);
  });

  it('stop working even where a look-up was on its way during the revocation', async () => {
    const tokens = await open();
    const { secret, record } = await issue(tokens);
    const [, actor] = await Promise.all([tokens.revoke(record.id), tokens.verify(secret)]);
    void actor;
    assert.equal(await tokens.verify(secret), null);
  });

  it('stop working when they expire, known or not', async () => {
    const tokens = await open();
    const { secret } = await issue(tokens, { expiresAt: now + 1000 });
    now += 999;
    assert(await tokens.verify(secret));
    now += 1;
    assert.equal(await tokens.verify(secret), null);
    assert.equal(await (await open()).verify(secret), null);
  });

  it('write their last use at most once a minute', async () => {
    const tokens = await open();
    const { secret, record } = await issue(tokens);
    const lastUse = async () => {
      await tokens.verify(secret);
      await tokens.close();
      return (await store.tokens.get(record.id))?.lastUsedAt;
    };
    const first = now;
    assert.equal(await lastUse(), first);
    now = first + 59_999;
    assert.equal(await lastUse(), first);
    now = first + 60_000;
    assert.equal(await lastUse(), now);
  });
});

describe('the bootstrap token', () => {
  let folder: string;
  let store: Store;
  let now = 1_000_000;
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'sealwright-tokens-'));
    store = await openSqliteStore({ file: join(folder, 'store.db') });
  });
  afterEach(async () => {
    await closeAll();
    await store.close();
    await rm(folder, { recursive: true, force: true });
  });
  const open = (secret: string | null) => opened(store, { secret, now: () => now });
  const issue = async (tokens: Tokens, scope: GrantableScope, expiresAt: number | null = null) => {
    const token = { name: 'a', actor: 'user:ann', scopes: [scope], reach: 'all', expiresAt } as const;
    const issued = await tokens.issue(token, null);
    assert('secret' in issued);
    return issued;
  };

  it('holds everything until there is an administrator, and nothing afterwards', async () => {
    const tokens = await open(bootstrap);
    assert.deepEqual((await tokens.verify(bootstrap))?.id, 'user:bootstrap');
    await issue(tokens, 'run:read');
    assert(await tokens.verify(bootstrap));
    await issue(tokens, 'identity:write');
    assert.equal(await tokens.verify(bootstrap), null);
    assert.equal(await (await open(bootstrap)).verify(bootstrap), null);
  });

  it('works again when the last administrator is gone, so that nobody is locked out', async () => {
    const tokens = await open(bootstrap);
    const { record } = await issue(tokens, 'identity:write');
    await issue(tokens, 'identity:write', now + 1000);
    await tokens.revoke(record.id);
    assert.equal(await tokens.verify(bootstrap), null);
    now += 1000;
    assert(await tokens.verify(bootstrap));
  });

  it('does not exist in production, where none is configured', async () => {
    const tokens = await open(null);
    for (const text of [bootstrap, '', 'null']) assert.equal(await tokens.verify(text), null);
  });
});
