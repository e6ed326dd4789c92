import {
  chmodSync,
  chownSync,
  closeSync,
  fchownSync,
  mkdirSync,
  openSync,
  renameSync,
  rmSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import type { RunId } from '../model/ids.ts';
import type { Mount } from '../sandbox/backend.ts';
import type { Folders } from './folders.ts';

/** Where a run finds who it is. The folder is mounted, not the file: a file that takes another's place would not be seen. */
export const identityFolder = '/run/secrets/sealwright';
export const identityFile = `${identityFolder}/identity.jwt`;

const name = 'identity.jwt';

/**
 * The token by which each run proves who it is, in a folder that only its own sandbox sees and nobody inside can
 * write to. On the host it is the session's uid that may read it: the folders belong to the runner, so that not even
 * a way out of a sandbox can put a link there for the runner to write through.
 */
export class IdentityFiles {
  readonly #folders: Folders;

  /** What an earlier runner left is removed: its runs have ended. */
  constructor(folders: Folders) {
    this.#folders = folders;
    rmSync(folders.identities, { recursive: true, force: true });
    mkdirSync(folders.identities, { mode: 0o711 });
    chmodSync(folders.identities, 0o711);
  }

  /** Makes a run's folder with its first token, readable by the session's uid; null is the runner's own user. */
  make(run: RunId, uid: number | null, token: string): Mount {
    const folder = this.#folders.identity(run);
    mkdirSync(folder, { mode: uid === null ? 0o700 : 0o750 });
    if (uid !== null) chownSync(folder, 0, uid);
    write(join(folder, name), uid, token);
    return { source: folder, target: identityFolder, writable: false };
  }

  /** Puts another token in its place: who reads gets one or the other, whole. */
  replace(run: RunId, uid: number | null, token: string): void {
    const folder = this.#folders.identity(run);
    const made = join(folder, `${name}.new`);
    rmSync(made, { force: true });
    write(made, uid, token);
    renameSync(made, join(folder, name));
  }

  remove(run: RunId): void {
    rmSync(this.#folders.identity(run), { recursive: true, force: true });
  }
}

function write(file: string, uid: number | null, token: string): void {
  const fd = openSync(file, 'wx', 0o400);
  try {
    writeSync(fd, token);
    if (uid !== null) fchownSync(fd, uid, uid);
  } finally {
    closeSync(fd);
  }
}
