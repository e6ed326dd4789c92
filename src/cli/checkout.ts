import { readFile, realpath, stat } from 'node:fs/promises';
import { resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { CliFailure } from './failure.ts';
import { type Git, gitComplaint } from './git.ts';
import { isRemote } from './repo-remote.ts';

/** A repository with a work tree and at least one commit, and where its parts are. Paths are absolute. */
export type Checkout = {
  readonly top: string;
  /** The commit that HEAD stands for. */
  readonly head: string;
  /** The full name of the current branch in bytes, `refs/heads/…`; null when HEAD is detached. */
  readonly branch: Buffer | null;
  readonly objectFormat: 'sha1' | 'sha256';
  /** The commits whose parents a shallow clone does not have; empty for a whole one. */
  readonly shallow: readonly string[];
  /** The path of a file of this checkout's git folder, such as `index` or `info/exclude`. */
  gitPath(name: string): Promise<string>;
};

/** The local path that `--repo` names, `file:` URLs included. Addresses of other machines are refused. */
export function localRepository(text: string, cwd: string): string {
  if (isRemote(text)) {
    throw new CliFailure('The repository is on another machine; a checkout on this one is needed.', {
      hint: 'Clone it here and name the folder: git clone URL folder',
    });
  }
  if (!/^file:/i.test(text)) return resolve(cwd, text);
  try {
    if (/^file:\/\//i.test(text)) return fileURLToPath(text);
    return resolve(cwd, decodeURIComponent(text.slice('file:'.length)));
  } catch (error) {
    throw new CliFailure(`${text} is not a file URL that names a folder of this machine.`, {
      hint: 'It looks like file:///home/me/project.',
      cause: error,
    });
  }
}

/** Opens the checkout that holds `path`. Throws CliFailure that says what is wrong and what to do. */
export async function openCheckout(git: Git, path: string): Promise<Checkout> {
  await mustBeFolder(path);
  const facts = await git.run([
    ...['-C', path, 'rev-parse', '--is-bare-repository', '--is-inside-work-tree'],
    ...['--is-shallow-repository', '--show-object-format'],
  ]);
  if (facts.status !== 0) throw notRepository(path, facts.stderr);
  const [bare, inside, shallow, format] = facts.stdout.toString('utf8').trim().split('\n');
  if (inside !== 'true') throw withoutWorkTree(path, bare === 'true');
  const top = await onePath(git, ['-C', path, 'rev-parse', '--show-toplevel']);
  const head = await git.run(['-C', top, 'rev-parse', '--quiet', '--verify', 'HEAD^{commit}']);
  if (head.status !== 0) {
    throw new CliFailure(`The repository ${top} has no commit yet.`, {
      hint: 'Make one (git add -A && git commit -m start); --dirty adds to a commit, it does not replace one.',
    });
  }
  const gitPath = (name: string) =>
    onePath(git, ['-C', top, 'rev-parse', '--path-format=absolute', '--git-path', name]);
  const branch = await git.run(['-C', top, 'symbolic-ref', '--quiet', 'HEAD']);
  return {
    top,
    head: head.stdout.toString('utf8').trim(),
    branch: branch.status === 0 ? withoutLineFeed(branch.stdout) : null,
    objectFormat: format === 'sha256' ? 'sha256' : 'sha1',
    shallow: shallow === 'true' ? await readShallow(await gitPath('shallow')) : [],
    gitPath,
  };
}

/** Whether `path` is the top of the checkout itself and not a folder in it. */
export async function isTop(checkout: Checkout, path: string): Promise<boolean> {
  return (await realpath(path)) === (await realpath(checkout.top));
}

async function mustBeFolder(path: string): Promise<void> {
  const found = await stat(path).catch((error: NodeJS.ErrnoException) => {
    throw new CliFailure(
      error.code === 'ENOENT' || error.code === 'ENOTDIR'
        ? `There is no folder ${path}.`
        : `The folder ${path} cannot be read (${error.code}).`,
      { cause: error },
    );
  });
  if (!found.isDirectory()) throw new CliFailure(`${path} is not a folder.`);
}

function notRepository(path: string, stderr: string): CliFailure {
  if (stderr.includes('dubious ownership')) {
    return new CliFailure(`The repository ${path} belongs to another user, so git does not touch it.`, {
      hint: `If you trust it: git config --global --add safe.directory ${path}`,
    });
  }
  const broken = /not a git repository: (.*)/.exec(stderr);
  if (broken !== null && !broken[1]!.startsWith('(or any')) {
    return new CliFailure(`${path} is a worktree whose repository ${broken[1]} is not there.`, {
      hint: 'git worktree repair, run in the main repository, may mend it.',
    });
  }
  if (!stderr.includes('not a git repository')) return new CliFailure(`git failed: ${gitComplaint(stderr)}`);
  return new CliFailure(`${path} is not a git repository.`, {
    hint: 'Make it one (git init && git add -A && git commit -m start), or leave out --repo for an empty workspace.',
  });
}

function withoutWorkTree(path: string, bare: boolean): CliFailure {
  if (!bare) return new CliFailure(`${path} is inside a .git folder; name the checkout it belongs to.`);
  return new CliFailure(`${path} is a bare repository: it has no checkout.`, {
    hint: `Clone it and name the clone: git clone ${path} folder && sealwright run --repo folder …`,
  });
}

/** Paths may hold line feeds, so each is asked for alone and loses one line feed only. */
async function onePath(git: Git, args: readonly string[]): Promise<string> {
  const bytes = withoutLineFeed(await git.must(args));
  const path = bytes.toString('utf8');
  if (!Buffer.from(path, 'utf8').equals(bytes)) {
    throw new CliFailure('The path of the repository is not UTF-8.', { hint: 'Move it to one that is.' });
  }
  return path;
}

function withoutLineFeed(bytes: Buffer): Buffer {
  return bytes.at(-1) === 0x0a ? bytes.subarray(0, -1) : bytes;
}

async function readShallow(path: string): Promise<string[]> {
  return (await readFile(path, 'utf8')).split('\n').filter((line) => /^[0-9a-f]{40,64}$/.test(line));
}
