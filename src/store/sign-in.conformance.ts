import assert from 'node:assert/strict';
import { it } from 'node:test';
import type { SignInRecord } from './identity-store.ts';
import type { Store } from './store.ts';
import { changesOf, newSignIn, type Using } from './test-identity.ts';

const page = { after: null, limit: 10 };

/** What every store promises of sign-ins: they work until something ends them, and then nothing of them works. */
export function signInPromises(using: Using): void {
  lifePromises(using);
  refreshPromises(using);
  endPromises(using);
}

async function make(
  store: Store,
  change: Partial<SignInRecord> = {},
  secret: string | null = null,
): Promise<SignInRecord> {
  const record = newSignIn(change);
  await store.identity.signIns.create(record, secret);
  return record;
}

function lifePromises(using: Using): void {
  it('gives back a sign-in as it was made, and by its cookie where it is a browser’s', async () => {
    const { signIns } = using().store.identity;
    const full: Partial<SignInRecord> = {
      kind: 'browser',
      client: null,
      scopes: ['run:read'],
      reach: 'own',
      mfa: true,
      provider: 'p',
      providerSession: 's',
      onBehalfOf: 'user:bob',
    };
    const browser = await make(using().store, full, 'cookie');
    const program = await make(using().store, {}, 'refresh');
    assert.deepEqual(await signIns.get(browser.id, 1100), browser);
    assert.deepEqual(await signIns.byCookie('cookie', 1100), browser);
    assert.deepEqual(await signIns.get(program.id, 1100), program);
    assert.equal(await signIns.byCookie('refresh', 1100), null);
    assert.equal(await signIns.byRefresh('cookie'), null);
    assert.deepEqual(await signIns.byRefresh('refresh'), program);
  });

  it('works until it was idle too long or its time is over, and a use does not bring it back', async () => {
    const { signIns } = using().store.identity;
    const { id } = await make(using().store, { kind: 'browser', expiresAt: 2500 }, 'cookie');
    assert.notEqual(await signIns.get(id, 1999), null);
    await signIns.touch(id, 1500);
    assert.notEqual(await signIns.byCookie('cookie', 2499), null);
    assert.equal(await signIns.byCookie('cookie', 2500), null);
    const idle = await make(using().store, {});
    assert.equal(await signIns.get(idle.id, 2000), null);
    await signIns.touch(idle.id, 2000);
    assert.equal(await signIns.get(idle.id, 2000), null);
    await signIns.touch(id, 1200);
    assert.equal((await signIns.get(id, 2000))?.lastUsedAt, 1500);
  });

  it('gives another cookie to whoever proves again who it is, and the one before is worth nothing', async () => {
    const { signIns } = using().store.identity;
    const { id } = await make(using().store, { kind: 'browser' }, 'old');
    const proof = { at: 1500, methods: ['pwd', 'otp'], mfa: true };
    const changes = await changesOf(using().store, async () =>
      assert(await signIns.proved(id, { ...proof, cookie: 'new' })),
    );
    assert.deepEqual(changes, [`sign-in ${id}`]);
    assert.equal(await signIns.byCookie('old', 1500), null);
    const record = await signIns.byCookie('new', 1500);
    assert.deepEqual([record?.authAt, record?.mfa, record?.methods], [1500, true, ['pwd', 'otp']]);
    assert(await signIns.proved(id, { ...proof, cookie: null }));
    assert.notEqual(await signIns.byCookie('new', 1500), null);
    await signIns.revoke(id, 1600, 'r');
    assert(!(await signIns.proved(id, { ...proof, at: 1700, cookie: 'newer' })));
  });

  it('lists what works now, of everybody or of one', async () => {
    const { signIns } = using().store.identity;
    const first = await make(using().store, { createdAt: 1000 });
    const second = await make(using().store, { createdAt: 1001, actor: 'user:bob' });
    const third = await make(using().store, { createdAt: 1002, parent: first.id });
    const ids = async (filter: { actor?: 'user:ann' }) =>
      (await signIns.list(filter, page, 1500)).records.map(({ id }) => id);
    assert.deepEqual(await ids({}), [third.id, second.id, first.id]);
    assert.deepEqual(await ids({ actor: 'user:ann' }), [third.id, first.id]);
    const rest = await signIns.list({}, { after: { createdAt: 1001, id: second.id }, limit: 1 }, 1500);
    assert.deepEqual(rest, { records: [first], more: false });
    await signIns.revoke(first.id, 1500, 'r');
    assert.deepEqual(await ids({}), [second.id]);
  });

  it('ends with what it was exchanged from, however far up and however that ended', async () => {
    const { signIns } = using().store.identity;
    const top = await make(using().store, { expiresAt: 1500 });
    const middle = await make(using().store, { parent: top.id });
    const bottom = await make(using().store, { parent: middle.id }, 'refresh');
    assert.notEqual(await signIns.get(bottom.id, 1499), null);
    assert.equal(await signIns.get(bottom.id, 1500), null);
    assert.deepEqual((await signIns.list({}, page, 1500)).records, []);
    assert.equal((await signIns.rotate('refresh', 'next', 1500)).outcome, 'absent');
    const orphan = await make(using().store, { parent: newSignIn().id });
    assert.equal(await signIns.get(orphan.id, 1001), null);
  });

  it('is not kept alive by a ring of parents', async () => {
    const { signIns } = using().store.identity;
    const [one, two] = [newSignIn(), newSignIn()];
    await signIns.create({ ...one, parent: two.id }, null);
    await signIns.create({ ...two, parent: one.id }, null);
    assert(await signIns.revoke(one.id, 1100, 'r'));
    assert.equal(await signIns.get(two.id, 1100), null);
  });

  it('forgets what ended, with its refresh tokens, and keeps what works', async () => {
    const { signIns } = using().store.identity;
    const kept = await make(using().store, { createdAt: 5000 }, 'kept');
    const idle = await make(using().store, {}, 'idle');
    const revoked = await make(using().store, { createdAt: 5000 }, 'revoked');
    await signIns.revoke(revoked.id, 5001, 'r');
    await signIns.forgetBefore(5002);
    assert.equal(await signIns.byRefresh('idle'), null);
    assert.equal(await signIns.byRefresh('revoked'), null);
    assert.deepEqual(await signIns.byRefresh('kept'), kept);
    assert.equal(await signIns.get(idle.id, 1001), null);
  });
}

