import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import type { ActorId } from './actor.ts';
import { decideFlag, type FlagRule, type FlagSubject, flagShare, parseFlagName } from './flags.ts';

const flag = 'sso-tickets';
const actors = Array.from({ length: 10_000 }, (_, index): ActorId => `user:person-${index}`);
const ada: FlagSubject = { id: 'user:ada', role: 'developer', teams: new Set(['platform']) };
const says = (rule: FlagRule, subject: FlagSubject = ada) => decideFlag(flag, rule, subject);

describe('a flag', () => {
  it('that is off is off for everybody, and one that is on is on for everybody', () => {
    for (const subject of [ada, { id: 'user:root', role: 'admin' }, { id: 'service:ci' }] as FlagSubject[]) {
      assert.deepEqual(says('off', subject), { on: false, by: 'off' });
      assert.deepEqual(says('on', subject), { on: true, by: 'on' });
    }
  });

  it('for administrators is on by their role alone, whatever else is called like it', () => {
    assert.deepEqual(says(['admins'], { id: 'user:root', role: 'admin' }), { on: true, by: 'admins' });
    for (const subject of [
      ada,
      { id: 'user:admin' },
      { id: 'user:eve', role: 'Admin' },
      { id: 'user:eve', role: 'admins', teams: new Set(['admin', 'admins']) },
    ] as FlagSubject[])
      assert.deepEqual(says(['admins'], subject), { on: false, by: 'none' });
  });

  it('for teams is on for their members alone', () => {
    assert.deepEqual(says([{ teams: ['security', 'platform'] }]), { on: true, by: 'team:platform' });
    assert.deepEqual(says([{ teams: ['platform-2'] }]), { on: false, by: 'none' });
    assert.deepEqual(says([{ teams: ['platform'] }], { id: 'user:platform' }), { on: false, by: 'none' });
  });

  it('in stages is on for whom any of them names', () => {
    const rule: FlagRule = ['admins', { teams: ['platform'] }, { percentage: 0 }];
    assert.equal(says(rule, { id: 'user:root', role: 'admin' }).by, 'admins');
    assert.equal(says(rule).by, 'team:platform');
    assert.equal(says(rule, { id: 'user:eve' }).on, false);
  });

  it('of no name is nobody’s flag, inherited members of objects included', () => {
    for (const name of ['', 'sso-ticket', 'SSO-TICKETS', 'toString', '__proto__', 'constructor'])
      assert.equal(parseFlagName(name), null);
    assert.equal(parseFlagName(flag), flag);
  });
});

describe('a percentage', () => {
  it('is near its share of all actors', () => {
    for (const percentage of [1, 10, 50, 90]) {
      const on = actors.filter((id) => says([{ percentage }], { id }).on).length / actors.length;
      // Four standard deviations of a fair share.
      const slack = 4 * Math.sqrt(((percentage / 100) * (1 - percentage / 100)) / actors.length);
      assert(Math.abs(on - percentage / 100) < slack, `${percentage} % is on for ${on}`);
    }
    assert(actors.every((id) => !says([{ percentage: 0 }], { id }).on));
    assert(actors.every((id) => says([{ percentage: 100 }], { id }).on));
  });

  it('keeps whom it had when it grows, and says the same of an actor for ever', () => {
    fc.assert(
      fc.property(
        fc.string(),
        fc.integer({ min: 0, max: 100 }),
        fc.integer({ min: 0, max: 100 }),
        (name, a, b) => {
          const id: ActorId = `user:${name}`;
          const on = (percentage: number) => says([{ percentage }], { id }).on;
          return !on(Math.min(a, b)) || on(Math.max(a, b));
        },
      ),
    );
    // Fixed numbers: another hash would take the feature away from those who have it.
    assert.equal(flagShare(flag, 'user:ada').toFixed(6), '35.988787');
  });

  it('of one flag says nothing about another', () => {
    const other = 'some-other' as typeof flag;
    const both = actors.filter((id) => flagShare(flag, id) < 50 && flagShare(other, id) < 50).length;
    assert(Math.abs(both / actors.length - 0.25) < 0.02, `${both}`);
  });
});
