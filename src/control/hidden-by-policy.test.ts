import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { actorOf, callerOf, TestControl } from '../../tests/support/test-control.ts';
import { Fault } from '../contract/faults.ts';
import type { Actor } from '../model/actor.ts';
import type { SessionId } from '../model/ids.ts';
import { roles, type Scope } from '../model/scopes.ts';
import type { Caller, Page } from './control.ts';

/** What administrators' policies say about looking at one thing holds for lists of it and for naming it too. */

const document = { rules: [{ host: 'a.example' }] };
const person = (name: string, more: Partial<Actor> = {}): Caller =>
  callerOf({ ...actorOf(name), reach: 'team', ...more });
const boss = callerOf(actorOf('boss', 'all', [...roles.admin, 'run:write']));
const dev = person('dev');
const outsider = person('out', { teams: new Set(['red']) });
const bare = (name: string, ...scopes: Scope[]): Partial<Actor> => ({
  ...actorOf(name, 'own', scopes),
  narrowed: true,
});
/** Holds nothing that has to do with policies. */
const agent = callerOf({ ...actorOf('scout'), ...bare('scout', 'session:write', 'run:write', 'run:read') });
const sessionsOnly = callerOf({ ...actorOf('s'), ...bare('s', 'session:write') });

async function opened(): Promise<TestControl> {
  const test = await TestControl.open();
  for (const name of ['blue', 'red'])
    await test.store.identity.teams.put({ name, description: null, members: [], createdAt: 1 }, null);
  for (const name of ['web', 'other'])
    await test.control.policies.put(boss, name, { document, team: null }, null);
  await test.control.policies.put(boss, 'blue-web', { document, team: 'blue' }, null);
  return test;
}

function inForce(test: TestControl, text: string): void {
  assert.deepEqual(test.access.replace(text === '' ? [] : [{ name: 'house', text }]), []);
}

/** What a caller learns: the answer, or the fault as it is told. */
async function told(act: Promise<unknown>): Promise<string> {
  try {
    await act;
    return 'done';
  } catch (error) {
    assert(error instanceof Fault, String(error));
    return `${error.code} ${error.detail} ${JSON.stringify(error.extra)}`;
  }
}

/** What was denied on the record so far. */
async function denials(test: TestControl): Promise<string[]> {
  await test.control.audit.list(boss, { limit: 1 });
  return (await test.events()).filter(({ outcome }) => outcome === 'denied').map(({ action }) => action);
}

/** Every way to name policies, with what is told. */
async function naming(test: TestControl, caller: Caller, name: string): Promise<Record<string, string>> {
  const egress = [name];
  const session = await test.session(caller);
  const mayRun = caller.actor.scopes.has('run:write');
  const maySimulate = caller.actor.scopes.has('policy:read');
  const simulate = () =>
    test.control.policies.simulate(caller, { policies: [{ name }] }, AbortSignal.timeout(5_000));
  return {
    session: await told(test.session(caller, { egress })),
    ...(mayRun ? { run: await told(test.run(caller, session, { egress })) } : {}),
    ...(maySimulate ? { simulation: await told(simulate()) } : {}),
  };
}

async function assertNamed(test: TestControl, caller: Caller, name: string): Promise<void> {
  for (const [way, answer] of Object.entries(await naming(test, caller, name)))
    assert.equal(answer, 'done', `${caller.actor.id} ${way} ${name}`);
}

/** It is told exactly as of a policy that is not there. */
async function assertHidden(test: TestControl, caller: Caller, name: string): Promise<void> {
  const absent = await naming(test, caller, 'absent');
  for (const [way, answer] of Object.entries(await naming(test, caller, name))) {
    assert.match(answer, /^request\.invalid There is no preset or policy with the name/);
    assert.equal(answer, absent[way]!.replaceAll('absent', name), `${caller.actor.id} ${way} ${name}`);
  }
}