function refreshPromises(using: Using): void {
  it('gives the next token to one of fifty callers on two processes, and then the family is dead', async () => {
    const { store, other } = using();
    const { id } = await make(store, {}, 't0');
    const results = await Promise.all(
      Array.from({ length: 50 }, (_, index) =>
        (index % 2 === 0 ? store : other).identity.signIns.rotate('t0', `t1-${index}`, 1100),
      ),
    );
    const outcomes = results.map(({ outcome }) => outcome);
    assert.equal(outcomes.filter((outcome) => outcome === 'rotated').length, 1);
    assert.equal(outcomes.filter((outcome) => outcome === 'reused').length, 49);
    for (const each of [store, other]) {
      assert.equal(await each.identity.signIns.get(id, 1100), null);
      for (let index = 0; index < 50; index += 1)
        assert.notEqual((await each.identity.signIns.rotate(`t1-${index}`, 'n', 1100)).outcome, 'rotated');
    }
  });

  it('goes on from token to token, each a use of its sign-in', async () => {
    const { store, other } = using();
    const { id } = await make(store, { idleMs: 1000 }, 't0');
    for (let step = 0; step < 5; step += 1) {
      const rotated = await (step % 2 === 0 ? store : other).identity.signIns.rotate(
        `t${step}`,
        `t${step + 1}`,
        1900 + step * 900,
      );
      assert(rotated.outcome === 'rotated');
      assert.deepEqual([rotated.record.id, rotated.record.lastUsedAt], [id, 1900 + step * 900]);
    }
    assert.equal((await store.identity.signIns.byRefresh('t2'))?.id, id);
  });

  it('ends the sign-in and all that was exchanged from it when an old token comes again', async () => {
    const { signIns } = using().store.identity;
    const { id } = await make(using().store, {}, 't0');
    const child = await make(using().store, { parent: id });
    const grandchild = await make(using().store, { parent: child.id });
    await signIns.rotate('t0', 't1', 1100);
    await signIns.rotate('t1', 't2', 1200);
    const changes = await changesOf(using().store, async () => {
      const reused = await signIns.rotate('t0', 'thief', 1300);
      assert(reused.outcome === 'reused' && reused.record.id === id);
    });
    assert.deepEqual(
      changes.toSorted(),
      [id, child.id, grandchild.id].map((each) => `sign-in ${each}`).toSorted(),
    );
    for (const each of [id, child.id, grandchild.id]) assert.equal(await signIns.get(each, 1300), null);
    assert.equal((await signIns.rotate('t2', 't3', 1300)).outcome, 'absent');
    assert.equal(await signIns.byRefresh('thief'), null);
  });

  it('refuses tokens that nobody has, that are over, and of a sign-in that was revoked', async () => {
    const { signIns } = using().store.identity;
    assert.equal((await signIns.rotate('none', 'n', 1000)).outcome, 'absent');
    await make(using().store, {}, 'idle');
    for (const at of [2000, 2001])
      assert.equal((await signIns.rotate('idle', 'n', at)).outcome, 'absent', 'it is over, not used');
    const { id } = await make(using().store, {}, 'revoked');
    await signIns.revoke(id, 1100, 'r');
    assert.equal((await signIns.rotate('revoked', 'n', 1100)).outcome, 'absent');
    assert.equal(await signIns.byRefresh('n'), null);
  });
}

