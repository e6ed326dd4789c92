import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { compileRules, formatDocument, parsePolicy } from '../contract/policy.ts';
import {
  type EgressFlow,
  type EgressPolicy,
  egressDenials,
  egressProtocols,
  unlimitedEgress,
} from './egress.ts';
import { isMethod, mayDial, requestAllowed, ruleForAddress, ruleForName } from './egress-decide.ts';
import { type SuggestedRule, suggestRules } from './egress-suggest.ts';
import { canonicalHost } from './host-name.ts';
import { parseAddress } from './ip-address.ts';

const denied: EgressFlow = {
  id: 1,
  run: 'run_01kamcq5r8v0x4m2e7hj9n3tzb',
  at: 0,
  host: 'a.example',
  address: null,
  port: 443,
  protocol: null,
  method: null,
  path: null,
  verdict: 'denied',
  rule: null,
  denial: 'no-rule',
  generation: 1,
  count: 1,
};
const allowed: EgressFlow = { ...denied, verdict: 'allowed', denial: null, rule: 'web#1', protocol: 'https' };
const request: EgressFlow = { ...allowed, port: 80, protocol: 'http', method: 'GET', path: '/' };

function suggest(...changes: Partial<EgressFlow>[]): SuggestedRule[] {
  return suggestRules(changes.map((change) => ({ ...denied, ...change })));
}

/** The policy that the suggestion is, once it was parsed and compiled like any other. */
function policyOf(rules: SuggestedRule[]): EgressPolicy {
  const parsed = parsePolicy({ rules });
  assert.ok('document' in parsed, JSON.stringify(parsed));
  assert.deepEqual(formatDocument(parsed.document), parsed.document, 'a suggestion is in canonical form');
  const compiled = compileRules('web', parsed.document);
  assert.ok('rules' in compiled, JSON.stringify(compiled));
  return { mode: 'restricted', generation: 1, rules: compiled.rules, limits: unlimitedEgress };
}

describe('what is suggested', () => {
  test('a denied host is a rule of its name, with the protocol of its port', () => {
    assert.deepEqual(suggest({}), [{ host: 'a.example' }]);
    assert.deepEqual(suggest({ port: 80 }), [{ host: 'a.example', protocol: 'http' }]);
    assert.deepEqual(suggest({ port: 22 }), [{ host: 'a.example', protocol: 'ssh' }]);
    assert.deepEqual(suggest({ port: 5432 }), [{ host: 'a.example', ports: [5432], protocol: 'tcp' }]);
    assert.deepEqual(suggest({ port: 8443, protocol: 'https' }), [{ host: 'a.example', ports: [8443] }]);
  });

  test('ports of one host and protocol are one rule, and the like is told once', () => {
    const rules = suggest(
      {},
      {},
      { port: 8443, protocol: 'https' },
      { host: 'A.example.', verdict: 'allowed' },
    );
    assert.deepEqual(rules, [{ host: 'a.example', ports: [443, 8443] }]);
  });

  test('requests that were seen inside TLS are all that is suggested, unless TLS was not looked into', () => {
    const seen = (method: string, path: string | null) =>
      ({ port: 443, protocol: 'https', verdict: 'allowed', method, path }) as const;
    const requests = [seen('CONNECT', null), seen('GET', '/a'), seen('POST', '/b')];
    const denied = { ...seen('PUT', '/c'), verdict: 'denied', denial: 'request' } as const;
    const narrow = [{ host: 'a.example', methods: ['GET', 'POST', 'PUT'], paths: ['/a', '/b', '/c'] }];
    assert.deepEqual(suggest(...requests, denied), narrow);
    assert.deepEqual(suggest(...requests, denied, { port: 443, protocol: 'https' }), narrow);
    const tunnel = { port: 443, protocol: 'https', verdict: 'allowed' } as const;
    assert.deepEqual(suggest(...requests, tunnel), [{ host: 'a.example' }]);
    assert.deepEqual(suggest(seen('CONNECT', null)), []);
  });

  test('a name that was only looked up is https, and one that was connected to is what it was', () => {
    const lookup = { protocol: 'dns', port: 53 } as const;
    assert.deepEqual(suggest(lookup), [{ host: 'a.example' }]);
    assert.deepEqual(suggest(lookup, { port: 22 }), [{ host: 'a.example', protocol: 'ssh' }]);
  });

  test('protocols that disagree at one port are tcp', () => {
    const rules = suggest({ port: 8080, protocol: 'http' }, { port: 8080, protocol: 'https' });
    assert.deepEqual(rules, [{ host: 'a.example', ports: [8080], protocol: 'tcp' }]);
  });

  test('a literal address is a network of its own', () => {
    assert.deepEqual(suggest({ host: null, address: '8.8.8.8', port: 443 }), [
      { cidr: '8.8.8.8/32', ports: [443] },
    ]);
    assert.deepEqual(suggest({ host: null, address: '::ffff:8.8.8.8' }), [
      { cidr: '8.8.8.8/32', ports: [443] },
    ]);
    assert.deepEqual(suggest({ host: null, address: '2606:4700::1' }), [
      { cidr: '2606:4700::1/128', ports: [443] },
    ]);
  });

  test('an allowed name with an address that is not public needs the network too, and others do not', () => {
    assert.deepEqual(suggestRules([{ ...allowed, address: '10.1.2.3' }]), [
      { host: 'a.example' },
      { cidr: '10.1.2.3/32', ports: [443], protocol: 'https' },
    ]);
    assert.deepEqual(suggestRules([{ ...allowed, address: '8.8.8.8' }]), [{ host: 'a.example' }]);
  });

  test('flows to what is never let through or never well formed are left out', () => {
    assert.deepEqual(suggest({ denial: 'address-class', host: null, address: '169.254.169.254' }), []);
    assert.deepEqual(suggest({ denial: 'malformed' }), []);
    for (const denial of egressDenials.filter((each) => each !== 'address-class' && each !== 'malformed')) {
      assert.deepEqual(suggest({ denial }), [{ host: 'a.example' }], denial);
    }
  });

  test('flows that no rule can say are left out', () => {
    for (const change of [
      { host: '1.2.3.4' },
      { host: 'a b' },
      { host: null },
      { host: null, address: 'x' },
      { port: 53 },
      { port: 0 },
      { host: '', protocol: 'dns', port: 53 },
    ] as const) {
      assert.deepEqual(suggest(change), [], JSON.stringify(change));
    }
    assert.deepEqual(suggestRules([{ ...request, method: 'get' }]), []);
    assert.deepEqual(suggestRules([{ ...request, path: '/a/../b' }]), []);
  });
});

