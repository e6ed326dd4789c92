import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { type EgressPolicy, type EgressRule, unlimitedEgress as limits } from './egress.ts';
import {
  globMatches,
  isMethod,
  isPathGlob,
  knowsName,
  mayDial,
  pathGlobCharactersMax,
  portsOf,
  requestAllowed,
  ruleForAddress,
  ruleForName,
} from './egress-decide.ts';
import { type IpAddress, parseAddress, parseCidr } from './ip-address.ts';

const web: EgressRule = { name: 'p#1', target: { host: 'a.example' }, ports: [443, 8443], protocol: 'https' };
const wild: EgressRule = { name: 'p#2', target: { host: '*.a.example' }, ports: [443], protocol: 'tcp' };
const late: EgressRule = { name: 'p#3', target: { host: 'a.example' }, ports: [443, 80], protocol: 'http' };
const office: EgressRule = { name: 'p#4', target: { cidr: '10.1.0.0/16' }, ports: [5432], protocol: 'tcp' };
const cloud: EgressRule = {
  name: 'p#5',
  target: { cidr: '2606:4700::/32' },
  ports: [443],
  protocol: 'https',
};

const rules = [web, wild, late, office, cloud];
const restricted: EgressPolicy = { mode: 'restricted', generation: 1, rules, limits };
const full: EgressPolicy = { mode: 'full', generation: 1, rules, limits };
const nothing: EgressPolicy = { mode: 'restricted', generation: 1, rules: [], limits };

const ip = (text: string): IpAddress => parseAddress(text)!;
const own = [parseCidr('203.0.112.7/32')!, parseCidr('2a00::/16')!];

describe('ruleForName', () => {
  test('the first rule that names host and port decides', () => {
    assert.equal(ruleForName(restricted, 'a.example', 443), web);
    assert.equal(ruleForName(restricted, 'a.example', 8443), web);
    assert.equal(ruleForName(restricted, 'a.example', 80), late);
    assert.equal(ruleForName(restricted, 'b.a.example', 443), wild);
  });

  test('a host or port that no rule names has no rule', () => {
    assert.equal(ruleForName(restricted, 'a.example', 22), null);
    assert.equal(ruleForName(restricted, 'b.a.example', 80), null);
    for (const host of ['example', 'aa.example', 'a.example.org', '']) {
      assert.equal(ruleForName(restricted, host, 443), null, host);
    }
    assert.equal(ruleForName(nothing, 'a.example', 443), null);
  });

  test('a network is never named by text', () => {
    assert.equal(ruleForName(restricted, '10.1.0.1', 5432), null);
    assert.equal(ruleForName(restricted, '10.1.0.0/16', 5432), null);
  });

  test('mode full has its own rule for every other name, with the protocol of the port', () => {
    assert.equal(ruleForName(full, 'a.example', 443), web);
    for (const [port, protocol] of [
      [443, 'https'],
      [80, 'http'],
      [22, 'ssh'],
      [5432, 'tcp'],
    ] as const) {
      assert.deepEqual(ruleForName(full, 'other.example', port), {
        name: 'full',
        target: { host: 'other.example' },
        ports: [port],
        protocol,
      });
    }
    assert.equal(ruleForName(full, 'a.example', 22)?.name, 'full');
  });

  test('mode full has no rule for what is not a canonical name', () => {
    for (const host of ['1.2.3.4', '127.1', '::1', 'Other.example', 'other.example.', '', 'a b']) {
      assert.equal(ruleForName(full, host, 443), null, host);
    }
  });
});

describe('knowsName', () => {
  test('a name that a rule names at any port is known, and no other', () => {
    assert.ok(knowsName(restricted, 'a.example'));
    assert.ok(knowsName(restricted, 'c.b.a.example'));
    for (const host of ['example', 'other.example', 'A.example', '10.1.0.1', '']) {
      assert.ok(!knowsName(restricted, host), host);
    }
    assert.ok(!knowsName(nothing, 'a.example'));
  });

  test('mode full knows every canonical name and nothing else', () => {
    assert.ok(knowsName(full, 'other.example'));
    for (const host of ['1.2.3.4', 'Other.example', 'a..b', '']) assert.ok(!knowsName(full, host), host);
  });
});

