import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, it } from 'node:test';
import fc from 'fast-check';
import { CliFailure } from '../failure.ts';
import { unpack } from './unpack.ts';

let folder: string;
let target: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'sealwright-unpack-'));
  target = join(folder, 'target');
  mkdirSync(target);
  writeFileSync(join(folder, 'outside'), 'untouched');
});
afterEach(() => rmSync(folder, { recursive: true }));

type Fake = {
  name: string | Buffer;
  type?: string;
  body?: string | Buffer;
  link?: string;
  size?: number;
  prefix?: string;
};

function entry({ name, type = '0', body = '', link = '', size, prefix }: Fake): Buffer {
  const bytes = Buffer.from(body as string);
  const block = Buffer.alloc(512);
  Buffer.from(name as string).copy(block, 0, 0, 100);
  block.write('0000644\0', 100);
  block.write(`${(size ?? bytes.length).toString(8).padStart(11, '0')}\0`, 124);
  block.write('        ', 148);
  block.write(type, 156);
  block.write(link, 157);
  block.write('ustar\x0000', 257);
  if (prefix !== undefined) block.write(prefix, 345);
  const sum = block.reduce((total, byte) => total + byte, 0);
  block.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148);
  return Buffer.concat([block, bytes, Buffer.alloc((512 - (bytes.length % 512)) % 512)]);
}

function archive(...entries: (Fake | Buffer)[]): Buffer {
  return Buffer.concat([
    ...entries.map((each) => (Buffer.isBuffer(each) ? each : entry(each))),
    Buffer.alloc(1024),
  ]);
}

async function* inPieces(bytes: Buffer, size: number): AsyncGenerator<Buffer> {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
}

const options = { progress: async () => {}, platform: 'linux' } as const;
const put = (bytes: Buffer, platform: NodeJS.Platform = 'linux') =>
  unpack(inPieces(bytes, 1000), target, { ...options, platform });
const tree = (at = folder) =>
  execFileSync('find', ['.', '-printf', '%P %y %l\n'], { cwd: at, encoding: 'utf8' });
const pax = (key: string, value: string) => {
  const rest = ` ${key}=${value}\n`;
  let length = rest.length;
  while (`${length}${rest}`.length !== length) length += 1;
  return { name: 'pax', type: 'x', body: `${length}${rest}` };
};

