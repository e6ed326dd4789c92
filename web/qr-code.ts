import { drawing } from './elements.ts';

/**
 * QR codes (ISO/IEC 18004): bytes, level M, versions 1 to 15, which is up to 412 bytes. No package, because the secret of
 * an authenticator app goes through it.
 */

/** Codewords of correction in each block, and blocks, by version: Table 9, level M. */
const correction = [0, 10, 16, 26, 18, 24, 16, 18, 22, 22, 26, 30, 22, 22, 24, 24];
const blocks = [0, 1, 1, 1, 2, 2, 4, 4, 4, 5, 5, 5, 8, 9, 9, 10];
const versionMax = 15;

type Matrix = { readonly size: number; readonly dark: boolean[][]; readonly fixed: boolean[][] };

/** The modules of a text, row by row; true is dark. Throws RangeError for a text that is too long. */
export function qrModules(text: string): readonly (readonly boolean[])[] {
  const bytes = new TextEncoder().encode(text);
  const version = versionFor(bytes.length);
  const codewords = interleaved(dataCodewords(bytes, version), version);
  let best: { penalty: number; dark: boolean[][] } | null = null;
  for (let mask = 0; mask < 8; mask += 1) {
    const matrix = patterns(version);
    place(matrix, codewords, mask);
    placeFormat(matrix, mask);
    const penalty = penaltyOf(matrix.dark);
    if (best === null || penalty < best.penalty) best = { penalty, dark: matrix.dark };
  }
  return best!.dark;
}

/** A drawing of it, with the quiet zone that scanners need. */
export function qrDrawing(text: string, label: string): SVGElement {
  const modules = qrModules(text);
  const quiet = 4;
  const side = modules.length + 2 * quiet;
  const path = modules
    .flatMap((row, y) => row.map((dark, x) => (dark ? `M${x + quiet} ${y + quiet}h1v1h-1z` : '')))
    .join('');
  return drawing(
    'svg',
    {
      viewBox: `0 0 ${side} ${side}`,
      class: 'qr',
      role: 'img',
      'aria-label': label,
      'shape-rendering': 'crispEdges',
    },
    drawing('rect', { width: side, height: side, fill: '#fff' }),
    drawing('path', { d: path, fill: '#000' }),
  );
}

function rawCodewords(version: number): number {
  const aligned = version < 2 ? 0 : Math.floor(version / 7) + 2;
  let bits = (16 * version + 128) * version + 64;
  if (aligned > 0) bits -= (25 * aligned - 10) * aligned - 55;
  if (version >= 7) bits -= 36;
  return Math.floor(bits / 8);
}

function dataLength(version: number): number {
  return rawCodewords(version) - correction[version]! * blocks[version]!;
}

function lengthBits(version: number): number {
  return version < 10 ? 8 : 16;
}

function versionFor(length: number): number {
  for (let version = 1; version <= versionMax; version += 1)
    if (4 + lengthBits(version) + 8 * length <= 8 * dataLength(version)) return version;
  throw new RangeError('the text is too long for a QR code');
}

function dataCodewords(bytes: Uint8Array, version: number): number[] {
  const bits: number[] = [];
  const put = (value: number, count: number) => {
    for (let at = count - 1; at >= 0; at -= 1) bits.push((value >>> at) & 1);
  };
  const byteMode = 4;
  put(byteMode, 4);
  put(bytes.length, lengthBits(version));
  for (const byte of bytes) put(byte, 8);
  const room = 8 * dataLength(version);
  put(0, Math.min(4, room - bits.length));
  put(0, (8 - (bits.length % 8)) % 8);
  for (let pad = 0xec; bits.length < room; pad ^= 0xec ^ 0x11) put(pad, 8);
  return Array.from({ length: room / 8 }, (_, index) =>
    bits.slice(8 * index, 8 * index + 8).reduce((value, bit) => (value << 1) | bit, 0),
  );
}

