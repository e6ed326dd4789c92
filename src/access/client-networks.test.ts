import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { actionSpec } from '../model/actions.ts';
import type { Actor } from '../model/actor.ts';
import { decideByRole } from '../model/decide.ts';
import type { Scope } from '../model/scopes.ts';
import { anyNetwork, formatClientNetwork, mayActFrom, parseClientNetworks } from './client-networks.ts';
import { openAccessEngine } from './engine.ts';
import { actionNames } from './schema.ts';

const parse = (text: string) => parseClientNetworks(text) ?? assert.fail(text);

test('a list is networks, each for everybody or for one role; anything else is none', () => {
  assert.deepEqual(parse('10.0.0.0/8, admin@fd00::/8,release-lead@192.0.2.7/32').map(formatClientNetwork), [
    '10.0.0.0/8',
    'admin@fd00::/8',
    'release-lead@192.0.2.7/32',
  ]);
  assert.deepEqual(parse(''), []);
  const wrong = ['10.0.0.1/8', '10.0.0.0', '10.0.0.0/33', '010.0.0.0/8', 'Admin@10.0.0.0/8', '@10.0.0.0/8'];
  for (const text of [
    ...wrong,
    'admin@',
    '10.0.0.0/8;',
    '::ffff:10.0.0.0/104',
    'admin@admin@10.0.0.0/8',
    '*/0',
  ])
    assert.equal(parseClientNetworks(text), null, text);
  const many = Array.from({ length: 257 }, (_, index) => `10.${index % 256}.${index >> 8}.0/24`).join(',');
  assert.equal(parseClientNetworks(many), null);
});

test('an empty list keeps nobody out; any other lets in whom an entry is for, and the machine’s own socket', () => {
  const networks = { ...anyNetwork, 'sign-in': parse('10.0.0.0/8, admin@192.0.2.0/24') };
  const may = (role: string | null, address: string | null) => mayActFrom(networks, 'sign-in', role, address);
  assert.equal(mayActFrom(anyNetwork, 'sign-in', 'admin', '203.0.113.9'), true);
  assert(
    may('admin', '192.0.2.9') && may('admin', '10.9.9.9') && may(null, '10.9.9.9') && may('admin', null),
  );
  assert(may('admin', '::ffff:192.0.2.9'), 'an IPv4 address in IPv6 is that IPv4 address');
  assert(!may('developer', '192.0.2.9') && !may(null, '192.0.2.9') && !may('admin', '203.0.113.9'));
  for (const address of ['', 'localhost', '10.0.0', '::10.0.0.1', 'fe80::1%lo'])
    assert(!may('admin', address), address);
  assert(mayActFrom(networks, 'attach', 'developer', '203.0.113.9'), 'the other lists are not meant');
});

test('what administers and what attaches is refused from elsewhere, whoever asks, and nothing else is', () => {
  const list = parse('10.0.0.0/8, admin@192.0.2.0/24');
  const networks = { 'sign-in': list, administration: list, attach: parse('operator@10.0.0.0/8') };
  const engine = openAccessEngine({ networks });
  assert.deepEqual(engine.replace([{ name: 'open', text: 'permit (principal, action, resource);' }]), []);
  const kindOf = (needs: string | null) =>
    needs === 'control:write'
      ? 'attach'
      : ['identity:write', 'flag:write', 'incident:write'].includes(needs ?? '')
        ? 'administration'
        : null;
  const property = fc.property(
    fc.constantFrom(...actionNames),
    fc.constantFrom(undefined, 'admin', 'operator'),
    fc.constantFrom(null, '10.1.1.1', '::ffff:10.1.1.1', '192.0.2.7', '203.0.113.9', '::1', 'fe80::1%lo'),
    (action, role, address) => {
      const actor: Actor = {
        id: 'user:ada',
        scopes: new Set<Scope>(['*']),
        reach: 'all',
        ...(role && { role }),
      };
      const { on, needs } = actionSpec(action);
      if (needs === null) return;
      const kind = kindOf(needs);
      const may = kind === null || mayActFrom(networks, kind, role ?? null, address);
      const { allow, rule } = engine.decide(actor, action, { kind: on }, { address });
      assert.equal(allow, may, `${action} ${role} ${address}`);
      if (!may) assert.equal(rule, `network:${kind}`);
      else assert.equal(rule, decideByRole(actor, action, { kind: on }).rule);
    },
  );
  fc.assert(property, { numRuns: 1_000 });
});
