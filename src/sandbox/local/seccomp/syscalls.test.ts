import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { test } from 'node:test';
import { syscallNumbers } from './syscalls.ts';

const x64Header = '/usr/include/x86_64-linux-gnu/asm/unistd_64.h';
const genericHeader = '/usr/include/asm-generic/unistd.h';

/** `#define __NR_name value`, one more level of name resolved (`__NR3264_fcntl`). */
function headerNumbers(path: string): Map<string, number> {
  const defines = new Map<string, string>();
  for (const [, name, value] of readFileSync(path, 'utf8').matchAll(/^#define __NR(\w+)\s+(\w+)/gm)) {
    if (!defines.has(name!)) defines.set(name!, value!);
  }
  const numbers = new Map<string, number>();
  for (const [name, value] of defines) {
    const number = Number(defines.get(value.replace(/^__NR/, '')) ?? value);
    if (name.startsWith('_') && Number.isInteger(number)) numbers.set(name.slice(1), number);
  }
  return numbers;
}

test('no two calls of an architecture share a number', () => {
  for (const numbers of Object.values(syscallNumbers)) {
    assert.equal(new Set(numbers.values()).size, numbers.size);
  }
});

test('numbers from 424 on are the same for both architectures', () => {
  const recent = [...syscallNumbers.x64].filter(([, number]) => number >= 424);
  assert.equal(recent.length, 39);
  for (const [name, number] of recent) assert.equal(syscallNumbers.arm64.get(name), number);
});

test('x64 numbers are those of the kernel headers', {
  skip: existsSync(x64Header) ? false : `needs ${x64Header}`,
}, () => {
  const header = headerNumbers(x64Header);
  assert(header.size > 350);
  for (const [name, number] of header) {
    if (number <= 462) assert.equal(syscallNumbers.x64.get(name), number, name);
  }
});

test('arm64 numbers are those of the generic kernel headers', {
  skip: existsSync(genericHeader) ? false : `needs ${genericHeader}`,
}, () => {
  const header = headerNumbers(genericHeader);
  let compared = 0;
  for (const [name, number] of syscallNumbers.arm64) {
    if (!header.has(name)) continue;
    assert.equal(header.get(name), number, name);
    compared += 1;
  }
  assert(compared > 290, `only ${compared} compared`);
});