function endPromises(using: Using): void {
  it('is revoked once, with what was exchanged from it and nothing else', async () => {
    const { signIns } = using().store.identity;
    const { id } = await make(using().store);
    const child = await make(using().store, { parent: id, actor: 'agent:helper' });
    const bystander = await make(using().store);
    assert(await signIns.revoke(id, 1100, 'r'));
    assert(!(await signIns.revoke(id, 1100, 'r')));
    assert.equal(await signIns.get(child.id, 1100), null);
    assert.notEqual(await signIns.get(bystander.id, 1100), null);
    assert(!(await signIns.revoke(bystander.id, 2000, 'its time was over')));
  });

  it('signs an actor out everywhere but where it is, and nobody else', async () => {
    const { signIns } = using().store.identity;
    const here = await make(using().store);
    const there = await make(using().store);
    const bob = await make(using().store, { actor: 'user:bob' });
    assert.equal(await signIns.revokeOf('user:ann', 1100, 'r', here.id), 1);
    assert.equal(await signIns.get(there.id, 1100), null);
    for (const { id } of [here, bob]) assert.notEqual(await signIns.get(id, 1100), null);
    assert.equal(await signIns.revokeOf('user:ann', 1100, 'r', null), 1);
    assert.equal(await signIns.get(here.id, 1100), null);
  });

  it('ends what a provider signed out: one session, or all of a user there', async () => {
    const { signIns } = using().store.identity;
    const at = (provider: string, providerSession: string) =>
      make(using().store, { provider, providerSession });
    const [one, two, elsewhere] = [await at('p', '1'), await at('p', '2'), await at('q', '1')];
    const local = await make(using().store);
    const ended = await signIns.revokeOfProvider('p', { session: '1' }, 1100);
    assert.deepEqual(
      ended.map(({ id }) => id),
      [one.id],
    );
    for (const { id } of [two, elsewhere, local]) assert.notEqual(await signIns.get(id, 1100), null);
    assert.equal((await signIns.revokeOfProvider('p', { user: 'ann' }, 1100)).length, 1);
    assert.equal(await signIns.get(two.id, 1100), null);
    for (const { id } of [elsewhere, local]) assert.notEqual(await signIns.get(id, 1100), null);
  });
}