/** Split into blocks, each with its correction, one codeword of each in turn. */
function interleaved(data: readonly number[], version: number): number[] {
  const [count, length, raw] = [blocks[version]!, correction[version]!, rawCodewords(version)];
  const short = count - (raw % count);
  const shortLength = Math.floor(raw / count) - length;
  const divisor = generator(length);
  const split: { data: readonly number[]; correction: number[] }[] = [];
  let from = 0;
  for (let index = 0; index < count; index += 1) {
    const part = data.slice(from, from + shortLength + (index < short ? 0 : 1));
    from += part.length;
    split.push({ data: part, correction: remainder(part, divisor) });
  }
  const inTurn = (lists: readonly (readonly number[])[]) =>
    Array.from({ length: Math.max(...lists.map((list) => list.length)) }, (_, at) =>
      lists.flatMap((list) => (at < list.length ? [list[at]!] : [])),
    ).flat();
  return [...inTurn(split.map((block) => block.data)), ...inTurn(split.map((block) => block.correction))];
}

/** In GF(2⁸) modulo x⁸+x⁴+x³+x²+1. */
function multiply(a: number, b: number): number {
  let product = 0;
  for (let bit = 7; bit >= 0; bit -= 1) {
    product = (product << 1) ^ ((product >>> 7) * 0x11d);
    product ^= ((b >>> bit) & 1) * a;
  }
  return product;
}

function generator(degree: number): number[] {
  const result = Array<number>(degree).fill(0);
  result[degree - 1] = 1;
  let root = 1;
  for (let index = 0; index < degree; index += 1) {
    for (let at = 0; at < degree; at += 1)
      result[at] = multiply(result[at]!, root) ^ (at + 1 < degree ? result[at + 1]! : 0);
    root = multiply(root, 2);
  }
  return result;
}

function remainder(data: readonly number[], divisor: readonly number[]): number[] {
  const result = Array<number>(divisor.length).fill(0);
  for (const byte of data) {
    const factor = byte ^ result.shift()!;
    result.push(0);
    divisor.forEach((coefficient, at) => {
      result[at]! ^= multiply(coefficient, factor);
    });
  }
  return result;
}

function alignments(version: number): number[] {
  if (version === 1) return [];
  const count = Math.floor(version / 7) + 2;
  const size = 4 * version + 17;
  const step = Math.ceil((size - 13) / (2 * count - 2)) * 2;
  const later = Array.from({ length: count - 1 }, (_, index) => size - 7 - index * step);
  return [6, ...later.reverse()];
}

/** What every code of the version has in the same places, with room kept for the format. */
function patterns(version: number): Matrix {
  const size = 4 * version + 17;
  const rows = () => Array.from({ length: size }, () => Array<boolean>(size).fill(false));
  const matrix: Matrix = { size, dark: rows(), fixed: rows() };
  for (let at = 0; at < size; at += 1) {
    set(matrix, 6, at, at % 2 === 0);
    set(matrix, at, 6, at % 2 === 0);
  }
  for (const [x, y] of [
    [3, 3],
    [size - 4, 3],
    [3, size - 4],
  ] as const)
    square(matrix, x, y, 4, [0, 1, 3]);
  const centres = alignments(version);
  const last = centres.length - 1;
  for (const [i, x] of centres.entries())
    for (const [j, y] of centres.entries()) {
      const isFinder = (i === 0 && j === 0) || (i === 0 && j === last) || (i === last && j === 0);
      if (!isFinder) square(matrix, x, y, 2, [0, 2]);
    }
  placeFormat(matrix, 0);
  if (version >= 7) placeVersion(matrix, version);
  return matrix;
}

function set({ dark, fixed }: Matrix, x: number, y: number, value: boolean): void {
  dark[y]![x] = value;
  fixed[y]![x] = true;
}

/** A square of rings around its centre; those of `rings` are dark. */
function square(matrix: Matrix, x: number, y: number, reach: number, rings: readonly number[]): void {
  for (let dy = -reach; dy <= reach; dy += 1)
    for (let dx = -reach; dx <= reach; dx += 1) {
      const inside = x + dx >= 0 && x + dx < matrix.size && y + dy >= 0 && y + dy < matrix.size;
      if (inside) set(matrix, x + dx, y + dy, rings.includes(Math.max(Math.abs(dx), Math.abs(dy))));
    }
}

