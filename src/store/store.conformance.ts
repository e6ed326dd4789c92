import assert from 'node:assert/strict';
import { afterEach, beforeEach, describe, it } from 'node:test';
import fc from 'fast-check';
import type { PolicyDocument } from '../contract/policy.ts';
import type { ActorId } from '../model/actor.ts';
import type { EgressFlow, EgressFlowEnd } from '../model/egress.ts';
import { newId, type RunId, type SessionId } from '../model/ids.ts';
import { defaultRunLimits } from '../model/limits.ts';
import { advanceRun, type Ending, type RunChange, type RunState } from '../model/run.ts';
import { type AttachSettings, attachOff } from '../model/terminal.ts';
import { ownershipPromises } from './ownership.conformance.ts';
import type { Claim, EndedRun, Listed, Store } from './store.ts';

const ann: ActorId = 'user:ann';
const bob: ActorId = 'user:bob';
const succeeded: Ending = { phase: 'succeeded', exit: { code: 0, signal: null } };

/** What every store promises, whatever it is made of. `open` makes an empty one. */
export function storeConformance(
  kind: string,
  open: () => Promise<{ store: Store; remove(): Promise<void> }>,
) {
  describe(`${kind} store`, () => {
    let store: Store;
    let remove: () => Promise<void>;
    beforeEach(async () => {
      ({ store, remove } = await open());
    });
    afterEach(async () => {
      await store.close();
      await remove();
    });
    sessionPromises(() => store);
    runPromises(() => store);
    transitionPromises(() => store);
    claimPromises(() => store);
    uploadPromises(() => store);
    tokenPromises(() => store);
    policyPromises(() => store);
    flowPromises(() => store);
    pagingPromises(() => store);
    ownershipPromises(() => store);
  });
}

type Using = () => Store;

async function makeSession(
  store: Store,
  options: {
    owner?: ActorId;
    createdAt?: number;
    claim?: Claim | null;
    max?: number;
    upload?: string;
    attach?: AttachSettings;
  } = {},
) {
  const { owner = ann, createdAt = 1000, claim = null, max = 1000, upload, attach = attachOff } = options;
  const egress = { names: ['npm', 'web'], reason: '"why"' };
  const repo = upload === undefined ? null : { upload: upload as never, shallow: [] };
  const id = newId('session', createdAt);
  return await store.sessions.create(
    { id, name: null, phase: 'pending', owner, team: null, repo, egress, attach, createdAt, closedAt: null },
    { claim, openPerOwnerMax: max },
  );
}

async function sessionIn(store: Store, owner: ActorId = ann): Promise<SessionId> {
  const made = await makeSession(store, { owner });
  assert(made.outcome === 'created');
  return made.record.id;
}

function newRun(session: SessionId, createdAt: number, state: RunState, command: string[] = ['true']) {
  return {
    id: newId('run', createdAt),
    session,
    parent: null,
    name: null,
    owner: ann,
    spec: { command, envNames: ['A'], cwd: null, limits: defaultRunLimits, strict: false, diff: true },
    egress: { names: [], reason: null, generation: 1 },
    terminal: null,
    priority: 0,
    state,
  };
}

async function makeRun(
  store: Store,
  session: SessionId,
  options: { at?: number; starting?: boolean; claim?: Claim | null; max?: number; command?: string[] } = {},
) {
  const { at = 1000, starting = false, claim = null, max = 1000, command } = options;
  const state: RunState = starting
    ? { phase: 'starting', queuedAt: at, startingAt: at }
    : { phase: 'queued', queuedAt: at };
  const run = newRun(session, at, state, command);
  return await store.runs.create(run, { env: { A: 'secret' }, claim, livePerOwnerMax: max });
}

async function runIn(store: Store, session: SessionId, starting = false): Promise<RunId> {
  const made = await makeRun(store, session, { starting });
  assert(made.outcome === 'created');
  return made.record.id;
}

async function change(store: Store, run: RunId, ...changes: RunChange[]) {
  const [written] = await store.runs.write([{ run, changes: () => changes }]);
  assert(written !== undefined);
  return written;
}

const ended = (at: number): RunChange => ({ to: 'finished', at, ending: succeeded });

