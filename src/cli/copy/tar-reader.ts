import { CliFailure } from '../failure.ts';

/**
 * Reads tar archives (POSIX ustar and pax, and GNU's long names and large sizes) that come from a sandbox: hostile. It only
 * says what an archive claims; what may be done with that is for `unpack.ts`.
 */
export type TarEntry = {
  /** As it stands there: untrusted bytes. */
  readonly name: Buffer;
  readonly kind: 'file' | 'folder' | 'link' | 'other';
  /** Permission bits alone. */
  readonly mode: number;
  readonly size: number;
};

const blockBytes = 512;
/** Of names and other records that stand in the archive as files of their own. */
const recordBytesMax = 1024 * 1024;

type Header = TarEntry & { readonly type: string };
type Pax = { path?: Buffer; size?: number };

/** Gives each entry with its bytes, which are read or left before the next; both are pulled. Throws CliFailure. */
export async function* readTar(
  source: AsyncIterable<Uint8Array>,
): AsyncGenerator<{ readonly entry: TarEntry; readonly bytes: AsyncIterable<Buffer> }, void, undefined> {
  const blocks = new Blocks(source);
  let pax: Pax = {};
  let longName: Buffer | null = null;
  for (;;) {
    const block = await blocks.take(blockBytes);
    // Two empty blocks end an archive; a reader may take one for it.
    if (block === null || block.every((byte) => byte === 0)) break;
    const header = parseHeader(block);
    if (header.type === 'x' || header.type === 'L') {
      const record = await blocks.record(header.size);
      if (header.type === 'x') pax = parsePax(record);
      else longName = cString(record);
      continue;
    }
    if (header.type === 'g' || header.type === 'K') {
      await blocks.record(header.size);
      continue;
    }
    const size = pax.size ?? header.size;
    const entry: TarEntry = {
      name: pax.path ?? longName ?? header.name,
      ...{ kind: header.kind, mode: header.mode, size: header.kind === 'file' ? size : 0 },
    };
    pax = {};
    longName = null;
    // Links and folders have no bytes, whatever their header says; others may, and they are passed over.
    const bytes = header.kind === 'file' || header.kind === 'other' ? size : 0;
    const body = blocks.body(bytes);
    yield { entry, bytes: body };
    for await (const _ of body);
    await blocks.skipTo(bytes);
  }
  await blocks.drain();
}

/** Bytes of a stream by count. */
class Blocks {
  readonly #source: AsyncIterator<Uint8Array>;
  #held: Buffer = Buffer.alloc(0);

  constructor(source: AsyncIterable<Uint8Array>) {
    this.#source = source[Symbol.asyncIterator]();
  }

  /** Null at the end of the stream; throws where it ends within them. */
  async take(count: number): Promise<Buffer | null> {
    while (this.#held.length < count) {
      const { value, done } = await this.#source.next();
      if (done === true) {
        if (this.#held.length === 0) return null;
        throw broken('it ends in the middle');
      }
      this.#held = Buffer.concat([this.#held, value]);
    }
    const taken = this.#held.subarray(0, count);
    this.#held = this.#held.subarray(count);
    return taken;
  }

  async record(size: number): Promise<Buffer> {
    if (size > recordBytesMax) throw broken('a name is too long');
    const padded = await this.take(padding(size) + size);
    if (padded === null) throw broken('it ends in the middle');
    return padded.subarray(0, size);
  }

  async *body(size: number): AsyncGenerator<Buffer, void, undefined> {
    let left = size;
    while (left > 0) {
      const chunk = this.#held.length > 0 ? this.#held : await this.#next();
      const part = chunk.subarray(0, left);
      this.#held = chunk.subarray(part.length);
      left -= part.length;
      yield part;
    }
  }

  async skipTo(size: number): Promise<void> {
    const rest = padding(size);
    if (rest > 0) await this.take(rest);
  }

  /** Whoever writes the archive may write on behind its end; it would wait for ever. */
  async drain(): Promise<void> {
    while ((await this.#source.next()).done !== true);
  }

  async #next(): Promise<Buffer> {
    const { value, done } = await this.#source.next();
    if (done === true) throw broken('it ends in the middle');
    return Buffer.from(value.buffer, value.byteOffset, value.byteLength);
  }
}

function padding(size: number): number {
  return (blockBytes - (size % blockBytes)) % blockBytes;
}

const kinds: Readonly<Record<string, TarEntry['kind']>> = {
  ...{ '0': 'file', '\0': 'file', '7': 'file', '5': 'folder', '1': 'link', '2': 'link' },
};

function parseHeader(block: Buffer): Header {
  const sum = block.reduce((total, byte, at) => total + (at >= 148 && at < 156 ? 0x20 : byte), 0);
  if (numberOf(block.subarray(148, 156)) !== sum) throw broken('a header is damaged');
  const type = String.fromCharCode(block[156]!);
  const name = cString(block.subarray(0, 100));
  const isUstar = block.toString('latin1', 257, 263) === 'ustar\0';
  const prefix = isUstar ? cString(block.subarray(345, 500)) : Buffer.alloc(0);
  return {
    name: prefix.length === 0 ? name : Buffer.concat([prefix, Buffer.from('/'), name]),
    type,
    kind: kinds[type] ?? 'other',
    mode: numberOf(block.subarray(100, 108)) & 0o777,
    size: numberOf(block.subarray(124, 136)),
  };
}

/** Octal digits, or GNU's big-endian bytes behind a first one of 0x80. */
function numberOf(field: Buffer): number {
  if (field[0] === 0x80) {
    const value = field.subarray(1).reduce((total, byte) => total * 256 + byte, 0);
    if (Number.isSafeInteger(value)) return value;
    throw broken('a number is too large');
  }
  const text = field
    .toString('latin1')
    .replace(/[\0 ]+$/, '')
    .trimStart();
  if (text === '') return 0;
  if (!/^[0-7]+$/.test(text)) throw broken('a number is none');
  return Number.parseInt(text, 8);
}

/** Records of `<length> <key>=<value>\n` (POSIX pax). */
function parsePax(record: Buffer): Pax {
  const pax: Pax = {};
  let at = 0;
  while (at < record.length) {
    const blank = record.indexOf(0x20, at);
    const length = blank < 0 ? Number.NaN : Number(record.toString('latin1', at, blank));
    const end = at + length;
    if (!Number.isInteger(length) || length < 5 || end > record.length || record[end - 1] !== 0x0a)
      throw broken('a record is damaged');
    const sign = record.indexOf(0x3d, blank);
    if (sign < 0 || sign >= end) throw broken('a record is damaged');
    const key = record.toString('latin1', blank + 1, sign);
    const value = record.subarray(sign + 1, end - 1);
    if (key === 'path') pax.path = value;
    if (key === 'size') {
      const size = Number(value.toString('latin1'));
      if (!Number.isSafeInteger(size) || size < 0) throw broken('a number is none');
      pax.size = size;
    }
    // The bytes of such a file are not what the entry's size says.
    if (key.startsWith('GNU.sparse')) throw broken('it holds a sparse file');
    at = end;
  }
  return pax;
}

function cString(field: Buffer): Buffer {
  const end = field.indexOf(0);
  return end < 0 ? field : field.subarray(0, end);
}

function broken(what: string): CliFailure {
  return new CliFailure(`The sandbox sent no sound archive: ${what}.`);
}
