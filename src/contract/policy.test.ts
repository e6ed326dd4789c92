import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { type EgressRule, egressProtocols } from '../model/egress.ts';
import { presetNames, presetRules } from '../model/egress-presets.ts';
import {
  compileRules,
  formatDocument,
  type PolicyDocument,
  type PolicyProblem,
  parsePolicy,
  policyLimits,
  policyName,
} from './policy.ts';

function read(value: unknown): PolicyDocument {
  const result = parsePolicy(value);
  assert.ok('document' in result, JSON.stringify(result));
  return result.document;
}

/** Parsed and compiled: what a document lets through, or everything that is wrong with it. */
function check(...rules: unknown[]): { rules: EgressRule[] } | { problems: PolicyProblem[] } {
  const parsed = parsePolicy({ rules });
  return 'problems' in parsed ? parsed : compileRules('web', parsed.document);
}

function compile(...rules: unknown[]): EgressRule[] {
  const result = check(...rules);
  assert.ok('rules' in result, JSON.stringify(result));
  return result.rules;
}

/** The one problem of a document whose second rule is this; the first has none. */
function problemOf(rule: unknown): PolicyProblem {
  const result = check({ preset: 'openai' }, rule);
  assert.ok('problems' in result, 'it compiles');
  assert.equal(result.problems.length, 1, JSON.stringify(result));
  return result.problems[0]!;
}

describe('what compiles', () => {
  test('a host alone is https at 443, and each protocol but tcp has its port', () => {
    assert.deepEqual(compile({ host: 'a.example' }), [
      { name: 'web#1', target: { host: 'a.example' }, ports: [443], protocol: 'https' },
    ]);
    assert.deepEqual(compile({ host: 'a.example', protocol: 'http' })[0]?.ports, [80]);
    assert.deepEqual(compile({ host: 'a.example', protocol: 'ssh' })[0]?.ports, [22]);
  });

  test('a network is tcp where it names no protocol', () => {
    assert.deepEqual(compile({ cidr: 'FD00::/8', ports: [5432] }), [
      { name: 'web#1', target: { cidr: 'fd00::/8' }, ports: [5432], protocol: 'tcp' },
    ]);
  });

  test('hosts and lists come out canonical', () => {
    const rule = {
      host: '*.Bücher.Example.',
      protocol: 'http',
      ports: [8080, 80],
      methods: ['POST', 'GET'],
      paths: ['/b', '/a/**'],
    };
    assert.deepEqual(compile(rule), [
      {
        name: 'web#1',
        target: { host: '*.xn--bcher-kva.example' },
        ports: [80, 8080],
        protocol: 'http',
        methods: ['GET', 'POST'],
        paths: ['/a/**', '/b'],
      },
    ]);
  });

  test('methods and paths are those of https too, and are sorted', () => {
    assert.deepEqual(compile({ host: 'a.example', methods: ['PUT', 'GET'], paths: ['/b', '/a/**'] }), [
      {
        ...{ name: 'web#1', target: { host: 'a.example' }, ports: [443], protocol: 'https' },
        ...{ methods: ['GET', 'PUT'], paths: ['/a/**', '/b'] },
      },
    ]);
  });

  test('presets expand to their own rules in place, and every rule keeps its place in its name', () => {
    const names = compile({ host: 'a.example' }, { preset: 'github' }, { host: 'b.example' }).map(
      ({ name }) => name,
    );
    assert.deepEqual(names, ['web#1', ...presetRules('github').map(({ name }) => name), 'web#3']);
  });

  test('all presets together compile, and so does a document without rules', () => {
    assert.deepEqual(
      compile(...presetNames.map((preset) => ({ preset }))),
      presetNames.flatMap((name) => presetRules(name)),
    );
    assert.deepEqual(compile(), []);
  });
});

