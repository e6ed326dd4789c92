import assert from 'node:assert/strict';
import { test } from 'node:test';
import { unlimitedEgress } from './egress.ts';
import { portsOf, ruleForName } from './egress-decide.ts';
import { egressPresets, isPresetName, presetNames, presetRules } from './egress-presets.ts';
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

test('a name that only every object has is no preset', () => {
  assert.ok(isPresetName('npm'));
  for (const name of ['', 'NPM', 'toString', '__proto__', 'full', 'none']) assert.ok(!isPresetName(name));
});
