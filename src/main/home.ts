import { createHash, generateKeyPairSync, randomBytes } from 'node:crypto';
import {
  chmodSync,
  chownSync,
  closeSync,
  existsSync,
  lstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmdirSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join, resolve } from 'node:path';
import { tryLock } from '../base/libc.ts';

/** The host uid that control becomes when started as root: nobody else's by convention, and in no /etc/passwd. */
export const controlUid = 2_000_000_000;
/** The user that root's gateway becomes: nobody else's, and it owns nothing. */
export const gatewayUid = 2_000_000_001;

/**
 * The data folder. Each process owns just its part: control its store, keys and audit streams; the runner its
 * sessions, runs and its own stream. What is here is made where it is missing and never made anew.
 */
export type Home = {
  readonly path: string;
  readonly audit: string;
  readonly control: string;
  readonly runner: string;
  readonly logs: string;
  readonly app: string;
  readonly bootstrapToken: string;
  /** Names this instance on the host: its control groups and its view. */
  readonly instance: string;
};

export function homeAt(path: string): Home {
  const digest = createHash('sha256').update(path).digest('hex').slice(0, 12);
  return {
    path,
    audit: join(path, 'audit'),
    control: join(path, 'control'),
    runner: join(path, 'runner'),
    logs: join(path, 'logs'),
    app: join(path, 'app'),
    bootstrapToken: join(path, 'bootstrap-token'),
    instance: `sealwright-${digest}`,
  };
}

export class HomeError extends Error {}

/**
 * Makes what is missing. Throws HomeError with the fix where the folder cannot be used. `auditFolder` is where the log lies if
 * not in the data folder.
 */
export function prepareHome(home: Home, asRoot: boolean, auditFolder: string | null = null): void {
  try {
    makeFolder(home.path, 0o711, null);
    makeFolder(home.runner, 0o711, null);
    makeFolder(home.logs, 0o700, null);
    makeFolder(home.app, 0o755, null);
    const owner = asRoot ? controlUid : null;
    makeFolder(home.control, 0o700, owner);
    if (auditFolder === null) makeOwnAudit(home, owner);
    else prepareAudit(home, auditFolder, owner);
    makeKey(join(home.control, 'audit-ed25519.pem'), owner, newSigningKey);
    makeKey(join(home.control, 'identity.key'), owner, () => randomBytes(32));
    makeKey(join(home.runner, 'audit-ed25519.pem'), null, newSigningKey);
    const channelKey = join(home.runner, 'channel.key');
    makeKey(channelKey, null, () => randomBytes(32));
    makeKey(join(home.control, 'channel.key'), owner, () => readFileSync(channelKey));
  } catch (error) {
    throw homeErrorOf(home, error);
  }
}

/** A folder outside that control writes, and nobody else. Throws HomeError where it cannot be had. */
export function prepareArchive(path: string, asRoot: boolean): void {
  makeNamed('auditArchive', path, asRoot ? controlUid : null);
}

/** A log is never begun anew because the one that was there is no longer named. */
function makeOwnAudit({ audit }: Home, owner: number | null): void {
  if (isLink(audit))
    throw new HomeError(
      `The audit log lies in ${readlinkSync(audit)}: name it in auditFolder (SEALWRIGHT_AUDIT_FOLDER), or move it to ${audit} in place of the link.`,
    );
  makeFolder(audit, 0o700, owner);
}

/** The folder of the log, and a link to it where everybody looks for it. */
function prepareAudit({ audit }: Home, folder: string, owner: number | null): void {
  if (resolve(folder) === audit)
    throw new HomeError(`auditFolder: ${folder} is where the log lies without it.`);
  if (isLink(audit)) {
    if (readlinkSync(audit) !== folder)
      throw new HomeError(
        `The audit log lies in ${readlinkSync(audit)}, and auditFolder names ${folder}: move it there and remove ${audit}, or name where it is.`,
      );
  } else if (existsSync(audit) && readdirSync(audit).length > 0) {
    throw new HomeError(`auditFolder: the log lies in ${audit}: move what is in it to ${folder} first.`);
  }
  makeNamed('auditFolder', folder, owner);
  if (isLink(audit)) return;
  if (existsSync(audit)) rmdirSync(audit);
  symlinkSync(folder, audit);
}

function isLink(path: string): boolean {
  return lstatSync(path, { throwIfNoEntry: false })?.isSymbolicLink() === true;
}

function makeNamed(setting: string, path: string, owner: number | null): void {
  try {
    makeFolder(path, 0o700, owner);
  } catch (error) {
    if (error instanceof HomeError) throw error;
    const { code } = error as NodeJS.ErrnoException;
    throw new HomeError(`${setting}: ${path} cannot be made (${code}). Name a folder that you may write.`);
  }
}

/** What a failed call of the file system means for the data folder, with the fix; any other error as it is. */
export function homeErrorOf(home: Home, error: unknown): unknown {
  const { code } = (error ?? {}) as NodeJS.ErrnoException;
  if (code === undefined || !/^E[A-Z0-9]+$/.test(code)) return error;
  if (code === 'ENOSPC')
    return new HomeError(`The disk that holds ${home.path} is full: make room and start again.`);
  const fix = 'choose a folder this user may write to with SEALWRIGHT_HOME, or change its owner';
  return new HomeError(`The data folder ${home.path} cannot be used (${code}): ${fix}.`);
}

function makeFolder(path: string, mode: number, owner: number | null): void {
  mkdirSync(path, { recursive: true, mode });
  const stat = lstatSync(path);
  if (!stat.isDirectory()) throw new HomeError(`${path} is not a folder.`);
  chmodSync(path, mode);
  if (owner !== null) chownSync(path, owner, owner);
}

/** Written beside and linked into place by an exclusive open: a key is there whole or not at all. */
function makeKey(path: string, owner: number | null, make: () => Buffer | string): void {
  if (existsSync(path)) return;
  writeFileSync(path, make(), { mode: 0o600, flag: 'wx', flush: true });
  if (owner !== null) chownSync(path, owner, owner);
}

function newSigningKey(): string {
  return generateKeyPairSync('ed25519').privateKey.export({ type: 'pkcs8', format: 'pem' }) as string;
}

/** The bootstrap token in its 0600 file, made on the first start; `given` takes its place and is written there. */
export function bootstrapToken(home: Home, given: string | null, newToken: () => string): string {
  if (given !== null) {
    writeFileSync(home.bootstrapToken, `${given}\n`, { mode: 0o600 });
    chmodSync(home.bootstrapToken, 0o600);
    return given;
  }
  makeKey(home.bootstrapToken, null, () => `${newToken()}\n`);
  return readFileSync(home.bootstrapToken, 'utf8').trim();
}

/**
 * The lock that makes this process the only one that uses the data folder. Processes that inherit the file
 * descriptor hold it with it, so a new start waits for what an earlier one left to end. Null where it is held.
 */
export function lockHome(home: Home): number | null {
  const fd = openSync(join(home.path, 'lock'), 'a', 0o600);
  if (tryLock(fd)) return fd;
  closeSync(fd);
  return null;
}