describe('ruleForAddress', () => {
  test('only a network at its port lets a literal address through', () => {
    assert.equal(ruleForAddress(restricted, ip('10.1.2.3'), 5432), office);
    assert.equal(ruleForAddress(restricted, ip('::ffff:10.1.2.3'), 5432), office);
    assert.equal(ruleForAddress(restricted, ip('2606:4700::1'), 443), cloud);
    assert.equal(ruleForAddress(restricted, ip('10.1.2.3'), 443), null);
    assert.equal(ruleForAddress(restricted, ip('10.2.0.1'), 5432), null);
    assert.equal(ruleForAddress(restricted, ip('8.8.8.8'), 443), null);
    assert.equal(ruleForAddress(nothing, ip('8.8.8.8'), 443), null);
  });

  test('mode full lets public addresses through and no others without a rule', () => {
    assert.deepEqual(ruleForAddress(full, ip('8.8.8.8'), 443), {
      name: 'full',
      target: { cidr: '8.8.8.8/32' },
      ports: [443],
      protocol: 'https',
    });
    assert.deepEqual(ruleForAddress(full, ip('2606:4700::1'), 80)?.target, { cidr: '2606:4700::1/128' });
    assert.equal(ruleForAddress(full, ip('10.1.2.3'), 5432), office);
    for (const text of [
      '10.1.2.3',
      '127.0.0.1',
      '169.254.169.254',
      '::1',
      '64:ff9b::8.8.8.8',
      '198.18.0.1',
    ]) {
      assert.equal(ruleForAddress(full, ip(text), 443), null, text);
    }
  });
});

describe('mayDial', () => {
  test('public addresses may be dialled, and others only by a rule for their network and port', () => {
    assert.ok(mayDial(restricted, ip('8.8.8.8'), 443, own));
    assert.ok(mayDial(restricted, ip('10.1.2.3'), 5432, own));
    assert.ok(mayDial(restricted, ip('::ffff:10.1.2.3'), 5432, own));
    for (const policy of [restricted, full]) {
      for (const text of [
        '10.1.2.3',
        '127.0.0.1',
        '::1',
        '169.254.169.254',
        'fd00:ec2::254',
        '::ffff:127.0.0.1',
      ]) {
        assert.ok(!mayDial(policy, ip(text), 443, own), text);
      }
    }
  });

  test('the control plane’s own addresses are refused in every mode unless a rule names them', () => {
    for (const text of ['203.0.112.7', '::ffff:203.0.112.7', '2a00::1']) {
      assert.ok(!mayDial(full, ip(text), 443, own), text);
      assert.ok(mayDial(full, ip(text), 443, []), `${text} is dialled where it is not the control plane’s`);
    }
    const named: EgressRule = {
      name: 'p#1',
      target: { cidr: '203.0.112.7/32' },
      ports: [443],
      protocol: 'tcp',
    };
    const policy: EgressPolicy = { mode: 'restricted', generation: 1, rules: [named], limits };
    assert.ok(mayDial(policy, ip('203.0.112.7'), 443, own));
    assert.ok(!mayDial(policy, ip('203.0.112.7'), 80, own));
  });
});

test('the ports that need listeners are sorted, once each, and mode full adds none', () => {
  assert.deepEqual(portsOf(restricted), [80, 443, 5432, 8443]);
  assert.deepEqual(portsOf(full), portsOf(restricted));
  assert.deepEqual(portsOf(nothing), []);
});

test('a request is let through where the rule has both its method and its path, or names none', () => {
  const rule: EgressRule = { ...late, methods: ['GET', 'HEAD'], paths: ['/a/**', '/b'] };
  assert.ok(requestAllowed(rule, 'GET', '/a/x/y'));
  assert.ok(requestAllowed(rule, 'HEAD', '/b'));
  for (const [method, path] of [
    ['POST', '/b'],
    ['get', '/b'],
    ['GET', '/c'],
    ['GET', '/b/'],
    ['GET', ''],
  ]) {
    assert.ok(!requestAllowed(rule, method!, path!), `${method} ${path}`);
  }
  assert.ok(requestAllowed(late, 'BREW', '/anything'));
  assert.ok(!requestAllowed({ ...late, methods: [], paths: [] }, 'GET', '/'), 'an empty list has nothing');
});

