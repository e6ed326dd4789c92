import assert from 'node:assert/strict';
import { dataOffsets, opcodes } from './compile.ts';
import type { Call, Verdict } from './filter.ts';

/** `struct seccomp_data`: number, architecture, instruction pointer (0 here), six arguments. */
function seccompData(call: Call): Buffer {
  const data = Buffer.alloc(64);
  data.writeUInt32LE(call.number, dataOffsets.number);
  data.writeUInt32LE(call.auditArch, dataOffsets.auditArch);
  for (const [index, value] of call.args.entries()) {
    data.writeBigUInt64LE(value, dataOffsets.args + index * dataOffsets.bytesPerArg);
  }
  return data;
}

/**
 * Runs a compiled filter as the kernel would; for tests. Asserts what the kernel checks at load (known opcodes,
 * aligned loads inside the data) on the path taken, and that the path ends in a return.
 */
export function interpret(program: Buffer, call: Call): { verdict: Verdict; steps: number } {
  const data = seccompData(call);
  let accumulator = 0;
  let at = 0;
  for (let steps = 1; ; steps += 1) {
    assert(at * 8 + 8 <= program.length, 'ran past the end');
    const code = program.readUInt16LE(at * 8);
    const k = program.readUInt32LE(at * 8 + 4);
    at += 1;
    if (code === opcodes.return) return { verdict: k, steps };
    if (code === opcodes.loadWord) {
      assert(k % 4 === 0 && k + 4 <= data.length, 'load outside the data');
      accumulator = data.readUInt32LE(k);
    } else if (code === opcodes.and) accumulator = (accumulator & k) >>> 0;
    else if (code === opcodes.jump) at += k;
    else at += program.readUInt8((at - 1) * 8 + (branches(code, accumulator, k) ? 2 : 3));
  }
}

function branches(code: number, accumulator: number, k: number): boolean {
  if (code === opcodes.jumpEqual) return accumulator === k;
  if (code === opcodes.jumpGreaterEqual) return accumulator >= k;
  assert.equal(code, opcodes.jumpSet, 'unknown opcode');
  return (accumulator & k) !== 0;
}