function sessionPromises(using: Using): void {
  it('gives back a session as it was made, with a version and no live runs', async () => {
    const made = await makeSession(using());
    assert(made.outcome === 'created');
    assert.deepEqual(await using().sessions.get(made.record.id), made.record);
    assert.deepEqual([made.record.version, made.record.liveRuns], [1, 0]);
  });

  it('refuses the session that is one too many for its owner, and counts only open ones', async () => {
    const id = await sessionIn(using());
    assert.equal((await makeSession(using(), { max: 1 })).outcome, 'quota');
    assert.equal((await makeSession(using(), { max: 1, owner: bob })).outcome, 'created');
    await using().sessions.terminate(id, 2000, '');
    await using().sessions.close(id, 2000);
    assert.equal((await makeSession(using(), { max: 1 })).outcome, 'created');
  });

  it('keeps how people attach, and says so with a new version', async () => {
    const store = using();
    const on = { enabled: true, mode: 'collaborative', moderated: true, recordInput: true } as const;
    const made = await makeSession(store, { attach: on });
    assert(made.outcome === 'created');
    const { id } = made.record;
    assert.deepEqual((await store.sessions.get(id))?.attach, on);
    const off = await store.sessions.setAttach(id, attachOff);
    assert.deepEqual([off?.attach, off?.version], [attachOff, 2]);
    assert.deepEqual(await store.sessions.get(id), off);
    assert.equal(await store.sessions.setAttach(newId('session', 1), on), null);
  });

  it('renames only the version that was read', async () => {
    const id = await sessionIn(using());
    const first = await using().sessions.rename(id, 'one', 1);
    assert(first.outcome === 'written' && first.record.name === 'one' && first.record.version === 2);
    assert.equal((await using().sessions.rename(id, 'two', 1)).outcome, 'stale');
    assert.equal((await using().sessions.rename(newId('session', 1), 'two', 1)).outcome, 'absent');
  });

  it('cancels the queued runs of a session that ends, and leaves the others', async () => {
    const id = await sessionIn(using());
    const queued = await runIn(using(), id);
    const starting = await runIn(using(), id, true);
    const cancelled = await using().sessions.terminate(id, 2000, 'closed');
    assert.deepEqual(
      cancelled?.map((run) => [run.id, run.state.phase]),
      [[queued, 'cancelled']],
    );
    assert.equal((await using().runs.get(starting))?.state.phase, 'starting');
    assert.equal(await using().sessions.terminate(id, 2000, 'again'), null);
  });

  it('closes a session only once it is terminating and its runs have ended', async () => {
    const id = await sessionIn(using());
    const run = await runIn(using(), id, true);
    assert.equal(await using().sessions.close(id, 2000), false);
    await using().sessions.terminate(id, 2000, '');
    assert.equal(await using().sessions.close(id, 2000), false);
    assert.deepEqual(
      (await using().sessions.terminating()).map((session) => session.id),
      [id],
    );
    await change(using(), run, ended(2000));
    assert.equal(await using().sessions.close(id, 2001), true);
    assert.equal(await using().sessions.close(id, 2002), false);
    assert.equal((await using().sessions.get(id))?.closedAt, 2001);
  });

  it('ends the sessions without a name that nobody has used for a while, and no others', async () => {
    const { sessions } = using();
    const [idle, named, busy, late, young] = [
      await sessionIn(using()),
      await sessionIn(using()),
      await sessionIn(using()),
      await sessionIn(using()),
      (await makeSession(using(), { createdAt: 3000 })).outcome === 'created',
    ];
    assert(young);
    await sessions.rename(named, 'kept', 1);
    await runIn(using(), busy, true);
    const [once, lately] = [await runIn(using(), idle), await runIn(using(), late)];
    await change(using(), once, ended(1500));
    await change(using(), lately, ended(2500));
    assert.deepEqual(await sessions.terminateIdle(1500, 10), [], 'not before its time');
    assert.deepEqual(await sessions.terminateIdle(2000, 10), [{ id: idle, owner: ann }]);
    assert.deepEqual(await sessions.terminateIdle(2000, 10), [], 'once');
    const phases = await Promise.all([idle, named, busy, late].map((id) => sessions.get(id)));
    assert.deepEqual(
      phases.map((session) => session?.phase),
      ['terminating', 'pending', 'pending', 'pending'],
    );
    assert.equal((await sessions.terminateIdle(4000, 1)).length, 1, 'at most so many at once');
  });

  it('takes no run into a session that ends', async () => {
    const id = await sessionIn(using());
    await using().sessions.terminate(id, 2000, '');
    assert.equal((await makeRun(using(), id)).outcome, 'closed');
  });

  it('becomes active with its first running command', async () => {
    const id = await sessionIn(using());
    const run = await runIn(using(), id, true);
    assert.equal((await using().sessions.get(id))?.phase, 'pending');
    await change(using(), run, { to: 'running', at: 1500 });
    assert.equal((await using().sessions.get(id))?.phase, 'active');
  });
}