describe('globMatches', () => {
  for (const [glob, yes, no] of [
    ['/', ['/'], ['', '//', '/a']],
    ['/a', ['/a'], ['/a/', '/A', '/ab', 'a', '/']],
    ['/a/*', ['/a/', '/a/b'], ['/a', '/a/b/', '/a/b/c']],
    ['/a/**', ['/a/', '/a/b', '/a/b/c/'], ['/a', '/ab/c', '/b/a/']],
    ['/**', ['/', '/a', '/a/b'], ['', 'a']],
    ['/a*c', ['/ac', '/abc', '/abbc'], ['/a/c', '/ab', '/abcd']],
    ['/a**c', ['/ac', '/a/b/c', '/acc'], ['/a/b', '/c']],
    ['/*/b/**/c', ['/a/b//c', '/a/b/x/y/c'], ['/a/b/c', '/a/x/b/x/c']],
    ['/**/x*y/**', ['/a/xy/', '/a/b/x1y/c'], ['/a/x/y/']],
    ['/a.b+(c)[', ['/a.b+(c)['], ['/aXb+(c)[', '/a.bb(c)[']],
    ['/*', ['/*', '/a', '/💥'], ['/a/b']],
    ['/a\n*', ['/a\nb'], ['/ab']],
  ] as const) {
    test(`${JSON.stringify(glob)} matches ${yes.join(' ')} and not ${no.join(' ')}`, () => {
      for (const path of yes) assert.ok(globMatches(glob, path), path);
      for (const path of no) assert.ok(!globMatches(glob, path), path);
    });
  }

  test('it decides as the plain meaning of its stars does, whatever else the glob holds', () => {
    const glob = fc.string({ unit: fc.constantFrom('a', 'b', '/', '*', '**', '.', '('), maxLength: 10 });
    const path = fc.string({ unit: fc.constantFrom('a', 'b', '/', '*', '.', '('), maxLength: 10 });
    fc.assert(
      fc.property(glob, path, (pattern, text) => {
        const meaning = pattern.replace(/\*\*|[\s\S]/g, (token) => {
          if (token === '**') return '[^]*';
          return token === '*' ? '[^/]*' : token.replace(/[.(]/, '\\$&');
        });
        assert.equal(globMatches(pattern, text), new RegExp(`^${meaning}$`).test(text));
      }),
      { numRuns: 5_000 },
    );
  });

  test('globs that make a backtracking matcher hang are decided', () => {
    const path = `/${'a'.repeat(8_000)}b`;
    for (const piece of ['*a', '**a', '*a**', 'a*']) {
      const glob = `/${piece.repeat(250)}`;
      assert.equal(globMatches(`${glob}c`, path), false, piece);
      assert.equal(globMatches(`${glob}*b`, path), true, piece);
    }
  });

  test('any glob and path give an answer', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), fc.string({ unit: 'binary' }), (glob, path) => {
        globMatches(glob, path);
        if (!glob.includes('*')) assert.equal(globMatches(glob, path), glob === path);
      }),
    );
  });
});

test('a path glob in normal form is absolute, printable and unambiguous', () => {
  for (const text of ['/', '/a', '/a/', '/**', '/a/*/b.c', '/@scope/name', '/a..b', '/~u', '/...']) {
    assert.ok(isPathGlob(text), text);
  }
  const refused = ['', 'a', '*', '//', '/a//b', '/a/../b', '/.', '/..', '/a/.', '/***', '/a/****'];
  const hidden = ['/a?b', '/a#b', '/%61', '/a;b', '/a\\b', '/a b', '/ü', '/a\0', '/a\n'];
  for (const text of [...refused, ...hidden]) assert.ok(!isPathGlob(text), JSON.stringify(text));
  assert.ok(isPathGlob(`/${'a'.repeat(pathGlobCharactersMax - 1)}`));
  assert.ok(!isPathGlob(`/${'a'.repeat(pathGlobCharactersMax)}`));
});

test('a method is upper case, short, and no tunnel', () => {
  for (const text of ['GET', 'M-SEARCH', 'X_1', 'A'.repeat(32)]) assert.ok(isMethod(text), text);
  for (const text of ['', 'get', 'Get', 'CONNECT', '*', 'G ET', 'GET\n', '-A', 'A'.repeat(33)]) {
    assert.ok(!isMethod(text), JSON.stringify(text));
  }
});
