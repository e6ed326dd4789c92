import { constants } from 'node:fs';
import { type FileHandle, open, rename } from 'node:fs/promises';
import { dirname } from 'node:path';
import { fileURLToPath } from 'node:url';
import { sinkLimits } from './limits.ts';
import { failureCode } from './reason.ts';
import type { Sink, SinkParts } from './sink.ts';

const mebibyte = 1024 * 1024;
const flags = constants.O_RDWR | constants.O_APPEND | constants.O_CREAT | constants.O_NOFOLLOW;
const newline = 0x0a;

/**
 * Lines in a file of mode 0600, each batch on the disk before it counts as taken. A file that has grown past its bound is
 * renamed to `<file>.1`, the one before to `.2`, and what is past `keptFiles` is gone.
 */
export function openFile(parts: SinkParts): Sink {
  const { url, rotateMebibytes, keptFiles } = parts.settings;
  const file = new LineFile(fileURLToPath(url), {
    bytesMax: (rotateMebibytes ?? sinkLimits.fileRotateMebibytes) * mebibyte,
    kept: keptFiles ?? sinkLimits.fileKept,
  });
  return {
    async send(batch) {
      try {
        await file.append(Buffer.from(batch.map(({ text }) => `${text}\n`).join('')));
        return { kind: 'taken' };
      } catch (error) {
        await file.close();
        return { kind: 'later', reason: failureCode(error) };
      }
    },
    close: () => file.close(),
  };
}

class LineFile {
  readonly #path: string;
  readonly #bounds: { readonly bytesMax: number; readonly kept: number };
  #handle: FileHandle | null = null;

  constructor(path: string, bounds: { readonly bytesMax: number; readonly kept: number }) {
    this.#path = path;
    this.#bounds = bounds;
  }

  async append(bytes: Buffer): Promise<void> {
    let handle = await this.#open();
    const { size } = await handle.stat();
    if (size > 0 && size + bytes.length > this.#bounds.bytesMax) {
      await this.close();
      await this.#rotate();
      handle = await this.#open();
    }
    await handle.appendFile(bytes);
    await handle.datasync();
  }

  async close(): Promise<void> {
    const handle = this.#handle;
    this.#handle = null;
    await handle?.close().catch(() => undefined);
  }

  /** Another program may have moved the file away, as logrotate does: then a new one is begun. */
  async #open(): Promise<FileHandle> {
    const held = this.#handle;
    if (held !== null) {
      if ((await held.stat()).nlink > 0 && (await this.#isStillThere(held))) return held;
      await this.close();
    }
    const handle = await open(this.#path, flags, 0o600);
    try {
      await endTornLine(handle);
      await syncFolder(dirname(this.#path));
    } catch (error) {
      await handle.close();
      throw error;
    }
    this.#handle = handle;
    return handle;
  }

  async #isStillThere(held: FileHandle): Promise<boolean> {
    const named = await open(this.#path, constants.O_RDONLY | constants.O_NOFOLLOW).catch(() => null);
    if (named === null) return false;
    try {
      const [a, b] = [await held.stat(), await named.stat()];
      return a.ino === b.ino && a.dev === b.dev;
    } finally {
      await named.close();
    }
  }

  async #rotate(): Promise<void> {
    const name = (number: number) => (number === 0 ? this.#path : `${this.#path}.${number}`);
    for (let number = this.#bounds.kept - 1; number >= 0; number -= 1) {
      await rename(name(number), name(number + 1)).catch((error: NodeJS.ErrnoException) => {
        if (error.code !== 'ENOENT') throw error;
      });
    }
  }
}

/** A crash in the middle of a write left the beginning of a line: it is ended, and its event is written again as a whole. */
async function endTornLine(handle: FileHandle): Promise<void> {
  const stat = await handle.stat();
  if (!stat.isFile()) throw Object.assign(new Error('not a file'), { code: 'it is not a regular file' });
  if (stat.size === 0) return;
  const { buffer } = await handle.read(Buffer.alloc(1), 0, 1, stat.size - 1);
  if (buffer[0] !== newline) await handle.appendFile('\n');
}

async function syncFolder(folder: string): Promise<void> {
  const handle = await open(folder, constants.O_RDONLY | constants.O_DIRECTORY);
  await handle.sync().finally(() => handle.close());
}
