import assert from 'node:assert/strict';
import { it } from 'node:test';
import fc from 'fast-check';
import type { ActorId } from '../model/actor.ts';
import { newId, type SessionId } from '../model/ids.ts';
import { defaultRunLimits } from '../model/limits.ts';
import { attachOff } from '../model/terminal.ts';
import { ownerAlone, type Store, type Within } from './store.ts';

type Using = () => Store;
const ann: ActorId = 'user:ann';
const bob: ActorId = 'user:bob';
const document = { rules: [] };

/** What every store promises of what teams share: their members find it, nobody else does, and it ends with the team. */
export function ownershipPromises(using: Using): void {
  sharingPromises(using);
  removalPromises(using);
  policyPromises(using);
}

async function makeTeam(store: Store, name: string): Promise<void> {
  const made = await store.identity.teams.put({ name, description: null, members: [], createdAt: 1 }, null);
  assert.equal(made.outcome, 'written');
}

async function makeSession(store: Store, owner: ActorId, team: string | null, createdAt = 1000) {
  const id = newId('session', createdAt);
  const egress = { names: [], reason: null };
  const times = { createdAt, closedAt: null };
  const rest = { name: null, phase: 'pending', repo: null, egress, attach: attachOff, ...times } as const;
  return await store.sessions.create({ id, owner, team, ...rest }, { claim: null, openPerOwnerMax: 1000 });
}

async function sessionOf(store: Store, owner: ActorId, team: string | null, createdAt = 1000) {
  const made = await makeSession(store, owner, team, createdAt);
  assert(made.outcome === 'created');
  return made.record.id;
}

async function runIn(store: Store, session: SessionId, owner: ActorId, at = 1000) {
  const spec = {
    command: ['x'],
    envNames: [],
    cwd: null,
    limits: defaultRunLimits,
    strict: false,
    diff: true,
  };
  const egress = { names: [], reason: null, generation: 1 };
  const state = { phase: 'queued', queuedAt: at } as const;
  const unsaid = { parent: null, name: null, terminal: null, priority: 0 };
  const made = await store.runs.create(
    { id: newId('run', at), session, owner, spec, egress, state, ...unsaid },
    { env: {}, claim: null, livePerOwnerMax: 1000 },
  );
  assert(made.outcome === 'created');
  return made.record;
}

function sharingPromises(using: Using): void {
  it('finds what is somebody’s own and its teams’, each once, in the order of its age', async () => {
    const store = using();
    for (const team of ['red', 'blue', 'grey']) await makeTeam(store, team);
    const owners = fc.constantFrom<ActorId>(ann, bob);
    const teams = fc.constantFrom(null, 'red', 'blue', 'grey');
    const made: { id: SessionId; owner: ActorId; team: string | null; at: number }[] = [];
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.tuple(owners, teams, fc.integer({ min: 0, max: 3 })), { maxLength: 6 }),
        owners,
        fc.uniqueArray(fc.constantFrom('red', 'blue', 'none'), { maxLength: 3 }),
        fc.integer({ min: 1, max: 4 }),
        async (added, owner, among, limit) => {
          for (const [of, team, at] of added)
            made.push({ id: await sessionOf(store, of, team, at), owner: of, team, at });
          const expected = made
            .filter(
              (each) => each.owner === owner || (each.team !== null && among.some((t) => t === each.team)),
            )
            .sort((a, b) => b.at - a.at || (a.id < b.id ? 1 : -1))
            .map(({ id }) => id);
          assert.deepEqual(await walk(store, { owner, teams: among }, limit), expected);
        },
      ),
      { numRuns: 25 },
    );
  });

  it('gives a run the team of its session, by which members find it and its flows', async () => {
    const store = using();
    await makeTeam(store, 'blue');
    const shared = await runIn(store, await sessionOf(store, ann, 'blue'), bob);
    const own = await runIn(store, await sessionOf(store, ann, null), ann);
    assert.deepEqual([shared.team, own.team], ['blue', null]);
    assert.deepEqual(await store.runs.get(shared.id), shared);
    const found = async (within: Within) =>
      (await store.runs.list({ within }, { after: null, limit: 9 })).records.map(({ id }) => id);
    assert.deepEqual(await found({ owner: 'user:cyd', teams: ['blue'] }), [shared.id]);
    assert.deepEqual(await found({ owner: 'user:cyd', teams: ['red'] }), []);
    assert.deepEqual((await found({ owner: ann, teams: ['blue'] })).sort(), [shared.id, own.id].sort());
    assert.deepEqual(await found({ owner: ann, teams: [] }), [own.id]);
    for (const { id } of [shared, own]) {
      const ending = { phase: 'cancelled', reason: '', exit: { code: null, signal: null } } as const;
      await store.runs.write([{ run: id, changes: () => [{ to: 'finished', at: 2000, ending }] }]);
    }
    const within = { owner: 'user:cyd', teams: ['blue'] } as const;
    const ended = await store.flows.runsSince(1, { within }, { after: null, limit: 9 });
    assert.deepEqual(
      ended.records.map(({ id }) => id),
      [shared.id],
    );
  });

  it('gives a session to no team that is not there', async () => {
    const store = using();
    assert.equal((await makeSession(store, ann, 'blue')).outcome, 'team');
    await makeTeam(store, 'blue');
    assert.equal((await makeSession(store, ann, 'blue')).outcome, 'created');
    await store.identity.teams.remove('blue');
    assert.equal((await makeSession(store, ann, 'blue')).outcome, 'team');
  });
}

