import { constants } from 'node:fs';
import {
  copyFile,
  lstat,
  mkdir,
  mkdtemp,
  readdir,
  readlink,
  realpath,
  rm,
  symlink,
  writeFile,
} from 'node:fs/promises';
import { dirname, isAbsolute, join, relative, resolve } from 'node:path';
import { foldComponent } from '../model/risky-paths.ts';
import type { Checkout } from './checkout.ts';
import type { Git } from './git.ts';
import { gitComplaint } from './git.ts';
import { type FileChange, PatchRefused } from './patch.ts';
import { nameOf, showPath } from './patch-guard.ts';

/** What git makes of a patch, seen in a folder that holds nothing but the files the patch touches. */
export type StagedOutcome = {
  /** Symbolic links that the patch makes or turns, whose targets are outside the checkout or in its git folder. */
  readonly escapingLinks: readonly { readonly path: string; readonly target: string }[];
  /** Files that are executable now and were not, or were not there. */
  readonly newExecutables: readonly string[];
};

export type Staging = {
  readonly git: Git;
  readonly checkout: Checkout;
  readonly changes: readonly FileChange[];
  readonly patch: Buffer;
  readonly temporary: string;
  readonly signal: AbortSignal;
};

/**
 * Applies the patch to copies in a temporary folder and looks at what came out, so that what is shown and asked
 * for is what git does and not what a second reader of the format believes. Throws PatchRefused when a path goes
 * through a link of the checkout, when it does not fit, or when git touches anything that `changes` lacks.
 */
