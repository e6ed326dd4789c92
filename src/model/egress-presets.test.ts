import assert from 'node:assert/strict';
import { test } from 'node:test';
import { unlimitedEgress } from './egress.ts';
import { portsOf, ruleForName } from './egress-decide.ts';
import { egressPresets, isPresetName, presetNames, presetRules, presetRulesWith } from './egress-presets.ts';
import { canonicalHost } from './host-name.ts';

for (const name of presetNames) {
  const rules = presetRules(name);

  test(`${name} names canonical hosts without a star, at ports of its protocols`, () => {
    assert.ok(rules.length > 0);
    for (const { target, ports, protocol } of rules) {
      assert.ok('host' in target);
      assert.equal(canonicalHost(target.host), target.host);
      assert.deepEqual(ports, [{ https: 443, http: 80, ssh: 22, tcp: 0 }[protocol]]);
    }
  });

  test(`every rule of ${name} is the one that decides its host`, () => {
    const policy = { mode: 'restricted', generation: 1, rules, limits: unlimitedEgress } as const;
    for (const rule of rules) {
      assert.ok('host' in rule.target);
      for (const port of rule.ports) assert.equal(ruleForName(policy, rule.target.host, port), rule);
    }
    assert.deepEqual(
      rules.map((rule) => rule.name),
      rules.map((_, index) => `${name}#${index + 1}`),
    );
  });

  test(`${name} cites a page of public documentation`, () => {
    assert.equal(new URL(egressPresets[name].source).protocol, 'https:');
  });
}

test('github is reached by https and ssh, debian by https and http, and the others by https alone', () => {
  const ports = presetNames.map((name) => {
    return [
      name,
      portsOf({ mode: 'restricted', generation: 1, rules: presetRules(name), limits: unlimitedEgress }),
    ];
  });
  assert.deepEqual(Object.fromEntries(ports), {
    github: [22, 443],
    npm: [443],
    pypi: [443],
    debian: [80, 443],
    anthropic: [443],
    openai: [443],
    'google-ai': [443],
  });
});

test('github is at further networks of a server too, by https and ssh, behind its hosts', () => {
  const presets = presetRulesWith({ github: ['10.20.0.0/16', 'fd00::/8'] });
  const rules = presets('github');
  const hosts = presetRules('github');
  assert.deepEqual(rules.slice(0, hosts.length), hosts);
  const at = hosts.length + 1;
  assert.deepEqual(rules.slice(hosts.length), [
    { name: `github#${at}`, target: { cidr: '10.20.0.0/16' }, ports: [443], protocol: 'https' },
    { name: `github#${at + 1}`, target: { cidr: '10.20.0.0/16' }, ports: [22], protocol: 'ssh' },
    { name: `github#${at + 2}`, target: { cidr: 'fd00::/8' }, ports: [443], protocol: 'https' },
    { name: `github#${at + 3}`, target: { cidr: 'fd00::/8' }, ports: [22], protocol: 'ssh' },
  ]);
  for (const name of presetNames) {
    assert.deepEqual(presetRulesWith({ github: [] })(name), presetRules(name));
    if (name !== 'github') assert.deepEqual(presets(name), presetRules(name));
  }
});

test('a name that only every object has is no preset', () => {
  assert.ok(isPresetName('npm'));
  for (const name of ['', 'NPM', 'toString', '__proto__', 'full', 'none']) assert.ok(!isPresetName(name));
});
