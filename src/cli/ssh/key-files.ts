import { createPublicKey, type KeyObject, randomBytes } from 'node:crypto';
import { chmod, link, lstat, mkdir, open, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import ssh2 from 'ssh2';
import type { Environment } from '../environment.ts';
import { CliFailure } from '../failure.ts';
import { hostKeyAlias } from './host.ts';
import { sshLimits } from './limits.ts';

/** The keys of SSH into sandboxes, one pair for each end, and the files that an ssh client reads. */
export type SshKeys = {
  /** The private key that the server shows, in OpenSSH's format. */
  readonly hostKey: string;
  readonly clientKey: { readonly blob: Buffer; readonly key: KeyObject };
  readonly identityFile: string;
  readonly knownHostsFile: string;
};

type Place = Pick<Environment, 'variables' | 'home' | 'platform' | 'uid'>;

/** `$SEALWRIGHT_HOME/ssh`, or `sealwright/ssh` in the XDG folder for state. */
export function sshFolder({ variables, home }: Pick<Place, 'variables' | 'home'>): string {
  const { SEALWRIGHT_HOME: own = '', XDG_STATE_HOME: state = '' } = variables;
  if (own !== '') return join(own, 'ssh');
  return join(state === '' ? join(home, '.local', 'state') : state, 'sealwright', 'ssh');
}

/**
 * The keys of this person on this machine, made where there are none: Ed25519, in files that nobody else can read. Programs
 * that come here at once get the same ones. Keys that others could have read or put there are refused, with the fix.
 */
export async function openSshKeys(place: Place): Promise<SshKeys> {
  const folder = sshFolder(place);
  await mkdir(folder, { recursive: true, mode: 0o700 });
  await refuseForeign(folder, place);
  const identityFile = join(folder, 'id_ed25519');
  const knownHostsFile = join(folder, 'known_hosts');
  const client = await keyAt(identityFile, place);
  const host = await keyAt(join(folder, 'host_ed25519'), place);
  await keepText(`${identityFile}.pub`, `${publicLine(client.blob)} sealwright\n`);
  await keepText(knownHostsFile, `${hostKeyAlias} ${publicLine(host.blob)}\n`);
  return { hostKey: host.text, clientKey: client, identityFile, knownHostsFile };
}

type Key = { readonly text: string; readonly blob: Buffer; readonly key: KeyObject };

async function keyAt(path: string, place: Place): Promise<Key> {
  const found = await readPrivate(path, place);
  if (found !== null) return parsed(path, found);
  const { private: made } = ssh2.utils.generateKeyPairSync('ed25519', { comment: 'sealwright' });
  await linkNew(path, made);
  const kept = await readPrivate(path, place);
  if (kept === null) throw new CliFailure(`${path} was removed while it was made; try again.`);
  return parsed(path, kept);
}

/** Whole or not at all, and never over a key that another program made meanwhile. */
async function linkNew(path: string, text: string): Promise<void> {
  const next = `${path}.${randomBytes(8).toString('hex')}.new`;
  try {
    const file = await open(next, 'wx', 0o600);
    try {
      await file.writeFile(text);
      await file.sync();
    } finally {
      await file.close();
    }
    await link(next, path).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== 'EEXIST') throw error;
    });
  } finally {
    await rm(next, { force: true });
  }
}

async function readPrivate(path: string, place: Place): Promise<string | null> {
  const stat = await lstat(path).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return null;
    throw new CliFailure(`The key ${path} cannot be read (${error.code}).`, { cause: error });
  });
  if (stat === null) return null;
  if (!stat.isFile() || stat.size > sshLimits.keyBytesMax)
    throw new CliFailure(`${path} is not a key.`, { hint: 'Remove it; another is made then.' });
  await refuseForeign(path, place);
  return await readFile(path, 'utf8');
}

/** What others can read is no secret, and what others can write is not ours. */
async function refuseForeign(path: string, { platform, uid }: Place): Promise<void> {
  const stat = await lstat(path);
  const isOpen = platform !== 'win32' && (stat.mode & 0o077) !== 0;
  const isOthers = uid !== null && stat.uid !== uid;
  if (stat.isSymbolicLink() || isOpen || isOthers)
    throw new CliFailure(`${path} holds keys, and others can read it or own it, or it is a link.`, {
      hint: `Remove ${path} and try again: other keys are made then.`,
    });
}

function parsed(path: string, text: string): Key {
  const key = ssh2.utils.parseKey(text);
  if (key instanceof Error || Array.isArray(key) || key.type !== 'ssh-ed25519' || !key.isPrivateKey())
    throw new CliFailure(`${path} is not an Ed25519 key of OpenSSH's format.`, {
      hint: `Remove ${path} and try again: another is made then.`,
    });
  return { text, blob: key.getPublicSSH(), key: createPublicKey(key.getPublicPEM()) };
}

function publicLine(blob: Buffer): string {
  return `ssh-ed25519 ${blob.toString('base64')}`;
}

/** Replaces a file that follows from the keys where it says something else, in one step. */
async function keepText(path: string, text: string): Promise<void> {
  const found = await readFile(path, 'utf8').catch(() => null);
  if (found === text) return;
  const next = `${path}.${randomBytes(8).toString('hex')}.new`;
  try {
    await writeFile(next, text, { mode: 0o600, flag: 'wx' });
    await chmod(next, 0o600);
    await rename(next, path);
  } finally {
    await rm(next, { force: true });
  }
}