describe('naming an egress policy', () => {
  it('takes no scope to read policies: who reaches it names it, and nobody else does', async () => {
    await using test = await opened();
    for (const caller of [dev, agent, sessionsOnly, outsider, boss]) await assertNamed(test, caller, 'web');
    await assertNamed(test, person('member', { teams: new Set(['blue']) }), 'blue-web');
    for (const caller of [dev, agent, outsider]) await assertHidden(test, caller, 'blue-web');
  });

  it('is forbidden with reading it, also to who holds no scope to read it', async () => {
    await using test = await opened();
    inForce(
      test,
      'forbid (principal, action == Action::"policy.read", resource == Policy::"web") unless { principal.id == "user:boss" };',
    );
    for (const caller of [dev, agent, sessionsOnly, outsider]) {
      await assertHidden(test, caller, 'web');
      await assertNamed(test, caller, 'other');
    }
    await assertNamed(test, boss, 'web');
    inForce(test, '');
    await assertNamed(test, agent, 'web');
  });

  it('is forbidden by what looks at the scopes that the caller holds itself', async () => {
    await using test = await opened();
    inForce(
      test,
      'forbid (principal, action == Action::"policy.read", resource) unless { principal.scopes.contains("policy:read") };',
    );
    for (const caller of [agent, sessionsOnly]) await assertHidden(test, caller, 'web');
    await assertNamed(test, dev, 'web');
  });

  it('is forbidden to a run that takes it from its session, and a live run keeps it', async () => {
    await using test = await opened();
    const session = await test.session(dev, { egress: ['web'] });
    const { id } = await test.run(dev, session);
    inForce(test, 'forbid (principal, action == Action::"policy.read", resource == Policy::"web");');
    assert.match(await told(test.run(dev, session)), /^request\.invalid There is no preset or policy/);
    assert.deepEqual((await test.control.runs.get(dev, id)).view.egress.names, ['web']);
    await test.run(dev, session, { egress: [] });
  });

  it('is permitted with reading it, but to no narrowed credential that does not reach it', async () => {
    await using test = await opened();
    inForce(test, 'permit (principal, action == Action::"policy.read", resource == Policy::"blue-web");');
    await assertNamed(test, dev, 'blue-web');
    await assertNamed(test, outsider, 'blue-web');
    for (const caller of [agent, sessionsOnly]) await assertHidden(test, caller, 'blue-web');
  });

  it('simulates what alone is permitted to be read, and says of the rest what is missing', async () => {
    await using test = await opened();
    const runner = person('runner', { scopes: new Set<Scope>(['run:read']) });
    inForce(test, 'permit (principal, action == Action::"policy.read", resource == Policy::"web");');
    const simulate = (name: string) =>
      told(test.control.policies.simulate(runner, { policies: [{ name }] }, AbortSignal.timeout(5_000)));
    assert.equal(await simulate('web'), 'done');
    assert.match(await simulate('other'), /^access\.denied .*policy:read/);
    assert.equal(await simulate('absent'), await simulate('other'));
  });

  it('leaves no denial on the record: nobody asked to read it', async () => {
    await using test = await opened();
    inForce(test, 'forbid (principal, action == Action::"policy.read", resource == Policy::"web");');
    await told(test.session(dev, { egress: ['web'] }));
    assert.deepEqual(await denials(test), []);
    await told(test.control.policies.get(dev, 'web'));
    assert.deepEqual(await denials(test), ['policy.read'], 'whoever asks to is on it');
  });
});

/** Pages of one, so that a page may be empty. */
async function walked<T>(
  list: (query: { limit: number; cursor?: string }) => Promise<Page<T>>,
  idOf: (item: T) => string,
): Promise<string[]> {
  const found: string[] = [];
  let cursor: string | null = null;
  do {
    const page: Page<T> = await list({ limit: 1, ...(cursor === null ? {} : { cursor }) });
    assert(page.items.length <= 1);
    found.push(...page.items.map(idOf));
    cursor = page.nextCursor;
  } while (cursor !== null);
  return found.sort();
}

describe('a list', () => {
  const lists = (test: TestControl, caller: Caller) => ({
    sessions: walked(
      (query) => test.control.sessions.list(caller, query),
      ({ id }) => id,
    ),
    runs: walked(
      (query) => test.control.runs.list(caller, query),
      ({ id }) => id,
    ),
    policies: walked(
      (query) => test.control.policies.list(caller, query),
      ({ name }) => name,
    ),
  });

  async function filled(test: TestControl) {
    const sessions: SessionId[] = [];
    const runs: string[] = [];
    for (const caller of [boss, dev, boss]) {
      const id = await test.session(caller);
      sessions.push(id);
      runs.push((await test.run(caller, id)).id);
    }
    return { sessions, runs };
  }

  it('leaves out what a policy forbids to look at, and goes on behind it', async () => {
    await using test = await opened();
    const { sessions, runs } = await filled(test);
    const all = lists(test, boss);
    assert.deepEqual(await all.sessions, sessions.toSorted());
    assert.deepEqual(await all.runs, runs.toSorted());
    assert.deepEqual(await all.policies, ['blue-web', 'other', 'web']);
    inForce(
      test,
      `forbid (principal, action == Action::"session.read", resource == Session::"${sessions[1]}");
       forbid (principal, action == Action::"run.read", resource) when { resource has owner && resource.owner == "user:boss" };
       forbid (principal, action == Action::"policy.read", resource == Policy::"other");`,
    );
    const some = lists(test, boss);
    assert.deepEqual(await some.sessions, [sessions[0]!, sessions[2]!].toSorted());
    assert.deepEqual(await some.runs, [runs[1]]);
    assert.deepEqual(await some.policies, ['blue-web', 'web']);
    await assert.rejects(test.control.sessions.get(boss, sessions[1]!), { code: 'access.denied' });
    const whole = await test.control.sessions.list(boss, {});
    assert.equal(whole.items.length, 2);
    assert.equal(whole.nextCursor, null);
  });

  it('leaves out by where the request comes from, and records no denial for it', async () => {
    await using test = await opened();
    const { sessions } = await filled(test);
    inForce(
      test,
      `forbid (principal, action == Action::"session.read", resource)
       when { context has address && !context.address.isInRange(ip("10.0.0.0/8")) };`,
    );
    assert.deepEqual(await lists(test, boss).sessions, []);
    const inside = { ...boss, request: { ...boss.request, address: '10.1.2.3' } };
    assert.deepEqual(await lists(test, inside).sessions, sessions.toSorted());
    assert.deepEqual(await denials(test), []);
    await told(test.control.sessions.get(boss, sessions[0]!));
    assert.deepEqual(await denials(test), ['session.read'], 'whoever asks for one is on it');
  });

  it('holds nothing more by a permit than what the caller reaches', async () => {
    await using test = await opened();
    const { sessions } = await filled(test);
    inForce(test, 'permit (principal, action == Action::"session.read", resource);');
    assert.deepEqual(await lists(test, dev).sessions, [sessions[1]]);
  });
});