function runPromises(using: Using): void {
  it('gives back the terminal of a run as it was made', async () => {
    const store = using();
    const session = await sessionIn(store);
    const terminal = { id: newId('terminal', 1), size: { columns: 132, rows: 43 } };
    const run = { ...newRun(session, 1000, { phase: 'queued', queuedAt: 1000 }), terminal };
    await store.runs.create(run, { env: {}, claim: null, livePerOwnerMax: 10 });
    assert.deepEqual((await store.runs.get(run.id))?.terminal, terminal);
    assert.equal((await store.runs.get(await runIn(store, session)))?.terminal, null);
  });

  it('gives back a run as it was made', async () => {
    const session = await sessionIn(using());
    const made = await makeRun(using(), session);
    assert(made.outcome === 'created');
    assert.deepEqual(await using().runs.get(made.record.id), made.record);
    assert.equal((await using().sessions.get(session))?.liveRuns, 1);
  });

  it('keeps the values of the environment until the command runs, and no longer', async () => {
    const session = await sessionIn(using());
    const run = await runIn(using(), session, true);
    assert.deepEqual(await using().runs.envOf(run), { A: 'secret' });
    await change(using(), run, { to: 'running', at: 1500 });
    assert.equal(await using().runs.envOf(run), null);
    const cancelled = await runIn(using(), session);
    await change(using(), cancelled, ended(1500));
    assert.equal(await using().runs.envOf(cancelled), null);
  });

  it('refuses the live run that is one too many for its owner', async () => {
    const session = await sessionIn(using());
    const run = await runIn(using(), session);
    assert.equal((await makeRun(using(), session, { max: 1 })).outcome, 'quota');
    await change(using(), run, ended(1500));
    assert.equal((await makeRun(using(), session, { max: 1 })).outcome, 'created');
  });

  it('hides a finished run, and never a live one', async () => {
    const run = await runIn(using(), await sessionIn(using()));
    assert.equal(await using().runs.remove(run, 2000), false);
    await change(using(), run, ended(1500));
    assert.equal(await using().runs.remove(run, 2000), true);
    assert.equal(await using().runs.remove(run, 2000), false);
    assert.equal(await using().runs.get(run), null);
    assert.deepEqual((await using().runs.list({}, { after: null, limit: 10 })).records, []);
    assert.deepEqual(await using().runs.finishedBefore(0, 10), [run]);
  });

  it('lists live runs, oldest first, and what is to be stopped', async () => {
    const session = await sessionIn(using());
    const first = await runIn(using(), session, true);
    const second = await makeRun(using(), session, { at: 2000 });
    assert(second.outcome === 'created');
    await using().runs.requestStop(first, 1700);
    const live = await using().runs.live();
    assert.deepEqual(
      live.map((run) => [run.id, run.stopRequestedAt]),
      [
        [first, 1700],
        [second.record.id, null],
      ],
    );
    await change(using(), first, ended(1800));
    assert.deepEqual(
      (await using().runs.liveOf(session)).map((run) => run.id),
      [second.record.id],
    );
  });

  it('finds the files that have had their time once', async () => {
    const session = await sessionIn(using());
    const run = await runIn(using(), session);
    await change(using(), run, ended(1500));
    assert.deepEqual(await using().runs.finishedBefore(1500, 10), []);
    assert.deepEqual(await using().runs.finishedBefore(1501, 10), [run]);
    await using().runs.markFilesExpired([run]);
    assert.deepEqual(await using().runs.finishedBefore(1501, 10), []);
    assert.equal((await using().runs.get(run))?.filesExpired, true);
  });

  it('keeps a page of huge commands short, and never empty', async () => {
    const session = await sessionIn(using());
    const command = ['echo', 'x'.repeat(900_000)];
    for (let at = 0; at < 8; at += 1) await makeRun(using(), session, { at, command });
    const page = await using().runs.list({}, { after: null, limit: 8 });
    assert(page.more && page.records.length >= 1 && page.records.length < 8);
  });
}

const anyChange: fc.Arbitrary<RunChange> = fc.oneof(
  fc.constant<RunChange>({ to: 'starting', at: 1100 }),
  fc.constant<RunChange>({ to: 'running', at: 1200 }),
  fc
    .constantFrom<Ending>(
      succeeded,
      { phase: 'failed', cause: 'exit', reason: 'why', exit: { code: 3, signal: null } },
      { phase: 'cancelled', reason: '', exit: { code: 143, signal: 'SIGTERM' } },
    )
    .map((ending): RunChange => ({ to: 'finished', at: 1300, ending })),
);