describe('what is refused by its shape', () => {
  for (const [what, rule, path, message] of [
    ['an unknown field', { host: 'a.example', port: 1 }, '.port', /not a known field/],
    ['a secret', { host: 'a.example', secret: 's' }, '.secret', /cannot be enforced yet/],
    ['an approval', { host: 'a.example', approve: 'human' }, '.approve', /cannot be enforced yet/],
    ['an unknown preset', { preset: 'maven' }, '.preset', /"npm"/],
    ['an unknown protocol', { host: 'a.example', protocol: 'udp' }, '.protocol', /"ssh"/],
    ['port 0', { host: 'a.example', ports: [0] }, '.ports[0]', />=1/],
    ['port 65,536', { host: 'a.example', ports: [443, 65_536] }, '.ports[1]', /<=65535/],
    ['half a port', { host: 'a.example', ports: [4.5] }, '.ports[0]', /int/],
    ['port 53', { host: 'a.example', ports: [53], protocol: 'tcp' }, '.ports[0]', /no query leaves/],
    ['a port named twice', { host: 'a.example', ports: [443, 443] }, '.ports', /twice/],
    ['an empty list of ports', { host: 'a.example', ports: [] }, '.ports', />=1/],
    ['65 ports', { host: 'a.example', ports: Array.from({ length: 65 }, (_, i) => i + 100) }, '.ports', /64/],
    ['a lower-case method', { host: 'a.b', protocol: 'http', methods: ['get'] }, '.methods[0]', /upper case/],
    ['CONNECT', { host: 'a.b', protocol: 'http', methods: ['CONNECT'] }, '.methods[0]', /CONNECT/],
    ['a method named twice', { host: 'a.b', protocol: 'http', methods: ['GET', 'GET'] }, '.methods', /twice/],
    ['a relative path', { host: 'a.b', protocol: 'http', paths: ['/a', 'b'] }, '.paths[1]', /normal form/],
    ['a path with dots', { host: 'a.b', protocol: 'http', paths: ['/a/../b'] }, '.paths[0]', /normal form/],
    ['a long path', { host: 'a.b', protocol: 'http', paths: [`/${'a'.repeat(1024)}`] }, '.paths[0]', /1,024/],
    ['a null', { host: 'a.b', ports: null }, '.ports', /array/],
    ['a rule that is no object', 'npm', '', /object/],
  ] as const) {
    test(`${what} is refused where it stands`, () => {
      const problem = problemOf(rule);
      assert.equal(problem.path, `rules[1]${path}`);
      assert.match(problem.message, message);
    });
  }

  test('501 rules are refused and 500 are not', () => {
    const rules = Array.from({ length: policyLimits.rulesMax + 1 }, (_, index) => ({
      host: `h${index}.example`,
    }));
    assert.equal(compile(...rules.slice(1)).length, policyLimits.rulesMax);
    assert.ok('problems' in parsePolicy({ rules }));
  });

  test('a document that is no object with rules alone is refused', () => {
    for (const value of [
      null,
      [],
      'x',
      {},
      { rules: {} },
      { rules: [], limits: {} },
      { rules: [], limits: { bytesOut: 0 } },
      { rules: [], limits: { connections: 1.5 } },
      { rules: [], limits: { requestsPerMinute: null } },
      { rules: [], limits: { bytesIn: 1 } },
      { rules: [], mode: 'full' },
    ]) {
      assert.ok('problems' in parsePolicy(value), JSON.stringify(value));
    }
    const limits = parsePolicy({ rules: [], limits: {} });
    assert.deepEqual(limits, { problems: [{ path: 'limits', message: 'names no limit' }] });
  });
});

describe('what is refused because it cannot be enforced', () => {
  for (const [what, rule, path, message] of [
    ['a rule for nothing', { ports: [443] }, '', /exactly one/],
    ['a rule for two things', { host: 'a.example', cidr: '10.0.0.0/8', ports: [1] }, '', /exactly one/],
    ['a preset with ports', { preset: 'npm', ports: [443] }, '.ports', /has its own/],
    ['a preset named twice', { preset: 'openai' }, '.preset', /twice/],
    ['an IPv4 address as host', { host: '8.8.8.8' }, '.host', /name the network with cidr/],
    ['an IPv6 address as host', { host: '[::1]' }, '.host', /name the network with cidr/],
    ['a short IPv4 address as host', { host: '127.1' }, '.host', /read as an IP address/],
    ['no host', { host: '' }, '.host', /not a DNS name/],
    ['a host with a port', { host: 'a.example:443' }, '.host', /not a DNS name/],
    ['a star over a top-level domain', { host: '*.com' }, '.host', /two labels/],
    ['a star alone', { host: '*' }, '.host', /two labels/],
    ['a star inside', { host: 'a.*.example' }, '.host', /two labels/],
    ['host bits', { cidr: '10.0.0.1/8', ports: [1] }, '.cidr', /host bits/],
    ['a mapped network', { cidr: '::ffff:10.0.0.0/104', ports: [1] }, '.cidr', /mapped/],
    ['an address without prefix', { cidr: '10.0.0.1', ports: [1] }, '.cidr', /canonical form/],
    ['multicast', { cidr: '224.0.0.0/24', ports: [1] }, '.cidr', /multicast/],
    ['an address that stands for a name', { cidr: '198.18.3.0/24', ports: [1] }, '.cidr', /stands for names/],
    ['a network without ports', { cidr: '10.0.0.0/8' }, '.ports', /due with cidr/],
    ['tcp without ports', { host: 'a.example', protocol: 'tcp' }, '.ports', /due with protocol tcp/],
    [
      'paths of tcp',
      { host: 'a.example', protocol: 'tcp', ports: [1], paths: ['/'] },
      '.paths',
      /tcp has no requests/,
    ],
    [
      'methods of a network inside TLS',
      { cidr: '10.0.0.0/8', ports: [443], protocol: 'https', methods: ['GET'] },
      '.methods',
      /name the host/,
    ],
    [
      'methods of ssh',
      { host: 'a.example', protocol: 'ssh', methods: ['GET'] },
      '.methods',
      /ssh has no requests/,
    ],
    [
      'paths of a network',
      { cidr: '10.0.0.0/8', ports: [80], protocol: 'http', paths: ['/'] },
      '.paths',
      /name the host/,
    ],
  ] as const) {
    test(`${what} is refused, with the reason`, () => {
      const problem = problemOf(rule);
      assert.equal(problem.path, `rules[1]${path}`);
      assert.match(problem.message, message);
    });
  }

  test('every problem of a document is told at once', () => {
    const result = check({ host: '1.2.3.4' }, { host: 'a.example' }, { cidr: '10.0.0.1/8' });
    assert.ok('problems' in result);
    assert.deepEqual(
      result.problems.map(({ path }) => path),
      ['rules[0].host', 'rules[2].cidr', 'rules[2].ports'],
    );
  });
});

