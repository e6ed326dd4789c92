import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { isActorName } from '../../model/actor.ts';
import { actorNameOf, claimValues, managedTeams, mapClaims } from './mapping.ts';

describe('the mapping of claims', () => {
  it('makes names in the form of actors, or none', () => {
    const cases: [string, string | null][] = [
      ['ann', 'ann'],
      ['Ann.Lee@Corp.Example', 'ann.lee@corp.example'],
      ['Ünal Öz', 'unal-oz'],
      ['CORP\\ann', 'corp-ann'],
      ['../../root', 'root'],
      ['-_.ann', 'ann'],
      ['ann\u0000\n', 'ann'],
      ['', null],
      ['---', null],
      ['日本', null],
      ['a'.repeat(200), 'a'.repeat(63)],
    ];
    for (const [text, name] of cases) assert.equal(actorNameOf(text), name, text);
    fc.assert(
      fc.property(fc.string({ unit: 'binary', maxLength: 200 }), (text) => {
        const name = actorNameOf(text);
        return name === null || isActorName(name);
      }),
    );
  });

  it('takes the user name from the claim that is configured, or from those that are usual', () => {
    const name = (claims: Record<string, unknown>, userName?: string) =>
      mapClaims({ roles: [], ...(userName === undefined ? {} : { userName }) }, claims, [
        'preferred_username',
        'email',
      ]).userName;
    assert.equal(name({ preferred_username: 'ann', email: 'bob@example.com' }), 'ann');
    assert.equal(name({ email: 'bob@example.com' }), 'bob');
    assert.equal(name({ preferred_username: 'ann', upn: 'carl' }, 'upn'), 'carl');
    assert.equal(name({ preferred_username: 'ann' }, 'upn'), null, 'and from no other then');
    assert.equal(name({ preferred_username: { toString: 'ann' } }), null);
    assert.equal(name({}), null);
  });

  it('reads texts alone, from lists and along paths, and nothing that is inherited', () => {
    const claims = {
      groups: ['a', 5, true, null, { b: 'c' }, ['d'], '\ud800', 'x'.repeat(5_000)],
      realm_access: { roles: ['admin'] },
      'https://example.com/roles': 'r',
      'a.b': 'whole',
      a: { b: 'path' },
    };
    assert.deepEqual(claimValues(claims, 'groups'), ['a', '5', 'true']);
    assert.deepEqual(claimValues(claims, 'realm_access.roles'), ['admin']);
    assert.deepEqual(claimValues(claims, 'https://example.com/roles'), ['r']);
    assert.deepEqual(claimValues(claims, 'a.b'), ['whole']);
    for (const path of ['constructor.name', '__proto__', 'toString', 'groups.length', 'absent', ''])
      assert.deepEqual(claimValues(claims, path), [], path);
  });

  it('gives the role of the first rule that fits exactly, else the default, else none', () => {
    const roles = [
      { claim: 'groups', value: 'admins', role: 'admin' },
      { claim: 'groups', value: 'devs', role: 'developer' },
    ];
    const role = (groups: unknown, defaultRole?: string) =>
      mapClaims({ roles, ...(defaultRole === undefined ? {} : { defaultRole }) }, { groups }, []).role;
    assert.equal(role(['devs', 'admins']), 'admin');
    assert.equal(role('devs'), 'developer');
    for (const groups of [
      'Admins',
      'admins ',
      'admin',
      'xadmins',
      ['admins,devs'],
      [['admins']],
      { admins: true },
      null,
    ])
      assert.equal(role(groups), null, JSON.stringify(groups));
    assert.equal(role([], 'auditor'), 'auditor');
  });

  it('gives teams by a map or by prefix, and decides about no others', () => {
    const map = { roles: [], teams: { claim: 'groups', map: { Eng: 'engineering', Ops: 'operations' } } };
    const teams = (mapping: Parameters<typeof mapClaims>[0], groups: unknown) =>
      mapClaims(mapping, { groups }, []).teams;
    assert.deepEqual(teams(map, ['Eng', 'Eng', 'other', 'toString']), ['engineering']);
    assert.deepEqual(managedTeams(map, ['own', 'engineering']), ['engineering', 'operations']);
    const prefixed = { roles: [], teams: { claim: 'groups', prefix: 'idp-' } };
    assert.deepEqual(teams(prefixed, ['eng', 'Eng', 'e/ng', '日本', '']), ['idp-eng']);
    assert.deepEqual(managedTeams(prefixed, ['own', 'idp-old']), ['idp-old']);
    const all = { roles: [], teams: { claim: 'groups' } };
    assert.deepEqual(teams(all, ['eng']), ['eng']);
    assert.deepEqual(managedTeams(all, ['own', 'eng']), ['own', 'eng']);
    assert.equal(teams({ roles: [] }, ['Eng']), null);
    assert.deepEqual(managedTeams({ roles: [] }, ['own']), []);
  });

  it('shows names and addresses without what would break a terminal', () => {
    const { displayName, email } = mapClaims(
      { roles: [] },
      { name: ' Ann\u001b[31m\u202e Lee\n ', email: 'ann@example.com\u0000' },
      [],
    );
    assert.equal(displayName, 'Ann [31m Lee');
    assert.equal(email, null);
  });
});
