import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { resourceKinds } from '../model/actions.ts';
import type { Actor, ActorId } from '../model/actor.ts';
import { type DecisionContext, decideByRole, type Resource } from '../model/decide.ts';
import { roles, type Scope, scopes } from '../model/scopes.ts';
import { anyNetwork } from './client-networks.ts';
import { type AccessDocument, type AccessEngine, openAccessEngine } from './engine.ts';
import { accessLimits } from './limits.ts';
import { actionNames } from './schema.ts';

const here: DecisionContext = { address: '10.1.2.3' };
const ada: Actor = {
  id: 'user:ada',
  role: 'developer',
  scopes: new Set<Scope>(roles.developer),
  reach: 'team',
  teams: new Set(['red']),
  signIn: { at: 0, mfa: false },
};
const foreign: Resource = { kind: 'run', id: 'run_1', owner: 'user:bob' };
const own: Resource = { kind: 'run', id: 'run_2', owner: 'user:ada' };

function engineWith(documents: Readonly<Record<string, string>>): AccessEngine {
  const engine = openAccessEngine({ networks: anyNetwork });
  assert.deepEqual(engine.replace(documentsOf(documents)), []);
  return engine;
}

function documentsOf(documents: Readonly<Record<string, string>>): AccessDocument[] {
  return Object.entries(documents).map(([name, text]) => ({ name, text }));
}

const names = ['user:ada', 'user:bob', 'agent:scout', 'service:ci', 'system:local'] as const;
const teamNames = ['red', 'blue'];
const anyActor = fc.record(
  {
    id: fc.constantFrom<ActorId>(...names),
    scopes: fc.subarray<Scope>([...scopes, '*']).map((held) => new Set(held)),
    reach: fc.constantFrom('own' as const, 'team' as const, 'all' as const),
    teams: fc.subarray(teamNames).map((teams) => new Set(teams)),
    role: fc.constantFrom(...Object.keys(roles)),
    narrowed: fc.boolean(),
    signIn: fc.record({ at: fc.constant(0), mfa: fc.boolean() }),
  },
  { requiredKeys: ['id', 'scopes', 'reach'] },
);
const anyResource = fc.record(
  {
    kind: fc.constantFrom(...resourceKinds),
    id: fc.string(),
    session: fc.string(),
    owner: fc.constantFrom<ActorId>(...names),
    team: fc.constantFrom(null, ...teamNames),
  },
  { requiredKeys: ['kind'] },
);
const anyAddress = fc.constantFrom(null, '10.1.2.3', '::1', '::ffff:10.1.2.3', 'fe80::1%eth0', 'nonsense');

test('the policies that ship decide exactly as roles do, to the words of the rule', () => {
  const engine = openAccessEngine({ networks: anyNetwork });
  const property = fc.property(
    anyActor,
    fc.constantFrom(...actionNames),
    anyResource,
    anyAddress,
    (actor, action, resource, address) => {
      const expected = decideByRole(actor, action, resource);
      assert.deepEqual(engine.decide(actor, action, resource, { address }), expected);
      assert.deepEqual(engine.decide({ ...actor }, action, resource, { address }), expected, 'from memory');
    },
  );
  fc.assert(property, { numRuns: 5_000 });
});

test('an administrator’s permit opens what the role does not, and is the rule on record', () => {
  const engine = engineWith({
    'bob-runs': `permit (principal == Actor::"user:ada", action == Action::"run.read", resource)
      when { resource has owner && resource.owner == "user:bob" };`,
  });
  assert.deepEqual(engine.decide(ada, 'run.read', foreign, here), { allow: true, rule: 'policy:bob-runs' });
  const [other] = [{ ...foreign, owner: 'user:eve' as const }];
  assert.equal(engine.decide(ada, 'run.read', other, here).allow, false);
  const stop = engine.decide(ada, 'run.stop', foreign, here);
  assert.deepEqual(
    stop,
    { allow: false, rule: 'ownership:foreign', visible: true, forbidden: false, needs: 'run:write' },
    'who may read it may learn that it is there',
  );
});

test('a forbid wins against every permit, and a denial names its document alone', () => {
  const engine = engineWith({
    open: 'permit (principal, action, resource);',
    closed: '@id("no secrets here") forbid (principal, action == Action::"run.stop", resource);',
  });
  const admin: Actor = { id: 'user:root', scopes: new Set<Scope>(['*']), reach: 'all' };
  const stop = engine.decide(admin, 'run.stop', foreign, here);
  const needs = 'run:write';
  assert.deepEqual(stop, { allow: false, rule: 'policy:closed', visible: true, forbidden: true, needs });
  assert.equal(engine.decide(ada, 'run.read', foreign, here).rule, 'policy:open');
  assert.equal(engine.decide(ada, 'run.read', own, here).rule, 'scope:run:read', 'what ships is named first');
});