function transitionPromises(using: Using): void {
  it('writes exactly the transitions that the state machine allows', async () => {
    const session = await sessionIn(using());
    await fc.assert(
      fc.asyncProperty(fc.array(anyChange, { maxLength: 6 }), async (changes) => {
        const run = await runIn(using(), session);
        let state: RunState = { phase: 'queued', queuedAt: 1000 };
        for (const next of changes) {
          const expected = advanceRun(state, next);
          const written = await change(using(), run, next);
          assert.equal(written.outcome, expected === null ? 'refused' : 'written');
          state = expected ?? state;
          assert.deepEqual((await using().runs.get(run))?.state, state);
        }
      }),
      { numRuns: 40 },
    );
  });

  it('refuses a write of several changes as a whole', async () => {
    const run = await runIn(using(), await sessionIn(using()));
    const written = await change(using(), run, { to: 'starting', at: 1100 }, { to: 'starting', at: 1100 });
    assert.equal(written.outcome, 'refused');
    assert.equal((await using().runs.get(run))?.state.phase, 'queued');
  });

  it('answers a batch in order, and one refusal spoils no other', async () => {
    const session = await sessionIn(using());
    const [one, two] = [await runIn(using(), session), await runIn(using(), session)];
    const written = await using().runs.write([
      { run: one, changes: () => [{ to: 'running', at: 1 }] },
      { run: newId('run', 1), changes: () => [ended(1)] },
      { run: two, changes: () => [{ to: 'starting', at: 1 }] },
    ]);
    assert.deepEqual(
      written.map(({ outcome }) => outcome),
      ['refused', 'absent', 'written'],
    );
  });
}

function claimPromises(using: Using): void {
  const claim = { actor: ann, key: 'k', digest: 'd' };

  it('makes one resource for a key, and names it to whoever asks again', async () => {
    const made = await makeSession(using(), { claim });
    assert(made.outcome === 'created');
    const replayed = { outcome: 'replayed', resource: made.record.id };
    assert.deepEqual(await makeSession(using(), { claim }), replayed);
    assert.deepEqual(await using().idempotency.find(claim), replayed);
    assert.equal((await using().sessions.list({}, { after: null, limit: 9 })).records.length, 1);
  });

  it('makes one resource however many ask at once', async () => {
    const session = await sessionIn(using());
    const made = await Promise.all(Array.from({ length: 8 }, () => makeRun(using(), session, { claim })));
    assert.equal(made.filter(({ outcome }) => outcome === 'created').length, 1);
    assert.equal(made.filter(({ outcome }) => outcome === 'replayed').length, 7);
  });

  it('refuses a key for another request, and tells actors apart', async () => {
    await makeSession(using(), { claim });
    assert.equal(
      (await makeSession(using(), { claim: { ...claim, digest: 'e' } })).outcome,
      'claimed-otherwise',
    );
    assert.equal((await makeSession(using(), { claim: { ...claim, actor: bob } })).outcome, 'created');
  });

  it('leaves the key free where the creation was refused', async () => {
    assert.equal((await makeSession(using(), { claim, max: 0 })).outcome, 'quota');
    assert.equal((await using().idempotency.find(claim)).outcome, 'free');
    const session = await sessionIn(using());
    assert.equal((await makeRun(using(), session, { claim, max: 0 })).outcome, 'quota');
    assert.equal((await using().idempotency.find(claim)).outcome, 'free');
  });

  it('forgets old keys', async () => {
    await makeSession(using(), { claim });
    await using().idempotency.forgetBefore(1000);
    assert.equal((await using().idempotency.find(claim)).outcome, 'replayed');
    await using().idempotency.forgetBefore(1001);
    assert.equal((await using().idempotency.find(claim)).outcome, 'free');
  });
}

function uploadPromises(using: Using): void {
  const stored = { bytes: 3, sha256: 'ab' };
  const begin = async (owner: ActorId = ann) => {
    const id = newId('upload', 1000);
    await using().uploads.begin({ id, owner, createdAt: 1000 });
    return id;
  };

  it('gives an upload to one session of its owner, once it is complete', async () => {
    const upload = await begin();
    assert.equal((await makeSession(using(), { upload })).outcome, 'upload');
    await using().uploads.finish(upload, 1000, stored);
    assert.equal((await makeSession(using(), { upload, owner: bob })).outcome, 'upload');
    const made = await makeSession(using(), { upload });
    assert(made.outcome === 'created');
    assert.equal((await makeSession(using(), { upload })).outcome, 'upload');
    assert.equal((await using().uploads.get(upload))?.session, made.record.id);
  });

  it('gives a session of a remote no upload, and keeps the remote as it is', async () => {
    const upload = await begin();
    await using().uploads.finish(upload, 1000, stored);
    const id = newId('session', 1000);
    const repo = { url: 'ssh://git.example/a', ref: 'v1', hostKeys: ['ssh-rsa AAAA'] };
    const session = {
      id,
      name: null,
      phase: 'pending',
      owner: ann,
      team: null,
      repo,
      egress: { names: [], reason: null },
      attach: attachOff,
      createdAt: 1000,
      closedAt: null,
    } as const;
    assert.equal(
      (await using().sessions.create(session, { claim: null, openPerOwnerMax: 1000 })).outcome,
      'created',
    );
    assert.deepEqual((await using().sessions.get(id))?.repo, repo);
    assert.equal((await using().uploads.get(upload))?.session, null);
  });

  it('keeps what an open session uses, and finds what nobody does', async () => {
    const [used, unused] = [await begin(), await begin()];
    await using().uploads.finish(used, 1000, stored);
    const made = await makeSession(using(), { upload: used });
    assert(made.outcome === 'created');
    assert.deepEqual(
      (await using().uploads.unusedBefore(1001, 9)).map(({ id }) => id),
      [unused],
    );
    assert.deepEqual(await using().uploads.unusedBefore(1000, 9), []);
    assert.equal(await using().uploads.remove(used), false);
    assert.equal(await using().uploads.remove(unused), true);
    await using().sessions.terminate(made.record.id, 2000, '');
    await using().sessions.close(made.record.id, 2000);
    assert.equal(await using().uploads.remove(used), true);
  });
}