export async function stagePatch(staging: Staging): Promise<StagedOutcome> {
  const folder = await mkdtemp(join(staging.temporary, 'sealwright-apply-'));
  try {
    const work = join(folder, 'work');
    await mkdir(work);
    const patchFile = join(folder, 'patch');
    await writeFile(patchFile, staging.patch, { mode: 0o600 });
    await refuseLinkedFolders(staging);
    await copyTouched(staging, work);
    await applyStaged(staging, work, patchFile);
    return await inspect(staging, work);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** The path under `folder` in bytes, because names need not be UTF-8. */
function under(folder: string, path: string): Buffer {
  return Buffer.concat([Buffer.from(`${folder}/`), Buffer.from(path, 'latin1')]);
}

function parentsOf(path: string): string[] {
  const components = path.split('/');
  return components.slice(1).map((_, index) => components.slice(0, index + 1).join('/'));
}

async function refuseLinkedFolders({ checkout, changes }: Staging): Promise<void> {
  const seen = new Set<string>();
  for (const parent of changes.flatMap((change) => [...parentsOf(change.from), ...parentsOf(change.path)])) {
    if (seen.has(parent)) continue;
    seen.add(parent);
    const found = await lstat(under(checkout.top, parent)).catch(absentIsNull);
    if (found?.isSymbolicLink()) {
      throw new PatchRefused(
        `The patch goes through ${showPath(parent)}, which is a symbolic link in the checkout.`,
      );
    }
  }
}

async function copyTouched({ checkout, changes }: Staging, work: string): Promise<void> {
  for (const from of new Set(changes.filter(({ kind }) => kind !== 'create').map((change) => change.from))) {
    const source = under(checkout.top, from);
    const found = await lstat(source).catch(absentIsNull);
    if (found === null) throw conflict(`${showPath(from)} is not in the checkout`);
    const target = under(work, from);
    await mkdir(target.subarray(0, target.lastIndexOf(0x2f)), { recursive: true });
    if (found.isSymbolicLink()) await symlink(await readlink(source, { encoding: 'buffer' }), target);
    else if (found.isFile()) await copyFile(source, target, constants.COPYFILE_FICLONE);
    else throw conflict(`${showPath(from)} is not a file in the checkout`);
  }
}

export function conflict(why: string): PatchRefused {
  return new PatchRefused(`The patch does not fit the checkout: ${why}. Nothing was changed.`);
}

/** `git apply` as it is used here: nothing outside the folder it runs in, no repair of white space, no fuzz. */
export const applyArguments = [
  ...['-c', 'apply.whitespace=nowarn', '-c', 'apply.ignoreWhitespace=no', 'apply', '--binary', '-p1'],
  '--whitespace=nowarn',
];

async function applyStaged({ git, checkout, changes, signal }: Staging, work: string, patchFile: string) {
  const gitDir = await checkout.gitPath('.');
  const options = { cwd: work, signal, variables: { GIT_DIR: gitDir, GIT_WORK_TREE: work } };
  const listed = await git.run([...applyArguments, '--numstat', '-z', patchFile], options);
  if (listed.status !== 0)
    throw new PatchRefused(`git cannot read the patch: ${gitComplaint(listed.stderr)}.`);
  const theirs = listed.stdout
    .toString('latin1')
    .split('\0')
    .filter(Boolean)
    .map((entry) => entry.replace(/^(?:\d+|-)\t(?:\d+|-)\t/, ''));
  const ours = changes.map((change) => change.path);
  if (theirs.length !== ours.length || theirs.some((path, index) => path !== ours[index])) {
    throw new PatchRefused('git reads other files from the patch than were checked.');
  }
  const applied = await git.run([...applyArguments, patchFile], options);
  if (applied.status !== 0) throw conflict(gitComplaint(applied.stderr) ?? 'git refuses it');
}

async function inspect(staging: Staging, work: string): Promise<StagedOutcome> {
  const { checkout, changes } = staging;
  const touched = new Set(changes.map((change) => change.path));
  const known = new Set(changes.flatMap((change) => [change.from, change.path]));
  const escapingLinks: { path: string; target: string }[] = [];
  const newExecutables: string[] = [];
  for await (const path of filesBelow(work, '')) {
    if (!known.has(path))
      throw new PatchRefused(`git makes ${showPath(path)} of the patch, which it does not name.`);
    if (!touched.has(path)) continue;
    const found = await lstat(under(work, path));
    const before = await lstat(under(checkout.top, path)).catch(absentIsNull);
    if (found.isSymbolicLink()) {
      const target = (await readlink(under(work, path), { encoding: 'buffer' })).toString('latin1');
      if (await linkEscapes(checkout.top, path, target)) escapingLinks.push({ path, target });
    } else if ((found.mode & 0o111) !== 0 && !(before?.isFile() && (before.mode & 0o111) !== 0)) {
      newExecutables.push(path);
    }
  }
  return { escapingLinks, newExecutables };
}

async function* filesBelow(work: string, folder: string): AsyncGenerator<string> {
  for (const entry of await readdir(under(work, folder), { withFileTypes: true, encoding: 'buffer' })) {
    const name = entry.name.toString('latin1');
    const path = folder === '' ? name : `${folder}/${name}`;
    if (entry.isDirectory()) yield* filesBelow(work, path);
    else yield path;
  }
}

/** Whether a link at `path` would lead out of the checkout or into a git folder, other links on its way counted. */
export async function linkEscapes(top: string, path: string, target: string): Promise<boolean> {
  const name = nameOf(target);
  if (isAbsolute(name) || /^[A-Za-z]:|^[/\\]/.test(name)) return true;
  const root = await realpath(top);
  let at = resolve(root, dirname(nameOf(path)));
  for (const component of name.split(/[/\\]/)) {
    if (component === '' || component === '.') continue;
    at = component === '..' ? dirname(at) : await followed(join(at, component));
    if (!isInside(root, at)) return true;
  }
  return false;
}

function isInside(root: string, path: string): boolean {
  const way = relative(root, path);
  if (way === '') return true;
  const components = way.split(/[/\\]/);
  return (
    components[0] !== '..' && !isAbsolute(way) && !components.some((part) => foldComponent(part) === '.git')
  );
}

/** The real place of a path, or the path itself where nothing is there yet. */
async function followed(path: string): Promise<string> {
  return await realpath(path).catch(() => path);
}

function absentIsNull(error: NodeJS.ErrnoException): null {
  if (error.code === 'ENOENT' || error.code === 'ENOTDIR') return null;
  throw error;
}