function placeFormat(matrix: Matrix, mask: number): void {
  const levelM = 0;
  const data = (levelM << 3) | mask;
  let rest = data;
  for (let index = 0; index < 10; index += 1) rest = (rest << 1) ^ ((rest >>> 9) * 0x537);
  const bits = ((data << 10) | rest) ^ 0x5412;
  const bit = (index: number) => ((bits >>> index) & 1) === 1;
  const { size } = matrix;
  for (let index = 0; index <= 5; index += 1) set(matrix, 8, index, bit(index));
  set(matrix, 8, 7, bit(6));
  set(matrix, 8, 8, bit(7));
  set(matrix, 7, 8, bit(8));
  for (let index = 9; index < 15; index += 1) set(matrix, 14 - index, 8, bit(index));
  for (let index = 0; index < 8; index += 1) set(matrix, size - 1 - index, 8, bit(index));
  for (let index = 8; index < 15; index += 1) set(matrix, 8, size - 15 + index, bit(index));
  set(matrix, 8, size - 8, true);
}

function placeVersion(matrix: Matrix, version: number): void {
  let rest = version;
  for (let index = 0; index < 12; index += 1) rest = (rest << 1) ^ ((rest >>> 11) * 0x1f25);
  const bits = (version << 12) | rest;
  for (let index = 0; index < 18; index += 1) {
    const value = ((bits >>> index) & 1) === 1;
    const [a, b] = [matrix.size - 11 + (index % 3), Math.floor(index / 3)];
    set(matrix, a, b, value);
    set(matrix, b, a, value);
  }
}

const masks: readonly ((x: number, y: number) => boolean)[] = [
  (x, y) => (x + y) % 2 === 0,
  (_x, y) => y % 2 === 0,
  (x) => x % 3 === 0,
  (x, y) => (x + y) % 3 === 0,
  (x, y) => (Math.floor(x / 3) + Math.floor(y / 2)) % 2 === 0,
  (x, y) => ((x * y) % 2) + ((x * y) % 3) === 0,
  (x, y) => (((x * y) % 2) + ((x * y) % 3)) % 2 === 0,
  (x, y) => (((x + y) % 2) + ((x * y) % 3)) % 2 === 0,
];

/** Two columns at a time from the right, up and down in turn, past what is fixed. */
function place({ size, dark, fixed }: Matrix, codewords: readonly number[], mask: number): void {
  let at = 0;
  for (let right = size - 1; right >= 1; right -= 2) {
    if (right === 6) right = 5;
    for (let step = 0; step < size; step += 1)
      for (const x of [right, right - 1]) {
        const y = ((right + 1) & 2) === 0 ? size - 1 - step : step;
        if (fixed[y]![x]) continue;
        const value = ((codewords[at >>> 3] ?? 0) >>> (7 - (at & 7))) & 1;
        at += 1;
        dark[y]![x] = (value === 1) !== masks[mask]!(x, y);
      }
  }
}

/** §7.8.3: runs, blocks, what looks like a finder, and the share of dark modules. */
function penaltyOf(dark: readonly (readonly boolean[])[]): number {
  const size = dark.length;
  const columns = dark.map((_, x) => dark.map((row) => row[x]!));
  let penalty = 0;
  for (const line of [...dark, ...columns]) {
    const text = line.map((value) => (value ? '1' : '0')).join('');
    for (const [run] of text.matchAll(/0{5,}|1{5,}/g)) penalty += run.length - 2;
    for (let at = 0; at + 11 <= size; at += 1) {
      const part = text.slice(at, at + 11);
      if (part === '10111010000' || part === '00001011101') penalty += 40;
    }
  }
  for (let y = 0; y + 1 < size; y += 1)
    for (let x = 0; x + 1 < size; x += 1) {
      const same = dark[y]![x] === dark[y]![x + 1];
      if (same && dark[y]![x] === dark[y + 1]![x] && dark[y]![x] === dark[y + 1]![x + 1]) penalty += 3;
    }
  const share = (dark.flat().filter(Boolean).length * 100) / (size * size);
  return penalty + Math.floor(Math.abs(share - 50) / 5) * 10;
}
