import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { normalPath } from '../gateway/http/target.ts';
import {
  type EgressFlow,
  type EgressLimits,
  type EgressPolicy,
  type EgressRule,
  egressDenials,
  egressProtocols,
  unlimitedEgress,
} from './egress.ts';
import { knowsName, mayDial, requestAllowed, ruleForAddress, ruleForName } from './egress-decide.ts';
import { type RecordedFacts, Simulation, simulateFlow } from './egress-simulate.ts';
import { newId } from './ids.ts';
import { addressClass, parseAddress } from './ip-address.ts';

const facts: RecordedFacts = {
  ...{ host: 'a.example', address: '192.0.2.1', port: 443, protocol: 'https', method: null, path: null },
  ...{ verdict: 'allowed', denial: null },
};
const public4 = '93.184.216.34';

function rule(more: Partial<EgressRule> & { host?: string; cidr?: string } = {}): EgressRule {
  const { host = 'a.example', cidr, ...rest } = more;
  return { name: 'c#1', target: cidr ? { cidr } : { host }, ports: [443], protocol: 'https', ...rest };
}

function policy(rules: EgressRule[], limits: EgressLimits = unlimitedEgress): EgressPolicy {
  return { mode: 'restricted', generation: 1, rules, limits };
}

const full: EgressPolicy = { ...policy([]), mode: 'full' };

/** `allowed`, or why not, or what is missing. */
function say(candidate: EgressPolicy | EgressRule[], more: Partial<RecordedFacts> = {}): string {
  const simulated = simulateFlow(Array.isArray(candidate) ? policy(candidate) : candidate, {
    ...{ ...facts, address: public4, ...more },
  });
  if (simulated.would === 'denied') return simulated.denial;
  return simulated.would === 'unknown' ? `unknown: ${simulated.unknown}` : simulated.would;
}

const denial = (why: EgressFlow['denial'], more: Partial<RecordedFacts> = {}) =>
  ({ verdict: 'denied', denial: why, address: null, ...more }) as const;