test('no permit widens a narrowed credential, in scope or in reach, and none gives another’s account', () => {
  const engine = engineWith({ open: 'permit (principal, action, resource);' });
  const token: Actor = { ...ada, scopes: new Set<Scope>(['run:read']), narrowed: true };
  const { decide } = { decide: engine.decide.bind(engine) };
  assert.equal(decide(token, 'run.read', own, here).allow, true);
  assert.equal(decide(token, 'run.stop', own, here).rule, 'scope:run:write:missing');
  assert.equal(decide(token, 'run.read', foreign, here).rule, 'ownership:foreign');
  assert.equal(decide({ ...token, narrowed: false }, 'run.read', foreign, here).rule, 'policy:open');
  const account: Resource = { kind: 'account', id: 'bob', owner: 'user:bob' };
  assert.equal(decide(ada, 'account.password', account, here).rule, 'account:foreign');
  const { signIn: _, ...machine } = ada;
  const adas: Resource = { kind: 'account', id: 'ada', owner: 'user:ada' };
  assert.equal(decide(machine, 'account.password', adas, here).rule, 'account:foreign');
  assert.equal(decide(ada, 'account.password', adas, here).rule, 'account:own');
});

test('decisions follow the address, the factors and the team, also from memory', () => {
  const engine = engineWith({
    office: `forbid (principal, action in Action::"run:write", resource) unless
      { context.local || (context has address && context.address.isInRange(ip("10.0.0.0/8"))) };`,
    factors:
      'forbid (principal, action == Action::"run.remove", resource) when { principal.signedIn && !principal.mfa };',
    red: 'forbid (principal, action == Action::"run.rename", resource) when { resource has team && resource.team == "red" };',
  });
  for (let round = 0; round < 2; round += 1) {
    const stop = (address: string | null) => engine.decide(ada, 'run.stop', own, { address }).rule;
    assert.equal(stop('10.1.2.3'), 'scope:run:write');
    assert.equal(stop('::ffff:10.1.2.3'), 'scope:run:write');
    assert.equal(stop(null), 'scope:run:write');
    for (const address of ['11.1.2.3', '::1', 'fe80::1%eth0', '', 'localhost'])
      assert.equal(stop(address), 'policy:office', address);
    const strong = { ...ada, signIn: { at: 0, mfa: true } };
    assert.equal(engine.decide(ada, 'run.remove', own, here).rule, 'policy:factors');
    assert.equal(engine.decide(strong, 'run.remove', own, here).rule, 'scope:run:write');
    assert.equal(engine.decide(ada, 'run.rename', { ...own, team: 'red' }, here).rule, 'policy:red');
    assert.equal(engine.decide(ada, 'run.rename', { ...own, team: 'blue' }, here).rule, 'scope:run:write');
  }
});

test('a set with anything wrong in it changes nothing, and one that replaces another is in force at once', () => {
  const engine = engineWith({ closed: 'forbid (principal, action, resource);' });
  const rule = () => engine.decide(ada, 'run.read', own, here).rule;
  assert.equal(rule(), 'policy:closed');
  const problems = engine.replace(
    documentsOf({ good: 'permit (principal, action, resource);', bad: 'permit' }),
  );
  assert.deepEqual(
    problems.map(({ document, line }) => [document, line]),
    [['bad', 1]],
  );
  assert.equal(rule(), 'policy:closed');
  for (let turn = 0; turn < 6; turn += 1) {
    assert.deepEqual(engine.replace([]), []);
    assert.equal(rule(), 'scope:run:read');
    assert.deepEqual(
      engine.replace(documentsOf({ [`closed-${turn}`]: 'forbid (principal, action, resource);' })),
      [],
    );
    assert.equal(rule(), `policy:closed-${turn}`);
  }
});

test('a policy that fails while it is evaluated denies, whichever effect it has', () => {
  const overflow = '9223372036854775807 + 1 > 0';
  for (const effect of ['permit', 'forbid']) {
    const engine = engineWith({ broken: `${effect} (principal, action, resource) when { ${overflow} };` });
    assert.equal(engine.decide(ada, 'run.read', own, here).rule, 'policy:broken', effect);
  }
});