function tokenPromises(using: Using): void {
  const make = async (
    options: { scopes?: ('run:read' | 'identity:write')[]; expiresAt?: number | null } = {},
  ) => {
    const { scopes = ['run:read'], expiresAt = null } = options;
    const id = newId('token', 1000);
    const token = {
      id,
      name: 'ci',
      actor: ann,
      scopes,
      reach: 'own',
      hash: id,
      createdAt: 1000,
      expiresAt,
    } as const;
    assert.equal((await using().tokens.create(token, null)).outcome, 'created');
    return { ...token, lastUsedAt: null };
  };

  it('finds a token by its hash until it is revoked', async () => {
    const token = await make();
    assert.deepEqual(await using().tokens.byHash(token.hash), token);
    assert.deepEqual(await using().tokens.revoke(token.id, 2000), token);
    assert.equal(await using().tokens.revoke(token.id, 2000), null);
    assert.equal(await using().tokens.byHash(token.hash), null);
    assert.equal(await using().tokens.get(token.id), null);
    assert.deepEqual((await using().tokens.list({}, { after: null, limit: 9 })).records, []);
  });

  it('puts another token in the place of one, which ends at once or when it is told to, never later', async () => {
    const { tokens } = using();
    const next = (createdAt: number) => {
      const id = newId('token', createdAt);
      return {
        id,
        name: 'ci',
        actor: ann,
        scopes: ['run:read'],
        reach: 'own',
        hash: id,
        createdAt,
        expiresAt: null,
      };
    };
    const [first, second, third] = [await make(), next(2000), next(3000)] as const;
    const put = (id: typeof first.id, record: typeof second, endsAt: number) =>
      tokens.rotate(id, record as typeof first, endsAt);
    assert.deepEqual(await put(first.id, second, 2000), { ...second, lastUsedAt: null });
    assert.equal(await tokens.byHash(first.hash), null);
    assert.equal(await put(first.id, third, 9000), null);
    assert.equal(await tokens.get(third.id), null, 'nothing is made in the place of a token that is gone');
    assert.notEqual(await put(second.id, third, 5000), null);
    assert.equal((await tokens.byHash(second.hash))?.expiresAt, 5000);
    const short = await make({ expiresAt: 4000 });
    await put(short.id, next(3500), 9000);
    assert.equal((await tokens.get(short.id))?.expiresAt, 4000);
  });

  it('remembers the last use', async () => {
    const token = await make();
    await using().tokens.touch(token.id, 1234);
    assert.equal((await using().tokens.get(token.id))?.lastUsedAt, 1234);
  });

  it('knows how long a scope is held by anybody', async () => {
    const { tokens } = using();
    assert.equal(await tokens.lastExpiryOf('identity:write', 0), null);
    await make({ scopes: ['run:read'] });
    await make({ scopes: ['identity:write'], expiresAt: 5000 });
    await make({ scopes: ['identity:write'], expiresAt: 6000 });
    assert.equal(await tokens.lastExpiryOf('identity:write', 1000), 6000);
    assert.equal(await tokens.lastExpiryOf('identity:write', 6000), null);
    const endless = await make({ scopes: ['identity:write'] });
    assert.equal(await tokens.lastExpiryOf('identity:write', 1000), Number.POSITIVE_INFINITY);
    await tokens.revoke(endless.id, 1000);
    assert.equal(await tokens.lastExpiryOf('identity:write', 1000), 6000);
  });
}

const web: PolicyDocument = { rules: [{ host: 'example.com' }] };

