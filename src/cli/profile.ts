import { chmod, lstat, mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type { Environment } from './environment.ts';
import { CliFailure } from './failure.ts';
import { cliLimits } from './limits.ts';

export type Profile = {
  readonly url: string;
  readonly token?: string;
  /** The data folder of the server, where it runs on this machine. */
  readonly home?: string;
};

const members: ReadonlySet<string> = new Set(['url', 'token', 'home'] satisfies (keyof Profile)[]);
type Variables = Environment['variables'];

export const defaultUrl = 'http://127.0.0.1:7717';

/** `$SEALWRIGHT_HOME/profile.json`, or `sealwright/profile.json` in the XDG configuration folder. */
export function profilePath(variables: Variables, home: string): string {
  if (present(variables.SEALWRIGHT_HOME)) return join(variables.SEALWRIGHT_HOME, 'profile.json');
  const folder = present(variables.XDG_CONFIG_HOME) ? variables.XDG_CONFIG_HOME : join(home, '.config');
  return join(folder, 'sealwright', 'profile.json');
}

/**
 * The profile at `path`, or null where there is none. It holds a token, so one that others can read, or that
 * is not a plain file, is refused with the fix. The token is unverified.
 */
export async function readProfile(path: string, platform: NodeJS.Platform): Promise<Profile | null> {
  const stat = await lstat(path).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT' || error.code === 'ENOTDIR') return null;
    throw new CliFailure(`The profile ${path} cannot be read (${error.code}).`, { cause: error });
  });
  if (stat === null) return null;
  if (!stat.isFile()) throw new CliFailure(`The profile ${path} is not a plain file.`);
  if (platform !== 'win32' && (stat.mode & 0o077) !== 0) {
    throw new CliFailure(`The profile ${path} holds a token and can be read by others.`, {
      hint: `chmod 600 ${path}`,
    });
  }
  if (stat.size > cliLimits.profileBytesMax) throw new CliFailure(`The profile ${path} is too large.`);
  const value = parseJson(await readFile(path, 'utf8'));
  if (isProfile(value)) return value;
  throw new CliFailure(`The profile ${path} is not a profile.`, {
    hint: `It looks like {"url": "${defaultUrl}", "token": "sw_…"}; remove it and run 'sealwright up' to have it written again.`,
  });
}

/** Replaces the profile in one step, mode 0600, its folder made 0700 where it is missing. */
export async function writeProfile(path: string, profile: Profile): Promise<void> {
  await mkdir(dirname(path), { recursive: true, mode: 0o700 });
  const next = `${path}.${process.pid}.new`;
  try {
    await writeFile(next, `${JSON.stringify(profile, null, 2)}\n`, { mode: 0o600, flag: 'wx' });
    await chmod(next, 0o600);
    await rename(next, path);
  } catch (error) {
    await rm(next, { force: true });
    throw error;
  }
}

/** The data folder of a server on this machine, as `sealwright up` chooses it. */
export function dataFolder(
  environment: Pick<Environment, 'variables' | 'home' | 'uid'>,
  profile: Profile | null,
): string {
  const { variables, home, uid } = environment;
  if (present(variables.SEALWRIGHT_HOME)) return variables.SEALWRIGHT_HOME;
  if (profile?.home !== undefined) return profile.home;
  if (uid === 0) return '/var/lib/sealwright';
  const data = present(variables.XDG_DATA_HOME) ? variables.XDG_DATA_HOME : join(home, '.local', 'share');
  return join(data, 'sealwright');
}

function present(value: string | undefined): value is string {
  return value !== undefined && value !== '';
}

/** By hand, because a schema library takes longer to load than most commands to run. */
function isProfile(value: unknown): value is Profile {
  if (typeof value !== 'object' || value === null || !('url' in value)) return false;
  return Object.entries(value).every(
    ([key, member]) => members.has(key) && typeof member === 'string' && member !== '',
  );
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}
