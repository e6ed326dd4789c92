import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { compileSearch, compileSeccomp, encode, opcodes, type Range } from './compile.ts';
import { type Call, judge, policies, verdicts } from './filter.ts';
import { interpret } from './interpret.ts';
import { instructionsMax } from './limits.ts';
import { type Architecture, syscallNumbers } from './syscalls.ts';

const architectures: readonly Architecture[] = ['x64', 'arm64'];
const edgeNumbers = [
  0x3fffffff, 0x40000000, 0x40000027, 0x7fffffff, 0x80000000, 0xbfffffff, 0xfffffffe, 0xffffffff,
];

/** Every value that some rule tells from others, its neighbours, single bits, and all of them under a high word. */
const telling: readonly bigint[] = [
  ...[0, 1, 2, 3, 5, 8, 10, 15, 16, 17, 35, 40, 0x5412, 0x541c, 0x5423, 0x20008, 0x7e020000, 0xffffffff],
  ...Array.from({ length: 32 }, (_, bit) => 2 ** bit),
].flatMap((value) => [BigInt(value), BigInt(value) | (1n << 32n), BigInt(value) | (0xffffffffn << 32n)]);

function agrees(arch: Architecture, program: Buffer, call: Call) {
  const expected = judge(policies[arch], call);
  const { verdict } = interpret(program, call);
  if (verdict !== expected) assert.fail(`${arch} ${JSON.stringify(call, (_, v) => String(v))}: ${verdict}`);
}

for (const arch of architectures) {
  const program = compileSeccomp(arch);
  const { auditArch } = policies[arch];

  test(`${arch}: every number gets the policy's verdict with telling arguments`, () => {
    for (const number of [...Array(601).keys(), ...edgeNumbers]) {
      for (const [index, value] of telling.entries()) {
        const other = telling[(index * 7 + number) % telling.length]!;
        agrees(arch, program, { auditArch, number, args: [value, other, 0n, value, other, 0n] });
        agrees(arch, program, { auditArch, number, args: [other, value, value, 0n, 0n, other] });
      }
    }
  });

  test(`${arch}: any call at all gets the policy's verdict`, () => {
    const words = fc.oneof(fc.constantFrom(...telling), fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }));
    const numbers = fc.oneof(fc.nat(600), fc.constantFrom(...edgeNumbers), fc.nat(0xffffffff));
    const arches = fc.oneof({ weight: 9, arbitrary: fc.constant(auditArch) }, fc.nat(0xffffffff));
    const calls = fc.record({
      auditArch: arches,
      number: numbers,
      args: fc.array(words, { minLength: 6, maxLength: 6 }),
    });
    fc.assert(
      fc.property(calls, (call) => agrees(arch, program, call)),
      { numRuns: 5000 },
    );
  });

  test(`${arch}: every family, type and protocol of socket gets the policy's verdict`, () => {
    const number = syscallNumbers[arch].get('socket')!;
    for (let family = 0n; family < 50n; family += 1n) {
      for (let type = 0n; type < 32n; type += 1n) {
        for (const protocol of [0n, 1n, 6n, 15n, 132n, 255n, 262n, 1n << 32n]) {
          agrees(arch, program, { auditArch, number, args: [family, type, protocol, 0n, 0n, 0n] });
        }
      }
    }
  });

  test(`${arch}: the program is one the kernel loads`, () => {
    const length = program.length / 8;
    assert(Number.isInteger(length) && length > 0 && length <= instructionsMax);
    const known: readonly number[] = Object.values(opcodes);
    for (let at = 0; at < length; at += 1) {
      const code = program.readUInt16LE(at * 8);
      const [jt, jf] = [program.readUInt8(at * 8 + 2), program.readUInt8(at * 8 + 3)];
      assert(known.includes(code), `opcode ${code}`);
      const conditional = (code & 0x07) === 0x05 && code !== opcodes.jump;
      if (conditional) assert(at + 1 + Math.max(jt, jf) < length, `instruction ${at} jumps out`);
      else assert(jt === 0 && jf === 0);
    }
    assert.equal(program.readUInt16LE((length - 1) * 8), opcodes.return, 'ends in a return');
  });

  test(`${arch}: no call costs more than 24 instructions`, () => {
    let worst = 0;
    for (const number of Array(601).keys()) {
      worst = Math.max(worst, interpret(program, { auditArch, number, args: [16n, 3n, 1n] }).steps);
    }
    assert(worst <= 24, `${worst} instructions`);
  });
}

test('a search too large for byte offsets still finds every range', () => {
  const ranges: Range[] = Array.from({ length: 1000 }, (_, index) => ({
    from: index * 3,
    rule: { clauses: [], otherwise: index },
  }));
  const load = { code: 0x20, jt: 0, jf: 0, k: 0 };
  const program = encode([load, ...compileSearch(ranges)]);
  for (let number = 0; number < 3100; number += 1) {
    const { verdict } = interpret(program, { auditArch: 0, number, args: [] });
    assert.equal(verdict, Math.min(Math.floor(number / 3), 999));
  }
});

test('a program over the kernel limit is not made', () => {
  const instruction = { code: 0x06, jt: 0, jf: 0, k: verdicts.allow };
  assert.throws(() => encode(Array(instructionsMax + 1).fill(instruction)), /4097 instructions/);
});