function policyPromises(using: Using): void {
  const put = async (current: number | null, document = web, name = 'web') =>
    await using().policies.put(
      { name, document, team: undefined, author: ann, reason: 'why', createdAt: 1000 },
      current,
    );
  const remove = async (name = 'web') =>
    await using().policies.remove({ name, author: bob, reason: null, createdAt: 2000 });

  it('gives back a policy as it was put, and every put is a new generation', async () => {
    const first = await put(null);
    assert(first.outcome === 'written');
    const expected = {
      name: 'web',
      generation: 1,
      document: web,
      owner: ann,
      team: null,
      author: ann,
      reason: 'why',
      createdAt: 1000,
    };
    assert.deepEqual(first.record, expected);
    assert.deepEqual(await using().policies.get('web'), expected);
    const second = await put(1, { rules: [] });
    assert(second.outcome === 'written' && second.record.generation === 2);
    assert.deepEqual((await using().policies.get('web'))?.document, { rules: [] });
    assert.deepEqual((await using().policies.getGeneration('web', 1))?.document, web);
    assert.equal(await using().policies.getGeneration('web', 3), null);
  });

  it('writes only over the generation that was read', async () => {
    assert.equal((await put(1)).outcome, 'stale', 'there is none');
    assert.equal((await put(null)).outcome, 'written');
    assert.equal((await put(null)).outcome, 'stale', 'there is one');
    const both = await Promise.all([put(1), put(1)]);
    assert.deepEqual(both.map(({ outcome }) => outcome).sort(), ['stale', 'written']);
  });

  it('keeps what a removed policy was, and goes on counting when it is made again', async () => {
    assert.equal((await remove()).outcome, 'absent');
    await put(null);
    const removed = await remove();
    assert(removed.outcome === 'written');
    assert.deepEqual([removed.record.generation, removed.record.document], [2, null]);
    assert.equal((await remove()).outcome, 'absent');
    assert.equal(await using().policies.get('web'), null);
    assert.deepEqual(await using().policies.getAll(['web', 'other']), []);
    assert.equal((await put(2)).outcome, 'stale', 'a removal is nothing to write over');
    const again = await put(null);
    assert(again.outcome === 'written' && again.record.generation === 3);
    const { records } = await using().policies.history('web', { before: null, limit: 9 });
    assert.deepEqual(
      records.map(({ generation, removed, author }) => [generation, removed, author]),
      [
        [3, false, ann],
        [2, true, bob],
        [1, false, ann],
      ],
    );
  });

  it('lists the policies that there are by name, and their history, page by page', async () => {
    for (const name of ['c', 'a', 'd', 'b']) await put(null, web, name);
    await remove('d');
    const names: string[] = [];
    for (let after: string | null = null; ; ) {
      const page = await using().policies.list({}, { after, limit: 2 });
      names.push(...page.records.map(({ name }) => name));
      after = names.at(-1)!;
      if (!page.more) break;
    }
    assert.deepEqual(names, ['a', 'b', 'c']);
    const newest = await using().policies.history('d', { before: null, limit: 1 });
    assert(newest.more && newest.records[0]?.generation === 2);
    const oldest = await using().policies.history('d', { before: 2, limit: 1 });
    assert(!oldest.more && oldest.records[0]?.generation === 1);
    const all = await using().policies.getAll(['a', 'd', 'c']);
    assert.deepEqual(all.map(({ name }) => name).sort(), ['a', 'c']);
  });

  it('counts on for the live runs that name a policy, in the same commit, and for no others', async () => {
    const session = await sessionIn(using());
    const make = async (names: string[]) => {
      const egress = { names, reason: '"web"', generation: 1 };
      const run = { ...newRun(session, 1000, { phase: 'queued', queuedAt: 1000 }), egress };
      const made = await using().runs.create(run, { env: {}, claim: null, livePerOwnerMax: 100 });
      assert(made.outcome === 'created');
      return made.record.id;
    };
    const uses = await make(['npm', 'web']);
    const over = await make(['web']);
    await make(['web2', 'the-web']);
    await make([]);
    await change(using(), over, ended(1500));
    const first = await put(null);
    assert(first.outcome === 'written');
    assert.deepEqual(first.affected, [{ run: uses, generation: 2 }]);
    const removed = await remove();
    assert(removed.outcome === 'written');
    assert.deepEqual(removed.affected, [{ run: uses, generation: 3 }]);
    assert.deepEqual((await using().runs.get(uses))?.egress, {
      names: ['npm', 'web'],
      reason: '"web"',
      generation: 3,
    });
    assert.equal((await using().runs.get(uses))?.version, 1, 'nothing that a caller sees has changed');
  });
}