describe('what is suggested for requests', () => {
  const of = (...changes: Partial<EgressFlow>[]) =>
    suggestRules(changes.map((change) => ({ ...request, ...change })));
  const numbered = (count: number, prefix: string) =>
    Array.from({ length: count }, (_, index) => ({ path: `${prefix}${index}` }));

  test('the methods and paths that were seen, and no others', () => {
    assert.deepEqual(of({ path: '/b' }, { method: 'POST', path: '/a' }, { path: '/a' }), [
      { host: 'a.example', protocol: 'http', methods: ['GET', 'POST'], paths: ['/a', '/b'] },
    ]);
  });

  test('a connection beside its requests widens nothing', () => {
    assert.deepEqual(of({}, { method: null, path: null }), [
      { host: 'a.example', protocol: 'http', methods: ['GET'], paths: ['/'] },
    ]);
  });

  test('eight paths are listed, and nine are their longest common folder', () => {
    const eight = of(...numbered(8, '/x/y/'))[0];
    assert.ok(eight && 'paths' in eight && eight.paths?.length === 8);
    for (const [flows, glob] of [
      [numbered(9, '/x/y/'), '/x/y/**'],
      [[...numbered(9, '/x/y/'), { path: '/x/z' }], '/x/**'],
      [[...numbered(9, '/x/y/'), { path: '/x/y' }], '/x/**'],
      [[...numbered(9, '/x/y'), { path: '/xx/y' }], '/**'],
    ] as const) {
      const rule = of(...flows)[0];
      assert.ok(rule && 'paths' in rule);
      assert.deepEqual(rule.paths, [glob]);
    }
  });

  test('what a glob cannot say literally is a star, and a path cut by its record is left open', () => {
    const long = `/a/${'b'.repeat(2000)}`.slice(0, 1024);
    const rule = of({ path: '/a%20b/c*d**e' }, { path: long })[0];
    assert.ok(rule && 'paths' in rule);
    assert.deepEqual(rule.paths, ['/a*20b/c*d*e', '/a/**']);
  });

  test('requests of another protocol say nothing about methods and paths', () => {
    assert.deepEqual(of({ port: 443, protocol: 'ssh' }), [
      { host: 'a.example', ports: [443], protocol: 'ssh' },
    ]);
  });

  test('a port whose requests differ is a rule of its own', () => {
    assert.deepEqual(of({ path: '/a' }, { port: 8080, path: '/a' }, { port: 8081, path: '/b' }), [
      { host: 'a.example', ports: [80, 8080], protocol: 'http', methods: ['GET'], paths: ['/a'] },
      { host: 'a.example', ports: [8081], protocol: 'http', methods: ['GET'], paths: ['/b'] },
    ]);
  });
});