describe('what an archive of a sandbox may do', () => {
  it('is to put files and folders into the target', async () => {
    const unpacked = await put(
      archive(
        { name: './', type: '5' },
        { name: './a/b/', type: '5' },
        { name: './a/b/c', body: 'see' },
        pax('path', `long/${'n'.repeat(200)}`),
        { name: 'short', body: 'x' },
        { name: '././@LongLink', type: 'L', body: 'gnu/name\0' },
        { name: 'short', body: 'y' },
        { name: 'name', prefix: 'pre/fix', body: 'z' },
      ),
    );
    assert.deepEqual(unpacked, { files: 4, bytes: 6, leftOut: 0 });
    assert.equal(readFileSync(join(target, 'a/b/c'), 'utf8'), 'see');
    for (const name of [`long/${'n'.repeat(200)}`, 'gnu/name', 'pre/fix/name'])
      readFileSync(join(target, name));
  });

  const climbing: Readonly<Record<string, readonly (Fake | Buffer)[]>> = {
    'a name that climbs': [{ name: '../outside', body: 'evil' }],
    'a name that climbs in its middle': [{ name: 'a/../../outside', body: 'evil' }],
    'an absolute name': [{ name: '/tmp/sealwright-evil', body: 'evil' }],
    'a folder that climbs': [{ name: '../new/', type: '5' }],
    'a name that climbs by pax': [pax('path', '../outside'), { name: 'ok', body: 'evil' }],
    'a name that climbs by GNU’s record': [
      { name: '././@LongLink', type: 'L', body: '../outside\0' },
      { name: 'ok', body: 'evil' },
    ],
    'a name that climbs by its prefix': [{ name: 'outside', prefix: '..', body: 'evil' }],
    'a name that is no UTF-8': [{ name: Buffer.from([0x2e, 0x2e, 0xff]), body: 'evil' }],
    'a name with NUL': [pax('path', 'a\0b'), { name: 'ok', body: 'evil' }],
    'a name that is too deep': [pax('path', 'd/'.repeat(200)), { name: 'ok', body: 'evil' }],
    'a name that is too long': [pax('path', 'n'.repeat(5000)), { name: 'ok', body: 'evil' }],
  };
  for (const [name, entries] of Object.entries(climbing))
    it(`${name} is refused, and nothing is written`, async () => {
      const before = tree();
      await assert.rejects(put(archive(...entries)), CliFailure);
      assert.equal(tree(), before);
    });

  it('links, devices and pipes are left out, also where later names lead through them', async () => {
    const unpacked = await put(
      archive(
        ...['1', '2', '3', '4', '6', 'V'].map((type, at) => ({
          name: `odd-${at}`,
          type,
          link: '../outside',
        })),
        { name: 'link', type: '2', link: '..' },
        { name: 'link/inside', body: 'here' },
        { name: 'hard', type: '1', link: 'link/outside' },
      ),
    );
    assert.deepEqual([unpacked.files, unpacked.leftOut], [1, 8]);
    assert.equal(tree(target), 'link d \nlink/inside f \n'.replace(/^/, ' d \n'));
  });

  it('links of the user’s own are not followed, and not overwritten through', async () => {
    symlinkSync('..', join(target, 'up'));
    symlinkSync('../outside', join(target, 'file'));
    await assert.rejects(put(archive({ name: 'up/outside', body: 'evil' })), /not followed/);
    await put(archive({ name: 'file', body: 'new' }));
    assert.equal(readFileSync(join(target, 'file'), 'utf8'), 'new');
    assert.equal(readFileSync(join(folder, 'outside'), 'utf8'), 'untouched');
    await assert.rejects(put(archive({ name: 'up', type: '5' })), /in the way/);
    mkdirSync(join(target, 'dir'));
    await assert.rejects(put(archive({ name: 'dir', body: 'x' })), /in the way/);
  });

  it('damage is said, and what did not come whole is not there', async () => {
    const whole = archive({ name: 'first', body: 'first' }, { name: 'second', body: 'x'.repeat(5000) });
    await assert.rejects(put(whole.subarray(0, 2500)), /ends in the middle/);
    assert.deepEqual(readdirSync(target), ['first']);
    const flipped = Buffer.from(whole);
    flipped[3]! ^= 1;
    await assert.rejects(put(flipped), /damaged/);
    await assert.rejects(put(archive({ name: 'pax', type: 'x', body: '9 path\n' })), /damaged/);
    await assert.rejects(put(archive(pax('GNU.sparse.major', '1'), { name: 'x' })), /sparse/);
    await assert.rejects(put(archive({ name: 'x', type: 'L', size: 2 ** 30 })), /too long/);
    await assert.rejects(put(archive(pax('size', '-1'), { name: 'x' })), /none/);
    await put(Buffer.alloc(0));
  });

  it('what Windows reads as something else is refused there', async () => {
    for (const name of ['a\\..\\..\\b', 'C:x', 'con', 'aux.txt', 'dot.', 'a:stream', 'what?'])
      await assert.rejects(put(archive({ name, body: 'x' }), 'win32'), /it names/, name);
  });

  it('whatever it holds, nothing is written outside', async () => {
    const name = fc.oneof(
      fc.constantFrom('a', 'a/b', '../outside', '/etc/x', 'a/../../outside', '.', '..', './', '', 'link/x'),
      fc.string({ unit: 'binary', maxLength: 20 }),
    );
    const one = fc.record({
      name,
      type: fc.constantFrom('0', '1', '2', '3', '5', '6', '7', 'x', 'L', 'g', 'K', 'Z'),
      body: fc.oneof(name, fc.constant('15 path=../out\n')),
      link: fc.constantFrom('..', '../outside', '/'),
    });
    await fc.assert(
      fc.asyncProperty(
        fc.array(one, { maxLength: 6 }),
        fc.nat(3000),
        fc.nat(255),
        async (entries, at, byte) => {
          const bytes = archive(...entries.map((each) => entry(each)));
          if (at % 3 === 0) bytes[at % bytes.length] = byte;
          await put(bytes).catch((error: unknown) => assert(error instanceof CliFailure, String(error)));
          assert.deepEqual(readdirSync(folder).sort(), ['outside', 'target']);
          assert.equal(readFileSync(join(folder, 'outside'), 'utf8'), 'untouched');
        },
      ),
      { numRuns: 200 },
    );
  });
});
