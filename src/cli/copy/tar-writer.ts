import { createReadStream } from 'node:fs';
import { lstat, opendir, readlink } from 'node:fs/promises';
import { join } from 'node:path';
import { CliFailure } from '../failure.ts';

const blockBytes = 512;

/** What was left out of an archive, and what it holds. */
export type Packed = { files: number; bytes: number; leftOut: number };

/**
 * A folder as a tar archive (ustar with pax records) of what is in it, names relative to it. Symbolic links go as links, and
 * sockets, devices and pipes stay out. Owners are nobody's. A file that shrinks meanwhile fails, one that grows is cut.
 */
export async function* packFolder(folder: string, packed: Packed): AsyncGenerator<Buffer, void, undefined> {
  yield* packInto(folder, '', packed);
  yield Buffer.alloc(2 * blockBytes);
}

async function* packInto(
  folder: string,
  under: string,
  packed: Packed,
): AsyncGenerator<Buffer, void, undefined> {
  for await (const { name } of await opendir(folder)) {
    const path = join(folder, name);
    const inside = under === '' ? name : `${under}/${name}`;
    const info = await lstat(path);
    const shared = { mode: info.mode & 0o777, mtime: Math.max(0, Math.floor(info.mtimeMs / 1000)) };
    if (info.isDirectory()) {
      yield* header({ ...shared, name: `${inside}/`, type: '5', size: 0, link: '' });
      yield* packInto(path, inside, packed);
    } else if (info.isSymbolicLink()) {
      yield* header({ ...shared, name: inside, type: '2', size: 0, link: await readlink(path) });
    } else if (info.isFile()) {
      yield* header({ ...shared, name: inside, type: '0', size: info.size, link: '' });
      yield* contents(path, info.size);
      packed.files += 1;
      packed.bytes += info.size;
    } else packed.leftOut += 1;
  }
}

async function* contents(path: string, size: number): AsyncGenerator<Buffer, void, undefined> {
  let left = size;
  if (size > 0) {
    for await (const chunk of createReadStream(path, { end: size - 1 }) as AsyncIterable<Buffer>) {
      left -= chunk.length;
      yield chunk;
    }
  }
  if (left > 0) throw new CliFailure(`${path} became shorter while it was read.`);
  const rest = size % blockBytes;
  if (rest > 0) yield Buffer.alloc(blockBytes - rest);
}

type Head = { name: string; mode: number; mtime: number; size: number; type: '0' | '2' | '5'; link: string };

function* header(head: Head): Generator<Buffer, void, undefined> {
  const records = [
    ...(fits(head.name) ? [] : [paxRecord('path', head.name)]),
    ...(fits(head.link) ? [] : [paxRecord('linkpath', head.link)]),
    ...(head.size < 8 ** 11 ? [] : [paxRecord('size', head.size.toString())]),
  ];
  if (records.length > 0) {
    const body = Buffer.concat(records);
    yield block({ ...head, name: 'pax', type: 'x', size: body.length, link: '' });
    yield body;
    if (body.length % blockBytes > 0) yield Buffer.alloc(blockBytes - (body.length % blockBytes));
  }
  yield block(head);
}

function fits(name: string): boolean {
  return Buffer.byteLength(name) <= 99;
}

/** Its own length counts, too. */
function paxRecord(key: string, value: string): Buffer {
  const rest = Buffer.byteLength(` ${key}=${value}\n`);
  let length = rest + String(rest).length;
  while (String(length).length + rest !== length) length += 1;
  return Buffer.from(`${length} ${key}=${value}\n`);
}

function block(head: Omit<Head, 'type'> & { type: string }): Buffer {
  const bytes = Buffer.alloc(blockBytes);
  const octal = (value: number, at: number, digits: number) =>
    bytes.write(`${value.toString(8).padStart(digits, '0')}\0`, at, 'latin1');
  Buffer.from(head.name).copy(bytes, 0, 0, 99);
  octal(head.mode, 100, 7);
  octal(0, 108, 7);
  octal(0, 116, 7);
  octal(head.size < 8 ** 11 ? head.size : 0, 124, 11);
  octal(Math.min(head.mtime, 8 ** 11 - 1), 136, 11);
  bytes.write('        ', 148, 'latin1');
  bytes.write(head.type, 156, 'latin1');
  Buffer.from(head.link).copy(bytes, 157, 0, 99);
  bytes.write('ustar\0' + '00', 257, 'latin1');
  const sum = bytes.reduce((total, byte) => total + byte, 0);
  bytes.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148, 'latin1');
  return bytes;
}