function flowPromises(using: Using): void {
  const flow = (run: RunId, id: number, more: Partial<EgressFlow> = {}): EgressFlow => ({
    ...{ id, run, at: 1000 + id, host: 'a.example', address: '192.0.2.1', port: 443, protocol: 'https' },
    ...{ method: null, path: null, verdict: 'allowed', rule: 'web#1', denial: null },
    ...{ generation: 1, count: 1, ...more },
  });
  const denied = { verdict: 'denied', rule: null, denial: 'no-rule' } as const;
  const listed = async (
    run: RunId,
    filter: { verdict?: 'allowed' | 'denied'; host?: string } = {},
    page = { after: null as number | null, limit: 9 },
  ) => await using().flows.list(run, filter, page);
  const ids = async (...of: Parameters<typeof listed>) => (await listed(...of)).records.map(({ id }) => id);

  it('gives back flows as they were told, in the order of the verdicts', async () => {
    const run = await runIn(using(), await sessionIn(using()));
    const odd = { host: null, address: null, protocol: null, ...denied, port: 0, count: 7 };
    const request = { method: 'GET', path: '/\0x', protocol: 'http', host: 'b\u202e' } as const;
    const flows = [flow(run, 3, odd), flow(run, 1), flow(run, 2, request)];
    await using().flows.record(flows, []);
    const expected = [flows[1], flows[2], flows[0]].map((told) => ({ ...told, end: null }));
    assert.deepEqual((await listed(run)).records, expected);
  });

  it('takes a batch again without doubling anything, and the first word stays', async () => {
    const run = await runIn(using(), await sessionIn(using()));
    const end: EgressFlowEnd = { id: 1, run, at: 2000, bytesOut: 5, bytesIn: 7, outcome: 'closed' };
    await using().flows.record([flow(run, 1), flow(run, 1, denied)], [end]);
    await using().flows.record(
      [flow(run, 1, denied), flow(run, 2, denied)],
      [
        { ...end, bytesOut: 99, outcome: 'cut' },
        { ...end, id: 9 },
      ],
    );
    const { records } = await listed(run);
    assert.deepEqual(
      records.map(({ id, verdict }) => [id, verdict]),
      [
        [1, 'allowed'],
        [2, 'denied'],
      ],
    );
    assert.deepEqual(records[0]?.end, { at: 2000, bytesOut: 5, bytesIn: 7, outcome: 'closed' });
  });

  it('tells runs apart: ids are unique within one', async () => {
    const session = await sessionIn(using());
    const [one, two] = [await runIn(using(), session), await runIn(using(), session)];
    await using().flows.record([flow(one, 1), flow(two, 1), flow(two, 40)], []);
    assert.deepEqual([await ids(one), await ids(two)], [[1], [1, 40]]);
    const many = Array.from({ length: 100 }, (_, id) => id);
    assert.deepEqual([...(await using().flows.known(two, many))].sort(), [1, 40]);
    assert.equal((await using().flows.known(two, [])).size, 0);
  });

  it('lists by verdict and host, page by page', async () => {
    const run = await runIn(using(), await sessionIn(using()));
    const hosts = ['a.example', 'b.example', 'a.example', '%', 'a.example'];
    await using().flows.record(
      hosts.map((host, id) => flow(run, id, { host, ...(id % 2 === 0 ? {} : denied) })),
      [],
    );
    assert.deepEqual(await ids(run, { verdict: 'denied' }), [1, 3]);
    assert.deepEqual(await ids(run, { host: 'a.example' }), [0, 2, 4]);
    assert.deepEqual(await ids(run, { host: '%' }), [3]);
    assert.deepEqual(await ids(run, {}, { after: null, limit: 2 }), [0, 1]);
    assert((await listed(run, {}, { after: 1, limit: 2 })).more);
    assert.deepEqual(await ids(run, {}, { after: 3, limit: 2 }), [4]);
  });

  it('lists the last verdicts first, page by page', async () => {
    const run = await runIn(using(), await sessionIn(using()));
    await using().flows.record(
      [1, 2, 3, 40].map((id) => flow(run, id, { at: 50 - id })),
      [],
    );
    const newest = async (before: number | null, limit = 2) => {
      const { records, more } = await using().flows.newest(run, { before, limit });
      return [...records.map(({ id }) => id), more];
    };
    assert.deepEqual(await newest(null), [40, 3, true]);
    assert.deepEqual(await newest(3), [2, 1, false]);
    assert.deepEqual(await newest(1), [false]);
  });

  it('finds the ended runs that may have flows of a time, each once, the last end first', async () => {
    const session = await sessionIn(using());
    const elsewhere = await sessionIn(using(), bob);
    const end = async (at: number, of: SessionId, owner = ann) => {
      const run = { ...newRun(of, 1000, { phase: 'queued', queuedAt: 1000 }), owner };
      const made = await using().runs.create(run, { env: {}, claim: null, livePerOwnerMax: 100 });
      assert(made.outcome === 'created');
      if (at > 0) await change(using(), made.record.id, ended(at));
      return made.record.id;
    };
    const [early, one, two] = [await end(1500, session), await end(2000, session), await end(2000, session)];
    const [late, theirs] = [await end(3000, elsewhere), await end(2500, session, bob)];
    const [live, gone, expired] = [await end(0, session), await end(2600, session), await end(2700, session)];
    await using().flows.record(
      [live, one, early, gone, expired].map((run) => flow(run, 1)),
      [],
    );
    await using().runs.remove(gone, 9000);
    await using().runs.markFilesExpired([expired]);
    const found = async (filter: Parameters<Store['flows']['runsSince']>[1], limit = 9) => {
      const ids: RunId[] = [];
      for (let after: EndedRun | null = null; ; ) {
        const page: Listed<EndedRun> = await using().flows.runsSince(2000, filter, { after, limit });
        ids.push(...page.records.map(({ id }) => id));
        after = page.records.at(-1) ?? null;
        if (!page.more) return ids;
      }
    };
    const alike = [one, two].sort().reverse();
    assert.deepEqual(await found({}), [late, theirs, ...alike]);
    assert.deepEqual(await found({}, 1), [late, theirs, ...alike]);
    assert.deepEqual(await found({ within: { owner: ann, teams: [] } }), [late, ...alike]);
    assert.deepEqual(await found({ within: { owner: bob, teams: [] }, session }), [theirs]);
    const { records } = await using().flows.runsSince(
      1,
      { within: { owner: ann, teams: ['none'] }, session },
      { after: null, limit: 9 },
    );
    assert.deepEqual(
      records
        .map(({ id, hasFlows, ...run }) => {
          assert.deepEqual([run.session, run.owner, run.team], [session, ann, null]);
          return [id, hasFlows];
        })
        .sort(),
      [
        [early, true],
        [one, true],
        [two, false],
      ].sort(),
    );
  });

  it('removes the flows of one run, at most so many at a time', async () => {
    const session = await sessionIn(using());
    const [one, two] = [await runIn(using(), session), await runIn(using(), session)];
    await using().flows.record(
      [1, 2, 3, 4, 5].flatMap((id) => [flow(one, id), flow(two, id)]),
      [],
    );
    assert.equal(await using().flows.remove(one, 2), true);
    assert.deepEqual(await ids(one), [3, 4, 5]);
    assert.equal(await using().flows.remove(one, 9), false);
    assert.equal(await using().flows.remove(one, 9), false);
    assert.deepEqual([await ids(one), await ids(two)], [[], [1, 2, 3, 4, 5]]);
  });

  it('counts what records stand for', async () => {
    const run = await runIn(using(), await sessionIn(using()));
    const none = { allowed: 0, denied: 0, bytesOut: 0, bytesIn: 0 };
    assert.deepEqual(await using().flows.countsOf(run), none);
    const end = { run, at: 2000, bytesOut: 5, bytesIn: 7, outcome: 'closed' } as const;
    await using().flows.record(
      [flow(run, 1), flow(run, 2), flow(run, 3, { ...denied, count: 40 })],
      [
        { ...end, id: 1 },
        { ...end, id: 2 },
      ],
    );
    assert.deepEqual(await using().flows.countsOf(run), {
      allowed: 2,
      denied: 40,
      bytesOut: 10,
      bytesIn: 14,
    });
  });
}