describe('what a candidate would say', () => {
  test('is what its first rule for the name and port says', () => {
    assert.equal(say([rule()]), 'allowed');
    assert.equal(say([rule({ ports: [8443] })]), 'no-rule');
    assert.equal(say([rule({ host: 'b.example' })]), 'no-rule');
    assert.equal(say([rule({ host: '*.a.example' })], { host: 'x.a.example' }), 'allowed');
    assert.equal(say([]), 'no-rule');
    assert.equal(say([rule()], denial('no-rule')), 'allowed');
    assert.deepEqual(
      simulateFlow(policy([rule()]), facts.host === null ? facts : { ...facts, address: null }),
      {
        would: 'allowed',
        rule: 'c#1',
      },
    );
  });

  test('of an address that is not public needs a rule for it, behind a name too', () => {
    const office = rule({ cidr: '10.0.0.0/8' });
    assert.equal(say([rule()], { address: '10.0.0.1' }), 'address-class');
    assert.equal(say([rule(), office], { address: '10.0.0.1' }), 'allowed');
    const literal = { host: null, address: '10.0.0.1' } as const;
    assert.equal(say([office], literal), 'allowed');
    assert.equal(say([rule()], literal), 'address-class');
    assert.equal(say([rule()], { host: null }), 'no-rule');
    assert.equal(say([rule()], denial('address-class')), 'address-class');
    assert.equal(say([rule(), office], denial('address-class')), 'unknown: address');
  });

  test('in mode full is what full says', () => {
    assert.equal(say(full), 'allowed');
    assert.equal(say(full, { host: null }), 'allowed');
    assert.equal(say(full, { host: null, address: '10.0.0.1' }), 'address-class');
    assert.equal(say(full, denial('address-class', { host: null, address: public4 })), 'address-class');
    assert.equal(say(full, denial('no-rule', { protocol: 'dns', port: 53 })), 'allowed');
  });

  test('of a lookup is unknown where some port of the name is allowed', () => {
    const lookup = denial('no-rule', { protocol: 'dns', port: 53 });
    assert.equal(say([rule()], lookup), 'unknown: port');
    assert.equal(say([rule({ host: 'b.example' })], lookup), 'no-rule');
    assert.equal(say([rule()], { ...lookup, host: null }), 'unknown: destination');
    assert.equal(say([rule({ host: '*.a.example' })], { ...lookup, host: 'x\0.a.example' }), 'no-rule');
  });

  test('of denials that were counted together is unknown', () => {
    assert.equal(say([rule()], denial('no-rule', { host: null, port: 0 })), 'unknown: destination');
  });

  test('of a request is what the rule says to its method and path, and unknown without them', () => {
    const reads = [rule({ methods: ['GET'], paths: ['/a/**'] })];
    const ask = (method: string | null, path: string | null) => say(reads, { method, path });
    assert.equal(ask('GET', '/a/b'), 'allowed');
    assert.equal(ask('PUT', '/a/b'), 'request');
    assert.equal(ask('GET', '/b'), 'request');
    assert.equal(ask(null, null), 'unknown: request');
    assert.equal(ask('CONNECT', null), 'allowed', 'the connection of requests that were seen');
    assert.equal(ask('GET', null), 'unknown: request');
    assert.equal(ask('PUT', null), 'request');
    for (const path of ['/a/%62', '/a/;b', '/a//b', '/a/../b', `/a/${'b'.repeat(1_022)}`])
      assert.equal(ask('GET', path), 'unknown: request', path);
    const request = denial('request', { method: 'GET', path: '/a/b' });
    assert.equal(say(reads, request), 'allowed');
    assert.equal(say(reads, denial('no-rule')), 'unknown: request');
    assert.equal(say([rule()], { method: 'GET', path: '/a/%62' }), 'allowed');
  });

  test('of bytes that are something else than the rule is for is a denial, and unknown where nobody looked', () => {
    const as = (protocol: EgressRule['protocol']) => [rule({ protocol })];
    assert.equal(say(as('tcp')), 'allowed');
    assert.equal(say(as('ssh')), 'protocol');
    assert.equal(say(as('https'), { protocol: 'ssh' }), 'protocol');
    assert.equal(say(as('http')), 'malformed');
    assert.equal(say(as('https'), { protocol: 'tcp' }), 'unknown: protocol');
    assert.equal(say(as('https'), denial('protocol')), 'unknown: protocol');
    assert.equal(say(as('ssh'), denial('protocol', { protocol: 'ssh' })), 'protocol');
    assert.equal(say(as('http'), denial('protocol')), 'unknown: protocol');
    assert.equal(
      say(as('http'), denial('protocol', { protocol: 'http' })),
      'allowed',
      'it was HTTP, to a proxy',
    );
    assert.equal(say(as('https'), denial('protocol', { protocol: 'http' })), 'protocol');
    assert.equal(say([rule({ methods: ['GET'] })], denial('protocol')), 'protocol');
    assert.equal(say(as('tcp'), denial('protocol')), 'allowed');
    assert.equal(say(as('https'), denial('name-mismatch')), 'name-mismatch');
    assert.equal(say(as('tcp'), denial('name-mismatch')), 'allowed');
    const inside = denial('name-mismatch', { method: 'GET', path: '/' });
    assert.equal(say(as('https'), inside), 'allowed', 'nobody looks inside any more');
    assert.equal(say([rule({ methods: ['GET'] })], inside), 'name-mismatch');
    const odd = denial('malformed', { method: 'GET', path: '/a//b' });
    assert.equal(say([rule({ paths: ['/**'] })], odd), 'malformed');
    assert.equal(say([rule({ methods: ['GET'] })], odd), 'unknown: request');
    assert.equal(say(as('https'), odd), 'allowed');
    const noHttp = denial('malformed', { protocol: 'http' });
    assert.equal(say(as('http'), noHttp), 'malformed');
    assert.equal(say(as('https'), noHttp), 'unknown: protocol');
    assert.equal(say(as('https'), denial('malformed')), 'unknown: protocol');
  });

  test('of what failed for another reason is that reason again, or unknown where it may have passed', () => {
    assert.equal(say([rule()], denial('unresolved')), 'unresolved');
    assert.equal(say([rule()], denial('certificate')), 'allowed', 'nobody looks inside any more');
    const reads = [rule({ methods: ['GET'] })];
    assert.equal(say(reads, denial('certificate')), 'certificate');
    assert.equal(say([rule()], denial('no-record')), 'unknown: record');
    assert.equal(say([rule()], denial('limit')), 'allowed', 'there is none any more');
    const limited = policy([rule()], { ...unlimitedEgress, connections: 1 });
    assert.equal(say(limited, denial('limit')), 'unknown: limit');
    assert.equal(say([], denial('limit')), 'no-rule');
  });
});