describe('a rule that an earlier one keeps from deciding', () => {
  const reading = { host: 'w.a.example', protocol: 'http', methods: ['GET'] };

  test('is refused where it says something else', () => {
    for (const [first, second] of [
      [reading, { ...reading, methods: ['POST'] }],
      [
        { host: '*.example.org', protocol: 'http' },
        { host: 'a.example.org', protocol: 'http', paths: ['/a'] },
      ],
      [{ host: '*.example.org' }, { host: '*.a.example.org', protocol: 'tcp', ports: [22, 443] }],
      [
        { cidr: '10.0.0.0/8', ports: [80] },
        { cidr: '10.1.0.0/16', ports: [80], protocol: 'http' },
      ],
    ]) {
      const result = check(first, second);
      assert.ok('problems' in result, JSON.stringify(second));
      assert.equal(result.problems[0]?.path, 'rules[1]');
      assert.match(result.problems[0]?.message ?? '', /rules\[0\] \(web#1\) decides the same otherwise/);
    }
  });

  test('is taken where it says the same, is wider, or is for other ports', () => {
    compile({ host: '*.example.org' }, { host: 'a.example.org' });
    compile(reading, { host: '*.a.example', protocol: 'http' });
    compile(
      { host: 'a.example.org', protocol: 'http' },
      { host: '*.example.org', protocol: 'tcp', ports: [80] },
    );
    compile({ host: '*.example.org' }, { host: 'example.org', protocol: 'tcp', ports: [443] });
    compile(reading, { host: 'w.a.example' });
    compile({ cidr: '10.1.0.0/16', ports: [80], protocol: 'http' }, { cidr: '10.0.0.0/8', ports: [80] });
  });

  test('is refused behind a preset too', () => {
    const preset = presetRules('github')[0]!;
    assert.ok('host' in preset.target);
    const result = check({ preset: 'github' }, { host: preset.target.host, protocol: 'tcp', ports: [443] });
    assert.ok('problems' in result);
    assert.equal(result.problems[0]?.path, 'rules[1]');
  });
});

describe('formatDocument', () => {
  test('defaults are left out, members and lists are sorted, and rules keep their order', () => {
    const document = read({
      rules: [
        { protocol: 'https', ports: [443], host: 'B.example' },
        {
          protocol: 'http',
          paths: ['/b', '/a'],
          methods: ['PUT', 'GET'],
          host: 'a.example',
          ports: [8080, 80],
        },
        { protocol: 'tcp', ports: [2, 1], cidr: 'FD00::/8' },
        { protocol: 'ssh', host: 'a.example', ports: [22] },
        { preset: 'github' },
      ],
    });
    assert.equal(
      JSON.stringify(formatDocument(document).rules, null, 1).replace(/\s+/g, ''),
      JSON.stringify([
        { host: 'b.example' },
        {
          host: 'a.example',
          methods: ['GET', 'PUT'],
          paths: ['/a', '/b'],
          ports: [80, 8080],
          protocol: 'http',
        },
        { cidr: 'fd00::/8', ports: [1, 2] },
        { host: 'a.example', protocol: 'ssh' },
        { preset: 'github' },
      ]),
    );
  });

  test('limits come first, in one order, and a document without them has none', () => {
    const limits = { requestsPerMinute: 3, connections: 2, bytesOut: 1 };
    assert.equal(
      JSON.stringify(formatDocument(read({ rules: [], limits }))),
      '{"limits":{"bytesOut":1,"connections":2,"requestsPerMinute":3},"rules":[]}',
    );
    const one = { limits: { connections: 2 }, rules: [] };
    assert.deepEqual(formatDocument(read(one)), one);
    assert.deepEqual(Object.keys(formatDocument(read({ rules: [] }))), ['rules']);
  });

  const list = <T>(values: readonly T[]) => fc.uniqueArray(fc.constantFrom(...values), { minLength: 1 });
  const optional = { requiredKeys: ['host'] as ['host'] };
  const host = fc.constantFrom(
    'A.example',
    '*.a.example',
    'bücher.example',
    'b.example.',
    '1.2.3.4',
    '*.com',
  );
  const rule = fc.oneof(
    fc.record({ preset: fc.constantFrom(...presetNames) }),
    fc.record(
      { host, ports: list([80, 443, 22, 1]), protocol: fc.constantFrom(...egressProtocols) },
      optional,
    ),
    fc.record({
      host,
      protocol: fc.constantFrom('http', 'https'),
      methods: list(['GET', 'PUT', 'POST']),
      paths: list(['/', '/a/**', '/*']),
    }),
    fc.record({ cidr: fc.constantFrom('FD00::/8', '10.0.0.0/8', '10.0.0.1/8'), ports: list([80, 443]) }),
  );

  const limits = fc.record(
    {
      limits: fc
        .record(
          { bytesOut: fc.integer({ min: 1 }), connections: fc.integer({ min: 1 }) },
          { requiredKeys: [] },
        )
        .filter((bounds) => Object.keys(bounds).length > 0),
    },
    { requiredKeys: [] },
  );

  test('the form is its own form, is well formed, and compiles as the document does', () => {
    fc.assert(
      fc.property(fc.array(rule, { maxLength: 4 }), limits, (rules, bounds) => {
        const document = read({ rules, ...bounds });
        const form = formatDocument(document);
        assert.deepEqual(formatDocument(form), form);
        assert.deepEqual(read(JSON.parse(JSON.stringify(form))), form);
        for (const each of form.rules) assert.deepEqual(Object.keys(each), Object.keys(each).sort());
        assert.deepEqual(compileRules('web', form), compileRules('web', document));
      }),
    );
  });
});

test('whatever comes, a document is compiled or refused with problems that have a place, and nothing is thrown', () => {
  const key = fc.constantFrom(
    'rules',
    'host',
    'cidr',
    'ports',
    'preset',
    'protocol',
    'paths',
    'x',
    '__proto__',
  );
  const leaf = fc.oneof(fc.string({ unit: 'binary' }), fc.integer(), fc.constant(null), fc.constant('*.a.b'));
  const { value } = fc.letrec((tie) => ({
    value: fc.oneof({ maxDepth: 4 }, leaf, fc.array(tie('value')), fc.dictionary(key, tie('value'))),
  }));
  fc.assert(
    fc.property(
      fc.oneof(
        value,
        fc.array(fc.dictionary(key, value)).map((rules) => ({ rules })),
      ),
      (given) => {
        const parsed = parsePolicy(given);
        const result = 'problems' in parsed ? parsed : compileRules('web', parsed.document);
        if ('rules' in result) return;
        assert.ok(result.problems.length > 0);
        for (const { path, message } of result.problems) {
          assert.match(path, /^(?:[a-z_]+(?:\[\d+\])?(?:\.[a-z_]+(?:\[\d+\])?)?)?$/);
          assert.notEqual(message, '');
        }
      },
    ),
  );
});

test('a policy has a short plain name that is no preset’s and no mode’s', () => {
  for (const name of ['web', 'a', 'a-1-', `a${'b'.repeat(62)}`])
    assert.ok(policyName.safeParse(name).success, name);
  for (const name of [
    '',
    'Web',
    '1a',
    '-a',
    'a_b',
    'a\n',
    `a${'b'.repeat(63)}`,
    'full',
    'none',
    ...presetNames,
  ]) {
    assert.ok(!policyName.safeParse(name).success, JSON.stringify(name));
  }
});