test('a denial says whether a policy forbids it, also to who lacks the scope and the reach besides', () => {
  const text = 'forbid (principal, action == Action::"run.read", resource == Run::"run_1");';
  const engine = engineWith({ closed: text });
  const bare: Actor = { id: 'agent:scout', scopes: new Set(), reach: 'own' };
  for (const actor of [bare, { ...bare, narrowed: true }, ada]) {
    const forbidden = engine.decide(actor, 'run.read', foreign, here);
    assert(!forbidden.allow && forbidden.forbidden, actor.id);
    const missing = engine.decide(actor, 'run.read', { ...foreign, id: 'run_9' }, here);
    assert(!missing.allow && !missing.forbidden, actor.id);
  }
  const stranger = engine.decide(ada, 'account.read', { kind: 'account', owner: 'user:bob' }, here);
  assert(!stranger.allow && !stranger.forbidden);
});

test('policies of one document that share an @id all hold', () => {
  const engine = engineWith({
    twins: `@id("x") forbid (principal, action == Action::"run.read", resource);
      @id("x") forbid (principal, action == Action::"run.stop", resource);`,
  });
  for (const action of ['run.read', 'run.stop'] as const)
    assert.equal(engine.decide(ada, action, own, here).rule, 'policy:twins');
  assert.deepEqual(engine.explain(ada, 'run.stop', own, here), {
    decision: { allow: false, rule: 'policy:twins', visible: true, forbidden: true, needs: 'run:write' },
    determining: [{ id: 'policy:twins#2', document: 'twins', label: 'x' }],
    missing: ['policy:twins forbids it'],
  });
});

test('an act is decided by the policies about it as by all of them together', () => {
  const heads = [
    'action',
    'action == Action::"run.read"',
    'action in Action::"run:read"',
    'action in [Action::"run.stop", Action::"session:read"]',
  ];
  const anyPolicy = fc.record({
    effect: fc.constantFrom('permit', 'forbid'),
    head: fc.constantFrom(...heads),
    when: fc.constantFrom(
      'true || principal.narrowed',
      'principal.mfa',
      'principal.teams.contains("red")',
      'resource has team',
    ),
  });
  const engine = openAccessEngine({ networks: anyNetwork });
  const matches = (head: string, action: string) =>
    head === 'action' ||
    head.includes(`"${action}"`) ||
    (head.includes('"run:read"') && ['run.read', 'run.logs'].includes(action)) ||
    (head.includes('"session:read"') && action === 'session.read');
  const holdsFor: Record<string, (actor: Actor, resource: Resource) => boolean> = {
    'true || principal.narrowed': () => true,
    'principal.mfa': ({ signIn }) => signIn?.mfa === true,
    'principal.teams.contains("red")': ({ teams }) => teams?.has('red') === true,
    'resource has team': (_, { team }) => typeof team === 'string',
  };
  const property = fc.property(
    fc.array(anyPolicy, { maxLength: 6 }),
    anyActor.map(({ narrowed: _, ...actor }) => actor),
    fc.constantFrom('run.read', 'run.logs', 'run.stop', 'session.read'),
    anyResource,
    (policies, actor, action, resource) => {
      const documents = policies.map(({ effect, head, when }, index) => ({
        name: `p${index}`,
        text: `${effect} (principal, ${head}, resource) when { ${when} };`,
      }));
      assert.deepEqual(engine.replace(documents), []);
      const applying = policies.filter(
        ({ head, when }) => matches(head, action) && holdsFor[when]!(actor, resource),
      );
      const isForbidden = applying.some(({ effect }) => effect === 'forbid');
      const allowed = decideByRole(actor, action, resource).allow || applying.length > 0;
      assert.equal(engine.decide(actor, action, resource, here).allow, allowed && !isForbidden);
    },
  );
  fc.assert(property, { numRuns: 60 });
});

test('no more policies than the bound are taken, all documents together', () => {
  const { policiesMax, policiesPerDocumentMax } = accessLimits;
  const full = 'permit (principal, action == Action::"run.read", resource);\n'.repeat(policiesPerDocumentMax);
  const documents = Array.from({ length: policiesMax / policiesPerDocumentMax }, (_, index) => ({
    name: `d${index}`,
    text: full,
  }));
  const engine = openAccessEngine({ networks: anyNetwork });
  assert('decide' in engine.trial(documents));
  const more = { name: 'more', text: 'permit (principal, action, resource);' };
  const trial = engine.trial([...documents, more]);
  assert('problems' in trial);
  assert.match(trial.problems[0]!.message, /at most 500 policies/);
  assert.deepEqual(engine.replace([...documents, more]), [], 'what is stored already is in force');
});