function removalPromises(using: Using): void {
  it('leaves what a removed team shared to its owners, also when a team of that name is made again', async () => {
    const store = using();
    await makeTeam(store, 'blue');
    const session = await sessionOf(store, ann, 'blue');
    const run = await runIn(store, session, bob);
    await put(store, 'web', { team: 'blue' });
    await store.identity.teams.remove('blue');
    await makeTeam(store, 'blue');
    assert.equal((await store.sessions.get(session))?.team, null);
    assert.equal((await store.runs.get(run.id))?.team, null);
    assert.equal((await store.policies.get('web'))?.team, ownerAlone);
    const page = { after: null, limit: 9 };
    const member = { within: { owner: 'user:cyd', teams: ['blue'] } } as const;
    assert.deepEqual((await store.sessions.list(member, page)).records, []);
    assert.deepEqual((await store.runs.list(member, page)).records, []);
    assert.deepEqual((await store.policies.list(member, page)).records, []);
    assert.equal((await store.policies.list({ within: { owner: ann, teams: [] } }, page)).records.length, 1);
  });
}

async function put(
  store: Store,
  name: string,
  options: { team?: string | null; author?: ActorId; current?: number } = {},
) {
  const { team, author = ann, current = null } = options;
  return await store.policies.put({ name, document, team, author, reason: null, createdAt: 1 }, current);
}

function policyPromises(using: Using): void {
  it('keeps the owner of a policy’s name, whoever writes it, and its team unless one is named', async () => {
    const store = using();
    await makeTeam(store, 'blue');
    await put(store, 'web', { team: 'blue' });
    const second = await put(store, 'web', { author: bob, current: 1 });
    assert(second.outcome === 'written');
    assert.deepEqual([second.record.owner, second.record.team, second.record.author], [ann, 'blue', bob]);
    await store.policies.remove({ name: 'web', author: bob, reason: null, createdAt: 2 });
    const newest = await store.policies.newest('web');
    assert.deepEqual([newest?.document, newest?.owner, newest?.team], [null, ann, 'blue']);
    const again = await put(store, 'web', { author: bob, team: null });
    assert(again.outcome === 'written');
    assert.deepEqual([again.record.owner, again.record.team], [ann, null]);
    assert.equal(await store.policies.newest('other'), null);
  });

  it('says of who made a policy first, and of nobody else, that a name is its own, a removed one too', async () => {
    const { policies } = using();
    assert.equal(await policies.isOwner(ann), false);
    await put(using(), 'web');
    await put(using(), 'web', { author: bob, current: 1 });
    assert.deepEqual([await policies.isOwner(ann), await policies.isOwner(bob)], [true, false]);
    await policies.remove({ name: 'web', author: bob, reason: null, createdAt: 2 });
    assert.equal(await policies.isOwner(ann), true);
  });

  it('gives a policy to no team that is not there', async () => {
    assert.equal((await put(using(), 'web', { team: 'blue' })).outcome, 'team');
    assert.equal(await using().policies.newest('web'), null);
  });

  it('lists the policies of everybody, of one and of its teams', async () => {
    const store = using();
    for (const team of ['blue', 'red']) await makeTeam(store, team);
    await put(store, 'a-blue', { team: 'blue' });
    await put(store, 'b-red', { team: 'red', author: bob });
    await put(store, 'c-all');
    const names = async (within: Within | undefined) =>
      (await store.policies.list({ within }, { after: null, limit: 9 })).records.map(({ name }) => name);
    assert.deepEqual(await names(undefined), ['a-blue', 'b-red', 'c-all']);
    assert.deepEqual(await names({ owner: 'user:cyd', teams: [] }), ['c-all']);
    assert.deepEqual(await names({ owner: 'user:cyd', teams: ['blue'] }), ['a-blue', 'c-all']);
    assert.deepEqual(await names({ owner: bob, teams: [] }), ['b-red', 'c-all']);
  });
}

async function walk(store: Store, within: Within, limit: number): Promise<SessionId[]> {
  const ids: SessionId[] = [];
  for (let after: { createdAt: number; id: string } | null = null; ; ) {
    const page: Awaited<ReturnType<Store['sessions']['list']>> = await store.sessions.list(
      { within },
      { after, limit },
    );
    ids.push(...page.records.map(({ id }) => id));
    after = page.records.at(-1) ?? null;
    if (!page.more) return ids;
  }
}
