import { chmod, lstat, mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type { Environment } from './environment.ts';
import { CliFailure, UsageFailure } from './failure.ts';
import { cliLimits } from './limits.ts';
import { profilePath } from './profile.ts';

/**
 * What `sealwright login` got for one server: an API token that the person gave, or the tokens of a sign-in, which
 * change at every refresh. Nothing of it is verified here.
 */
export type Credential =
  | { readonly kind: 'token'; readonly token: string }
  | {
      readonly kind: 'sign-in';
      readonly accessToken: string;
      /** Milliseconds since the epoch, by this machine's clock. */
      readonly expiresAt: number;
      readonly refreshToken: string;
    };

/**
 * Credentials by the server's origin: each goes to that server alone. They are kept in the system's keyring where one
 * answers, else in a file of mode 0600 beside the profile; never in a place that others can read.
 */
export type Credentials = {
  read(origin: string): Promise<Credential | null>;
  /** Replaces what was kept, in one step. */
  write(origin: string, credential: Credential): Promise<'keyring' | 'file'>;
  /** Whether there was one. */
  remove(origin: string): Promise<boolean>;
  /** The folder of the file, where programs that change it lock each other out. */
  readonly folder: string;
};

type Entry = Credential | { readonly kind: 'keyring' };
type Entries = Readonly<Record<string, Entry>>;

/** A keyring that answers, or null. */
export type Keyring = {
  read(origin: string): Promise<string | null>;
  write(origin: string, secret: string): Promise<void>;
  remove(origin: string): Promise<void>;
};

type Place = Pick<Environment, 'variables' | 'home' | 'platform'>;

/** Nothing is read yet. SEALWRIGHT_CREDENTIALS=file leaves the keyring alone. */
export function openCredentials(environment: Place, keyring: () => Promise<Keyring | null>): Credentials {
  const folder = dirname(profilePath(environment.variables, environment.home));
  const path = join(folder, 'credentials.json');
  const asked = environment.variables.SEALWRIGHT_CREDENTIALS ?? '';
  if (asked !== '' && asked !== 'file' && asked !== 'keyring')
    throw new UsageFailure('SEALWRIGHT_CREDENTIALS is file or keyring');
  const ring = async () => (asked === 'file' ? null : await keyring());
  return {
    folder,
    read: async (origin) => {
      const entry = (await readEntries(path, environment.platform))[origin] ?? null;
      if (entry?.kind !== 'keyring') return entry;
      const secret = await (await ring())?.read(origin);
      return secret === undefined || secret === null ? null : parseCredential(secret);
    },
    write: async (origin, credential) => {
      const entries = await readEntries(path, environment.platform);
      const kept = await keptInRing(await ring(), origin, credential);
      if (!kept && asked === 'keyring')
        throw new CliFailure('No keyring answers on this machine.', {
          hint: 'Unset SEALWRIGHT_CREDENTIALS to keep credentials in a file of mode 0600.',
        });
      await writeEntries(path, { ...entries, [origin]: kept ? { kind: 'keyring' } : credential });
      return kept ? 'keyring' : 'file';
    },
    remove: async (origin) => {
      const { [origin]: entry, ...rest } = await readEntries(path, environment.platform);
      if (entry === undefined) return false;
      if (entry.kind === 'keyring') {
        const keyring = await ring();
        if (keyring === null)
          throw new CliFailure('The sign-in is in the keyring, which does not answer.', {
            hint: 'Unlock it, or unset SEALWRIGHT_CREDENTIALS, and sign out again.',
          });
        await keyring.remove(origin);
      }
      await writeEntries(path, rest);
      return true;
    },
  };
}

/** The keyring of the system. On Linux the Secret Service alone: the kernel's own keyring forgets at a restart. */
export async function systemKeyring(): Promise<Keyring | null> {
  try {
    const { AsyncEntry } = await import('@napi-rs/keyring');
    const entry = (origin: string) =>
      new AsyncEntry('sealwright', origin, { linux: { store: 'secret-service' } });
    // Made and asked once, so that a machine without a keyring shows itself here.
    await entry('sealwright').getPassword();
    return {
      read: async (origin) => (await entry(origin).getPassword()) ?? null,
      write: (origin, secret) => entry(origin).setPassword(secret),
      remove: async (origin) => {
        await entry(origin).deletePassword();
      },
    };
  } catch {
    return null;
  }
}

async function keptInRing(ring: Keyring | null, origin: string, credential: Credential): Promise<boolean> {
  if (ring === null) return false;
  try {
    await ring.write(origin, JSON.stringify(credential));
    return true;
  } catch {
    // Locked, or refused: the file of mode 0600 takes its place, and `login` says so.
    return false;
  }
}

async function readEntries(path: string, platform: NodeJS.Platform): Promise<Entries> {
  const stat = await lstat(path).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT' || error.code === 'ENOTDIR') return null;
    throw new CliFailure(`${path} cannot be read (${error.code}).`, { cause: error });
  });
  if (stat === null) return {};
  if (!stat.isFile()) throw new CliFailure(`${path} is not a plain file.`);
  if (platform !== 'win32' && (stat.mode & 0o077) !== 0)
    throw new CliFailure(`${path} holds tokens and can be read by others.`, { hint: `chmod 600 ${path}` });
  if (stat.size > cliLimits.credentialsBytesMax) throw new CliFailure(`${path} is too large.`);
  const value = parseJson(await readFile(path, 'utf8'));
  if (isObject(value) && Object.values(value).every(isEntry)) return value as Entries;
  throw new CliFailure(`${path} does not hold credentials.`, {
    hint: "Remove it, and run 'sealwright login' again.",
  });
}

async function writeEntries(path: string, entries: Entries): Promise<void> {
  if (Object.keys(entries).length === 0) return await rm(path, { force: true });
  await mkdir(dirname(path), { recursive: true, mode: 0o700 });
  const next = `${path}.${process.pid}.new`;
  try {
    await rm(next, { force: true });
    await writeFile(next, `${JSON.stringify(entries, null, 2)}\n`, { mode: 0o600, flag: 'wx' });
    await chmod(next, 0o600);
    await rename(next, path);
  } catch (error) {
    await rm(next, { force: true });
    throw error;
  }
}

function parseCredential(text: string): Credential | null {
  const value = parseJson(text);
  return isEntry(value) && value.kind !== 'keyring' ? value : null;
}

/** By hand, because a schema library takes longer to load than most commands to run. */
function isEntry(value: unknown): value is Entry {
  if (!isObject(value)) return false;
  const { kind, token, accessToken, expiresAt, refreshToken } = value;
  if (kind === 'keyring') return true;
  if (kind === 'token') return typeof token === 'string' && token !== '';
  const texts = typeof accessToken === 'string' && typeof refreshToken === 'string';
  return kind === 'sign-in' && texts && typeof expiresAt === 'number';
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}