test('more ports than a rule may have are more rules', () => {
  const rules = suggest(...Array.from({ length: 100 }, (_, index) => ({ port: 1_000 + index })));
  assert.deepEqual(
    rules.map((rule) => rule.ports?.length),
    [64, 36],
  );
  policyOf(rules);
});

const pathText = fc.oneof(
  fc
    .string({ unit: fc.constantFrom('a', 'b', '/', '.', '*', '%', ';', 'ü'), maxLength: 12 })
    .map((text) => `/${text}`),
  fc.constant(`/${'x/'.repeat(511)}y`),
);
const flow: fc.Arbitrary<EgressFlow> = fc
  .record({
    host: fc.option(fc.oneof(fc.constantFrom('a.example', 'b.a.example', 'B.example'), fc.string())),
    address: fc.option(fc.constantFrom('8.8.8.8', '10.0.0.1', '::1', '::ffff:9.9.9.9', '2606:4700::1', 'x')),
    port: fc.oneof(fc.constantFrom(22, 53, 80, 443, 8080), fc.nat(65_535)),
    protocol: fc.constantFrom(null, 'dns' as const, ...egressProtocols),
    method: fc.option(fc.constantFrom('GET', 'POST', 'get', 'CONNECT')),
    path: fc.option(pathText),
    denial: fc.constantFrom(null, ...egressDenials),
  })
  .map((change) => ({ ...denied, ...change, verdict: change.denial === null ? 'allowed' : 'denied' }));

/** Whether a rule can say what this flow was for. */
function isSayable({ host, address, port, protocol, method, path, denial }: EgressFlow): boolean {
  if (denial === 'address-class' || denial === 'malformed' || port < 1 || port === 53) return false;
  if (protocol === 'dns' || (method !== null && !isMethod(method))) return false;
  if (path !== null && (path.split('/').slice(1, -1).includes('') || /\/\.\.?(\/|$)/.test(path)))
    return false;
  return host === null ? address !== null && parseAddress(address) !== null : canonicalHost(host) !== null;
}

test('a suggestion compiles, in canonical form, and lets through every flow that it was made from', () => {
  fc.assert(
    fc.property(fc.array(flow, { maxLength: 30 }), (flows) => {
      const policy = policyOf(suggestRules(flows));
      for (const each of flows.filter(isSayable)) {
        const address = each.address === null ? null : parseAddress(each.address);
        const rule =
          each.host === null
            ? ruleForAddress(policy, address!, each.port)
            : ruleForName(policy, canonicalHost(each.host)!, each.port);
        assert.ok(rule, JSON.stringify(each));
        if (each.protocol !== null && rule.protocol !== 'tcp') assert.equal(rule.protocol, each.protocol);
        if (each.verdict === 'allowed' && address) assert.ok(mayDial(policy, address, each.port, []));
        if (rule.protocol !== 'http' || each.protocol !== 'http') continue;
        if (each.method !== null && each.path !== null)
          assert.ok(requestAllowed(rule, each.method, each.path));
      }
    }),
    { numRuns: 500 },
  );
});

test('the order of the flows does not matter, and suggesting reaches no host that was not asked for', () => {
  fc.assert(
    fc.property(fc.array(flow, { maxLength: 20 }), (flows) => {
      const rules = suggestRules(flows);
      assert.deepEqual(suggestRules(flows.toReversed()), rules);
      const hosts = new Set(flows.map(({ host }) => (host === null ? null : canonicalHost(host))));
      for (const rule of rules) if ('host' in rule) assert.ok(hosts.has(rule.host));
    }),
  );
});
