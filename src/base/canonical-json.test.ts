import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { canonicalDepthMax, canonicalJson, type JsonValue } from './canonical-json.ts';

const vectors = process.env.SEALWRIGHT_VECTORS;
const skip = vectors === undefined ? 'SEALWRIGHT_VECTORS is not set' : false;

function refused(value: unknown): void {
  assert.throws(() => canonicalJson(value as JsonValue), TypeError);
}

describe('RFC 8785 test data', { skip }, () => {
  test('every published input gives the published bytes', () => {
    const folder = join(vectors!, 'jcs', 'testdata');
    const names = readdirSync(join(folder, 'input'));
    assert.ok(names.length >= 6);
    for (const name of names) {
      const input = JSON.parse(readFileSync(join(folder, 'input', name), 'utf8')) as JsonValue;
      const bytes = Buffer.from(canonicalJson(input));
      assert.deepEqual(bytes, readFileSync(join(folder, 'output', name)), name);
      const hex = readFileSync(join(folder, 'outhex', name.replace(/json$/, 'txt')), 'utf8');
      assert.equal(bytes.toString('hex'), hex.replaceAll(/\s/g, ''), name);
    }
  });
});

describe('numbers', () => {
  /** RFC 8785, appendix B. */
  const samples: [hex: string, text: string][] = [
    ['0000000000000000', '0'],
    ['8000000000000000', '0'],
    ['0000000000000001', '5e-324'],
    ['8000000000000001', '-5e-324'],
    ['7fefffffffffffff', '1.7976931348623157e+308'],
    ['ffefffffffffffff', '-1.7976931348623157e+308'],
    ['4340000000000000', '9007199254740992'],
    ['c340000000000000', '-9007199254740992'],
    ['4430000000000000', '295147905179352830000'],
    ['44b52d02c7e14af5', '9.999999999999997e+22'],
    ['44b52d02c7e14af6', '1e+23'],
    ['44b52d02c7e14af7', '1.0000000000000001e+23'],
    ['444b1ae4d6e2ef4e', '999999999999999700000'],
    ['444b1ae4d6e2ef4f', '999999999999999900000'],
    ['444b1ae4d6e2ef50', '1e+21'],
    ['3eb0c6f7a0b5ed8c', '9.999999999999997e-7'],
    ['3eb0c6f7a0b5ed8d', '0.000001'],
    ['41b3de4355555553', '333333333.3333332'],
    ['41b3de4355555554', '333333333.33333325'],
    ['41b3de4355555555', '333333333.3333333'],
    ['41b3de4355555556', '333333333.3333334'],
    ['41b3de4355555557', '333333333.33333343'],
    ['becbf647612f3696', '-0.0000033333333333333333'],
    ['43143ff3c1cb0959', '1424953923781206.2'],
  ];

  test('the samples of RFC 8785 appendix B are spelled as published', () => {
    for (const [hex, text] of samples) {
      assert.equal(canonicalJson(Buffer.from(hex, 'hex').readDoubleBE()), text, hex);
    }
  });

  test('NaN and the infinities are refused', () => {
    for (const value of [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY]) refused([value]);
  });
});

describe('members and strings', () => {
  test('members are ordered by UTF-16 code units, number-like names included', () => {
    assert.equal(canonicalJson({ '10': 1, '9': 2, b: 3, a: 4 }), '{"10":1,"9":2,"a":4,"b":3}');
    assert.equal(canonicalJson({ '\ufb33': 1, '\u{1f602}': 2 }), '{"\u{1f602}":2,"\ufb33":1}');
  });

  test('a member named __proto__ is written like any other', () => {
    assert.equal(canonicalJson(JSON.parse('{"b":1,"__proto__":{"x":2}}')), '{"__proto__":{"x":2},"b":1}');
  });

  test('control characters take their shortest escape and nothing else is escaped', () => {
    assert.equal(
      canonicalJson('\u0000\b\t\n\u000b\f\r\u001f"\\/'),
      '"\\u0000\\b\\t\\n\\u000b\\f\\r\\u001f\\"\\\\/"',
    );
    assert.equal(canonicalJson('\u007f\u2028é\u{1f602}'), '"\u007f\u2028é\u{1f602}"');
  });

  test('a lone surrogate is refused, in a value and in a name', () => {
    for (const text of ['\ud800', 'a\udfff', '\udc00\ud800']) {
      refused(text);
      refused({ [text]: 1 });
    }
  });
});

describe('what JSON cannot say', () => {
  test('undefined, functions, symbols, bigints and objects of a class are refused', () => {
    for (const value of [undefined, () => 1, Symbol('x'), 1n, new Date(0), new Map(), /x/]) {
      refused(value);
      refused([value]);
      refused({ member: value });
    }
    refused(new Array(1));
  });

  test('a cycle is refused', () => {
    const list: unknown[] = [];
    list.push({ list });
    refused(list);
  });

  test('nesting is taken up to the limit and refused beyond it', () => {
    const nested = (depth: number): JsonValue => JSON.parse('['.repeat(depth) + ']'.repeat(depth));
    assert.equal(canonicalJson(nested(canonicalDepthMax)).length, 2 * canonicalDepthMax);
    refused(nested(canonicalDepthMax + 1));
  });

  test('the same object twice is no cycle', () => {
    const shared = { a: 1 };
    assert.equal(canonicalJson([shared, shared]), '[{"a":1},{"a":1}]');
  });
});

describe('for any JSON value', () => {
  const json = fc.jsonValue({ stringUnit: 'binary' }) as fc.Arbitrary<JsonValue>;

  test('the text parses back to the value and is its own canonical form', () => {
    fc.assert(
      fc.property(json, (value) => {
        const text = canonicalJson(value);
        const parsed = JSON.parse(text) as JsonValue;
        assert.equal(canonicalJson(parsed), text);
        assert.deepEqual(parsed, JSON.parse(JSON.stringify(value)));
      }),
    );
  });

  test('the order in which members were added changes nothing', () => {
    fc.assert(
      fc.property(fc.dictionary(fc.string(), json), fc.infiniteStream(fc.nat()), (members, random) => {
        const shuffled = Object.entries(members)
          .map((entry) => ({ entry, at: random.next().value as number }))
          .sort((a, b) => a.at - b.at)
          .map(({ entry }) => entry);
        assert.equal(canonicalJson(Object.fromEntries(shuffled)), canonicalJson(members));
      }),
    );
  });
});
