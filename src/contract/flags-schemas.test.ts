import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { parseFlagRule, parseFlags } from './flags-schemas.ts';

describe('the rule of a flag', () => {
  it('is off, on, or stages', () => {
    for (const rule of [
      'off',
      'on',
      ['admins'],
      [{ teams: ['platform', 'security'] }],
      [{ percentage: 0 }],
      ['admins', { teams: ['a'] }, { percentage: 100 }],
    ])
      assert.deepEqual(parseFlagRule(rule), { rule });
  });

  it('is nothing else, however near it is', () => {
    for (const value of [
      ...[null, undefined, true, false, 0, 1, '', 'ON', 'true', 'admins', 'all', {}, []],
      ...[['on'], ['off'], [true], [null], [[]], [{}], ['admins', 'admins'], ['admins', 'everybody']],
      ...[[{ teams: [] }], [{ teams: 'platform' }], [{ teams: ['a', 'a'] }], [{ teams: ['A b'] }]],
      ...[[{ teams: [1] }], [{ teams: ['a'] }, { teams: ['b'] }], [{ teams: ['a'], percentage: 1 }]],
      ...[[{ percentage: -1 }], [{ percentage: 101 }], [{ percentage: 0.5 }], [{ percentage: '10' }]],
      ...[
        [{ percentage: Number.NaN }],
        [{ percentage: 10, of: 'teams' }],
        { percentage: 10 },
        { 0: 'admins' },
      ],
    ]) {
      const parsed = parseFlagRule(value);
      assert('problems' in parsed, JSON.stringify(value));
      for (const { message } of parsed.problems) assert.match(message, /^(is|has|names) /);
    }
    fc.assert(
      fc.property(fc.jsonValue(), (value) => {
        const parsed = parseFlagRule(value);
        return 'problems' in parsed || value === 'on' || value === 'off' || Array.isArray(value);
      }),
    );
  });
});

describe('a file of flags', () => {
  it('holds rules by name, and nothing where it is empty', () => {
    const parsed = parseFlags({ 'sso-tickets': 'on' });
    assert.deepEqual(parsed, { rules: new Map([['sso-tickets', 'on']]) });
    for (const empty of [null, undefined, {}]) assert.deepEqual(parseFlags(empty), { rules: new Map() });
  });

  it('with one thing that is not understood is worth nothing', () => {
    for (const [value, path] of [
      [{ 'sso-tickets': 'on', 'sso-ticket': 'off' }, 'sso-ticket'],
      [{ 'sso-tickets': true }, 'sso-tickets'],
      [{ 'sso-tickets': [{ percentage: 10, until: 'monday' }] }, 'sso-tickets[0].until'],
      [{ 'sso-tickets': ['admins', { teams: [] }] }, 'sso-tickets[1].teams'],
      [{ constructor: 'on' }, 'constructor'],
      [JSON.parse('{"__proto__": "on"}'), '__proto__'],
      [['sso-tickets'], ''],
      ['on', ''],
      [7, ''],
    ] as const) {
      const parsed = parseFlags(value);
      assert('problems' in parsed, JSON.stringify(value));
      assert.deepEqual(
        parsed.problems.map((problem) => problem.path),
        [path],
      );
    }
    assert(
      'problems' in parseFlags(Object.fromEntries(Array.from({ length: 1_001 }, (_, n) => [`f${n}`, 'on']))),
    );
  });
});
