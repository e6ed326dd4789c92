import assert from 'node:assert/strict';
import {
  type Policy,
  policies,
  type Rule,
  type Test,
  type Verdict,
  verdicts,
  withHeldAffinity,
} from './filter.ts';
import { conditionalJumpInstructionsMax, instructionsMax } from './limits.ts';
import type { Architecture } from './syscalls.ts';

/** `struct sock_filter`. */
export type Instruction = { code: number; jt: number; jf: number; k: number };

/** The part of classic BPF that the compiler uses (linux/bpf_common.h). */
export const opcodes = {
  loadWord: 0x20, // BPF_LD  | BPF_W   | BPF_ABS
  and: 0x54, //      BPF_ALU | BPF_AND | BPF_K
  jump: 0x05, //     BPF_JMP | BPF_JA
  jumpEqual: 0x15, // BPF_JMP | BPF_JEQ | BPF_K
  jumpGreaterEqual: 0x35, // BPF_JMP | BPF_JGE | BPF_K
  jumpSet: 0x45, //  BPF_JMP | BPF_JSET | BPF_K
  return: 0x06, //   BPF_RET | BPF_K
} as const;

/** Byte offsets in `struct seccomp_data`. Both architectures are little-endian: the low word comes first. */
export const dataOffsets = { number: 0, auditArch: 4, args: 16, bytesPerArg: 8 } as const;

const plain = (code: number, k: number): Instruction => ({ code, jt: 0, jf: 0, k });
const returns = (verdict: Verdict) => plain(opcodes.return, verdict);
const conditional = (code: number, k: number, jt: number, jf: number): Instruction => {
  assert(jt <= conditionalJumpInstructionsMax && jf <= conditionalJumpInstructionsMax, 'jump too far');
  return { code, jt, jf, k };
};

/** Call numbers from here up to the next range's start share a rule. */
export type Range = { from: number; rule: Rule };

const absentRule: Rule = { clauses: [], otherwise: verdicts.absent };

/** The whole number line cut where the rule changes, in ascending order, beginning at 0. */
function rangesOf(policy: Policy): Range[] {
  const ranges: Range[] = [];
  const add = (from: number, rule: Rule) => {
    if (ranges.at(-1)?.rule !== rule) ranges.push({ from, rule });
  };
  let next = 0;
  for (const [number, rule] of [...policy.rules].sort(([a], [b]) => a - b)) {
    if (number > next) add(next, absentRule);
    add(number, rule);
    next = number + 1;
  }
  add(next, absentRule);
  return ranges;
}

/** Goes on with the next instruction where the test holds, else skips `elseSkip` more. */
function compileTest(test: Test, elseSkip: number): Instruction[] {
  const load = plain(opcodes.loadWord, dataOffsets.args + dataOffsets.bytesPerArg * test.arg);
  const mask = test.mask === 0xffff_ffff ? [] : [plain(opcodes.and, test.mask)];
  const compares = test.anyOf.map((value, index) => {
    const left = test.anyOf.length - 1 - index;
    return conditional(opcodes.jumpEqual, value, left, left === 0 ? elseSkip : 0);
  });
  return [load, ...mask, ...compares];
}

/** Returns the verdict where all tests hold, else goes on behind itself. */
function compileClause({ when, verdict }: Rule['clauses'][number]): Instruction[] {
  let code = [returns(verdict)];
  for (const test of when.toReversed()) code = compileTest(test, code.length).concat(code);
  return code;
}

/** Ends in a return on every path, so nothing ever jumps out of a rule. */
function compileRule(rule: Rule): Instruction[] {
  return [...rule.clauses.flatMap(compileClause), returns(rule.otherwise)];
}

/** Skips `distance` instructions where the loaded number is at least `from`, however far that is. */
function skipFrom(from: number, distance: number): Instruction[] {
  if (distance <= conditionalJumpInstructionsMax) {
    return [conditional(opcodes.jumpGreaterEqual, from, distance, 0)];
  }
  return [conditional(opcodes.jumpGreaterEqual, from, 0, 1), plain(opcodes.jump, distance)];
}

/**
 * Binary search over the ranges with the rules as its leaves: about log2(ranges) compares for a call, and only
 * forward jumps. The kernel evaluates constant paths once at load and lets those calls pass without the
 * filter (Linux 5.11): the hot calls of `allowed` pay only for entering seccomp.
 * @param ranges ascending, not empty; the loaded number is taken to be at least the first's start
 */
export function compileSearch(ranges: readonly Range[]): Instruction[] {
  const middle = ranges.length >> 1;
  const pivot = ranges[middle];
  assert(pivot !== undefined, 'no ranges');
  if (middle === 0) return compileRule(pivot.rule);
  const below = compileSearch(ranges.slice(0, middle));
  return [...skipFrom(pivot.from, below.length), ...below, ...compileSearch(ranges.slice(middle))];
}

function compileForeignAbiCheck(bits: number): Instruction[] {
  if (bits === 0) return [];
  return [
    conditional(opcodes.jumpSet, bits, 0, 2),
    conditional(opcodes.jumpEqual, 0xffff_ffff, 1, 0),
    returns(verdicts.killProcess),
  ];
}

function compilePolicy(policy: Policy): Instruction[] {
  return [
    plain(opcodes.loadWord, dataOffsets.auditArch),
    conditional(opcodes.jumpEqual, policy.auditArch, 1, 0),
    returns(verdicts.killProcess),
    plain(opcodes.loadWord, dataOffsets.number),
    ...compileForeignAbiCheck(policy.foreignAbiBits),
    ...compileSearch(rangesOf(policy)),
  ];
}

/** `struct sock_filter[]`, little-endian. */
export function encode(program: readonly Instruction[]): Buffer {
  assert(program.length <= instructionsMax, `${program.length} instructions`);
  const bytes = Buffer.alloc(program.length * 8);
  for (const [index, { code, jt, jf, k }] of program.entries()) {
    bytes.writeUInt16LE(code, index * 8);
    bytes.writeUInt8(jt, index * 8 + 2);
    bytes.writeUInt8(jf, index * 8 + 3);
    bytes.writeUInt32LE(k, index * 8 + 4);
  }
  return bytes;
}

/**
 * The sandbox's filter as the raw little-endian `struct sock_filter[]` that `bwrap --seccomp FD` reads to its
 * end. The same bytes for the same arguments, always; loading another architecture's kills at the first call.
 */
export function compileSeccomp(arch: Architecture, affinity: 'free' | 'held' = 'free'): Buffer {
  return encode(compilePolicy(affinity === 'held' ? withHeldAffinity(arch) : policies[arch]));
}
