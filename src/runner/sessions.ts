import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import {
  chmodSync,
  chownSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type { RepoSource, RepoUpload, RunSpec } from '../contract/runner.ts';
import type { SessionId } from '../model/ids.ts';
import { type Folders, sessionParts } from './folders.ts';
import { runnerLimits } from './limits.ts';

const run = promisify(execFile);

/**
 * The sessions' folders. As root each session is a host uid of its own, and the owner of its folder is the
 * record of which; as an ordinary user everything is that user's.
 */
export class SessionFolders {
  readonly #folders: Folders;
  readonly #root: boolean;
  readonly #turns = new Map<SessionId, Promise<void>>();
  #nextUid: number = runnerLimits.firstSessionUid;

  constructor(folders: Folders, mode: 'root' | 'user') {
    this.#folders = folders;
    this.#root = mode === 'root';
    for (const entry of readdirSync(folders.sessions)) {
      const { uid } = lstatSync(`${folders.sessions}/${entry}`);
      this.#nextUid = Math.max(this.#nextUid, uid + 1);
    }
  }

  /** Makes a session's folders where they are not there yet; answers with the uid its sandboxes run as. */
  prepare(id: SessionId): number | null {
    const folder = this.#folders.session(id);
    if (existsSync(folder)) return this.#root ? sessionUid(folder) : null;
    const uid = this.#root ? this.#nextUid++ : null;
    const made = `${folder}.new`;
    rmSync(made, { recursive: true, force: true });
    mkdirSync(made, { mode: 0o700 });
    for (const part of sessionParts) {
      mkdirSync(join(made, part), { mode: 0o755 });
      if (uid !== null) chownSync(join(made, part), uid, uid);
    }
    if (uid !== null) chownSync(made, uid, uid);
    // It is there whole or not at all: a folder that is still root's would make root of a run.
    renameSync(made, folder);
    return uid;
  }

  /**
   * One at a time has the turn of a session to import into it: `ready` resolves when every earlier one has ended. An
   * ended turn counts no more, whether it was ready or not.
   */
  turn(id: SessionId): { readonly ready: Promise<void>; end(): void } {
    const ready = this.#turns.get(id) ?? Promise.resolve();
    const { promise: ended, resolve: end } = Promise.withResolvers<void>();
    const next = ready.then(() => ended);
    this.#turns.set(id, next);
    void next.then(() => this.#turns.get(id) === next && this.#turns.delete(id));
    return { ready, end };
  }

  needsImport(spec: RunSpec): boolean {
    return spec.repo !== null && !existsSync(this.#folders.imported(spec.session));
  }

  /** Lends an upload to the session's uid and writes down what a shallow clone lacks. */
  lendUpload(session: SessionId, repo: RepoUpload, uid: number | null): string {
    const upload = this.#folders.upload(repo.upload);
    if (uid !== null) chownSync(upload, uid, uid);
    chmodSync(upload, 0o400);
    const shallow = repo.shallow.map((commit) => `${commit}\n`).join('');
    // What an import that was cut off left there may be a link.
    const file = `${this.#folders.scratch(session)}/shallow`;
    rmSync(file, { force: true });
    writeFileSync(file, shallow, { flag: 'wx' });
    return upload;
  }

  async markImported(session: SessionId, repo: RepoSource): Promise<void> {
    writeFileSync(this.#folders.imported(session), '');
    await this.clearScratch(session);
    if ('upload' in repo) await removeTree([this.#folders.upload(repo.upload)]);
  }

  /** After a failed import: empty again, so that nothing half-made is ever taken for a workspace. */
  async reset(id: SessionId): Promise<void> {
    await removeTree([this.#folders.session(id)]);
  }

  async clearScratch(id: SessionId): Promise<void> {
    const scratch = this.#folders.scratch(id);
    await removeTree(readdirSync(scratch, { encoding: 'utf8' }).map((name) => `${scratch}/${name}`));
  }

  async remove(id: SessionId): Promise<void> {
    await removeTree([this.#folders.session(id), `${this.#folders.session(id)}.new`]);
  }
}

function sessionUid(folder: string): number {
  const { uid } = lstatSync(folder);
  assert(uid >= runnerLimits.firstSessionUid, 'a session is never a user of the host');
  return uid;
}

/**
 * Removes files and folders with rm(1), which follows no link and copes with any depth and any name. Only for
 * trees that no living process changes.
 */
export async function removeTree(paths: readonly string[]): Promise<void> {
  if (paths.length === 0) return;
  await run('/bin/rm', ['-rf', '--one-file-system', '--', ...paths], { env: {} });
}