function pagingPromises(using: Using): void {
  it('lists everything exactly once, newest first, whatever the page and the times', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.integer({ min: 0, max: 5 }), { maxLength: 25 }),
        fc.integer({ min: 1, max: 7 }),
        async (times, limit) => {
          const session = await sessionIn(using());
          const made: { createdAt: number; id: string }[] = [];
          for (const at of times) {
            const run = await makeRun(using(), session, { at });
            assert(run.outcome === 'created');
            made.push({ createdAt: at, id: run.record.id });
          }
          const seen = await walk(using(), session, limit);
          const expected = made.sort((a, b) => b.createdAt - a.createdAt || (a.id < b.id ? 1 : -1));
          assert.deepEqual(seen, expected);
        },
      ),
      { numRuns: 25 },
    );
  });

  it('lists what its filters say', async () => {
    const mine = await sessionIn(using());
    const theirs = await sessionIn(using(), bob);
    const ids = async (filter: Parameters<Store['sessions']['list']>[0]) =>
      (await using().sessions.list(filter, { after: null, limit: 9 })).records.map(({ id }) => id);
    assert.deepEqual(await ids({ within: { owner: ann, teams: [] } }), [mine]);
    assert.deepEqual(await ids({ within: { owner: bob, teams: ['none'] } }), [theirs]);
    assert.deepEqual(await ids({ phase: 'closed' }), []);
    await using().sessions.rename(mine, 'x%', 1);
    assert.deepEqual(await ids({ name: 'x%' }), [mine]);
    assert.deepEqual(await ids({ name: 'x' }), []);
  });
}

async function walk(store: Store, session: SessionId, limit: number) {
  const seen: { createdAt: number; id: string }[] = [];
  for (;;) {
    const after = seen.at(-1) ?? null;
    const page = await store.runs.list({ session }, { after, limit });
    seen.push(...page.records.map(({ id, state }) => ({ createdAt: state.queuedAt, id })));
    if (!page.more) return seen;
    assert(page.records.length === limit);
  }
}