const hosts = ['a.example', 'x.a.example', 'b.example'];
const addresses = [public4, '10.0.0.1', '2606:4700::1', 'fd00::1'];
const anyRule = fc.oneof(
  fc.record({
    host: fc.constantFrom(...hosts, '*.a.example'),
    ports: fc.subarray([22, 80, 443], { minLength: 1 }),
    protocol: fc.constantFrom(...egressProtocols),
    methods: fc.option(fc.subarray(['GET', 'PUT'], { minLength: 1 })),
    paths: fc.option(fc.subarray(['/', '/a/**', '/*'], { minLength: 1 })),
  }),
  fc.record({
    cidr: fc.constantFrom('10.0.0.0/8', '93.184.0.0/16', '::/0'),
    ports: fc.subarray([22, 80, 443], { minLength: 1 }),
    protocol: fc.constantFrom(...egressProtocols),
  }),
);
const anyPolicy = fc
  .record({ rules: fc.array(anyRule, { maxLength: 4 }), isFull: fc.nat({ max: 7 }) })
  .map(({ rules, isFull }): EgressPolicy => {
    if (isFull === 0) return full;
    return policy(
      rules.map((each, index) => {
        const { methods = null, paths = null, ...rest } = { methods: null, paths: null, ...each };
        const looks = rest.protocol === 'http' || rest.protocol === 'https';
        return rule({
          ...{ ...rest, name: `p#${index}` },
          ...(looks && methods ? { methods } : {}),
          ...(looks && paths ? { paths } : {}),
        });
      }),
    );
  });

/** What really happened at the wall, of which a record holds a part. */
const truth = fc.record({
  host: fc.option(fc.constantFrom(...hosts)),
  address: fc.constantFrom(...addresses),
  resolves: fc.boolean(),
  port: fc.constantFrom(22, 80, 443),
  bytes: fc.constantFrom('tls', 'tls+http', 'tls+odd', 'http', 'ssh', 'other', 'broken tls'),
  namesHost: fc.boolean(),
  namesHostInside: fc.boolean(),
  isAbsolute: fc.boolean(),
  method: fc.constantFrom('GET', 'PUT', 'X'.repeat(40)),
  path: fc.constantFrom('/', '/a/b', '/a/%41', '/a/../b', '*', '/a%2fb', `/a/${'b'.repeat(2_000)}`),
});
type Truth = typeof truth extends fc.Arbitrary<infer T> ? T : never;

/** The gateway's pipeline, written down once more: its denial or null, and what it records. */
function gateway(candidate: EgressPolicy, flow: Truth): RecordedFacts & { early: boolean } {
  const { host, port, bytes, namesHost, method, path } = flow;
  const ip = parseAddress(flow.address)!;
  const guess = ({ 22: 'ssh', 80: 'http', 443: 'https' } as const)[port as 22];
  const record = (
    why: EgressFlow['denial'],
    protocol: EgressFlow['protocol'],
    seen = false,
    early = false,
  ) => ({
    ...({ host, port, protocol, denial: why, early, verdict: why === null ? 'allowed' : 'denied' } as const),
    address: host === null || why === null ? flow.address : null,
    ...(seen ? { method: method.slice(0, 32), path: path.slice(0, 1_024) } : { method: null, path: null }),
  });
  const found = host === null ? ruleForAddress(candidate, ip, port) : ruleForName(candidate, host, port);
  if (found === null) {
    const why = host === null && addressClass(ip) !== 'public' ? 'address-class' : 'no-rule';
    return record(why, guess, false, true);
  }
  const { protocol, methods, paths } = found;
  const looks = methods !== undefined || paths !== undefined;
  const isTls = bytes.startsWith('tls');
  const seesRequest = protocol === 'http' || (protocol === 'https' && looks);
  if (protocol === 'ssh' && bytes !== 'ssh') return record('protocol', 'ssh');
  if (protocol === 'https' && !isTls)
    return record(bytes === 'broken tls' ? 'malformed' : 'protocol', 'https');
  if (protocol === 'https' && host !== null && !namesHost) return record('name-mismatch', 'https');
  const away = (seen: boolean) => {
    if (host !== null && !flow.resolves) return record('unresolved', protocol, seen);
    return mayDial(candidate, ip, port, []) ? null : record('address-class', protocol, seen);
  };
  if (protocol === 'https' && looks) {
    if (bytes === 'tls+odd') return record('protocol', 'https');
    // Where TLS ends here, the upstream is asked before the first request.
    const gone = away(false);
    if (gone !== null) return gone;
  }
  if (seesRequest && bytes !== (protocol === 'http' ? 'http' : 'tls+http'))
    return record('malformed', protocol);
  if (protocol === 'http' && !namesHost) return record('name-mismatch', 'http', true);
  if (protocol === 'https' && seesRequest) {
    if (flow.isAbsolute) return record('malformed', 'https', true);
    if (!flow.namesHostInside) return record('name-mismatch', 'https', true);
  }
  if (seesRequest && looks) {
    const normal = paths === undefined ? path : normalPath(path);
    if (normal === null) return record('malformed', protocol, true);
    if (!requestAllowed(found, method, normal)) return record('request', protocol, true);
  }
  return away(seesRequest) ?? record(null, protocol, seesRequest);
}

test('what is not unknown is what the gateway would have said to the same flow', () => {
  const seen = new Map<string, number>();
  const told = (what: string) => seen.set(what, (seen.get(what) ?? 0) + 1);
  fc.assert(
    fc.property(anyPolicy, anyPolicy, truth, (before, candidate, flow) => {
      const { early, ...recorded } = gateway(before, flow);
      const simulated = simulateFlow(candidate, recorded);
      const real = gateway(candidate, flow);
      told(`${recorded.verdict} ${simulated.would}`);
      if (simulated.would === 'unknown') return;
      if (recorded.denial !== null && simulated.would === 'allowed') {
        // Nobody heard what an early denial was about to say, nor asked where the name of any of them leads.
        const later = real.denial === 'unresolved' || real.denial === 'address-class';
        return assert(real.denial === null || later || (early && real.denial !== 'no-rule'));
      }
      assert.equal(simulated.would, real.verdict);
    }),
    { numRuns: 20_000 },
  );
  for (const was of ['allowed', 'denied'])
    for (const would of ['allowed', 'denied', 'unknown'])
      assert((seen.get(`${was} ${would}`) ?? 0) > 20, `${was} ${would}: ${seen.get(`${was} ${would}`)}`);
});

test('a policy says to its own flows what it said, or nothing', () => {
  fc.assert(
    fc.property(anyPolicy, truth, (before, flow) => {
      const { early: _early, ...recorded } = gateway(before, flow);
      const simulated = simulateFlow(before, recorded);
      if (simulated.would !== 'unknown') assert.equal(simulated.would, recorded.verdict);
    }),
    { numRuns: 5_000 },
  );
});

test('whatever a record holds, there is an answer, and a name without a rule is never let through', () => {
  const text = fc.option(
    fc.oneof(fc.string({ unit: 'binary' }), fc.constantFrom(...hosts, ...addresses, '/a')),
  );
  const any = fc.record({
    ...{ host: text, address: text, method: text, path: text, port: fc.nat({ max: 65_535 }) },
    protocol: fc.option(fc.constantFrom(...egressProtocols, 'dns' as const)),
    verdict: fc.constantFrom('allowed', 'denied'),
    denial: fc.option(fc.constantFrom(...egressDenials)),
  });
  fc.assert(
    fc.property(anyPolicy, any, (candidate, recorded) => {
      const { would } = simulateFlow(candidate, recorded);
      if (recorded.host !== null && !knowsName(candidate, recorded.host)) assert.notEqual(would, 'allowed');
    }),
    { numRuns: 5_000 },
  );
});

describe('a simulation', () => {
  const flow = (run: EgressFlow['run'], more: Partial<EgressFlow> = {}): EgressFlow => ({
    ...{ ...facts, id: 1, run, at: 0, rule: null, generation: 1, count: 1, address: public4, ...more },
  });

  test('counts what records stand for, and tells what is decided otherwise, the most frequent first', () => {
    const [one, two] = [newId('run', 1), newId('run', 2)];
    const simulation = new Simulation(policy([rule()]), 100);
    simulation.add(flow(one));
    simulation.add(flow(one, { host: 'b.example' }));
    simulation.add(flow(two, { host: 'b.example', address: '93.184.216.35' }));
    simulation.add(flow(one, denial('no-rule', { host: 'a.example' })));
    simulation.add(flow(two, { ...denial('no-rule'), port: 53, protocol: 'dns', count: 7 }));
    const { totals, groups, more } = simulation.summary(2);
    assert.deepEqual(totals, { flows: 11, unchanged: 1, newlyDenied: 2, newlyAllowed: 1, unknown: 7 });
    assert.deepEqual(
      groups.map(({ host, port, was, would, count, runs }) => [host, port, was, would, count, runs]),
      [
        ['a.example', 53, 'denied', 'unknown', 7, 1],
        ['b.example', 443, 'allowed', 'denied', 2, 2],
      ],
    );
    assert.deepEqual(
      groups.map(({ rule, denial, unknown }) => [rule, denial, unknown]),
      [
        [null, null, 'port'],
        [null, 'no-rule', null],
      ],
    );
    assert.deepEqual(more, { groups: 1, flows: 1 });
  });

  test('holds no more groups than it may, and counts the others', () => {
    const run = newId('run', 1);
    const simulation = new Simulation(policy([]), 3);
    for (let at = 0; at < 50; at += 1) simulation.add(flow(run, { host: `h${at}.example` }));
    const { totals, groups, more } = simulation.summary(10);
    assert.deepEqual([totals.newlyDenied, groups.length, more.flows], [50, 3, 47]);
  });
});
