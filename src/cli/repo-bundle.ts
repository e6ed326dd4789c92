import { copyFile, mkdir, mkdtemp, readdir, rm, stat, utimes, writeFile } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import type { Checkout } from './checkout.ts';
import { escapeBytes } from './escape.ts';
import { CliFailure } from './failure.ts';
import type { Git } from './git.ts';

/** The commit that holds the uncommitted changes, in a bundle made with `dirty`. */
export const dirtyRef = 'refs/sealwright/dirty';

export type RepoBundle = {
  /** For people: what the bundle does not hold. */
  readonly notes: readonly string[];
  readonly shallow: readonly string[];
  /** The bundle's bytes; throws when git fails before the end. */
  bytes(): AsyncGenerator<Buffer>;
  /** Removes the temporary folder; nothing else was ever written. */
  dispose(): Promise<void>;
};

/**
 * A bundle of HEAD with its whole history: the refs are `HEAD`, the current branch, and with `dirty` a commit
 * on top of HEAD that holds uncommitted and untracked changes (ignored files stay out), unless there are none.
 *
 * Everything happens in a shadow repository in a temporary folder that borrows the caller's objects: the
 * caller's refs, index and configuration are never written, no object is added, and programs that its
 * configuration names (filters, monitors, hooks) never run.
 */
export async function bundleRepository(
  git: Git,
  checkout: Checkout,
  options: { dirty: boolean; temporary: string; signal: AbortSignal },
): Promise<RepoBundle> {
  const folder = await mkdtemp(join(options.temporary, 'sealwright-upload-'));
  const dispose = () => rm(folder, { recursive: true, force: true, maxRetries: 3 });
  try {
    const shadow: Shadow = { git, checkout, folder, signal: options.signal };
    await makeShadow(shadow);
    await copySettings(shadow);
    await copyIndex(shadow);
    const dirty = options.dirty ? await commitDirty(shadow) : null;
    await writeRefs(shadow, dirty);
    return {
      notes: await notesOn(shadow, dirty ?? checkout.head, options.dirty),
      shallow: checkout.shallow,
      bytes: () => bundleBytes(shadow),
      dispose,
    };
  } catch (error) {
    await dispose();
    throw error;
  }
}

type Shadow = {
  readonly git: Git;
  readonly checkout: Checkout;
  readonly folder: string;
  readonly signal: AbortSignal;
};

function inShadow({ folder, signal }: Shadow, variables: Record<string, string> = {}) {
  return { variables: { GIT_DIR: folder, ...variables }, signal };
}

async function makeShadow({ checkout, folder }: Shadow): Promise<void> {
  for (const name of ['objects/info', 'objects/pack', 'refs', 'info']) {
    await mkdir(join(folder, name), { recursive: true });
  }
  const objects = quoted(await checkout.gitPath('objects'));
  await writeFile(join(folder, 'objects/info/alternates'), `${objects}\n`);
  await writeFile(join(folder, 'HEAD'), `${checkout.head}\n`);
  const format = checkout.objectFormat === 'sha256' ? '[extensions]\n\tobjectFormat = sha256\n' : '';
  await writeFile(
    join(folder, 'config'),
    `[core]\n\trepositoryFormatVersion = ${format === '' ? 0 : 1}\n\tbare = false\n${format}`,
  );
  if (checkout.shallow.length > 0) {
    await writeFile(join(folder, 'shallow'), `${checkout.shallow.join('\n')}\n`);
  }
}

async function writeRefs({ checkout, folder }: Shadow, dirty: string | null): Promise<void> {
  const lines: Buffer[] = [];
  if (checkout.branch !== null) {
    lines.push(Buffer.from(`${checkout.head} `), checkout.branch, Buffer.from('\n'));
    await writeFile(
      join(folder, 'HEAD'),
      Buffer.concat([Buffer.from('ref: '), checkout.branch, Buffer.from('\n')]),
    );
  }
  if (dirty !== null) lines.push(Buffer.from(`${dirty} ${dirtyRef}\n`));
  await writeFile(join(folder, 'packed-refs'), Buffer.concat(lines));
}

/** The commit of the work tree as it is, or null when it is as HEAD has it. */
async function commitDirty(shadow: Shadow): Promise<string | null> {
  const { git, checkout } = shadow;
  const work = inShadow(shadow, { GIT_WORK_TREE: checkout.top });
  const quiet = ['-c', 'advice.addEmbeddedRepo=false', '-c', 'core.safecrlf=false'];
  const added = await git.run(['-C', checkout.top, ...quiet, 'add', '--all'], work);
  if (added.status !== 0) throw addFailure(added.stderr);
  const tree = (await git.must(['-C', checkout.top, 'write-tree'], work)).toString('utf8').trim();
  const before = await git.must(['rev-parse', '--verify', `${checkout.head}^{tree}`], inShadow(shadow));
  if (before.toString('utf8').trim() === tree) return null;
  const time = await git.must(['show', '-s', '--format=%ct', checkout.head], inShadow(shadow));
  const who: Record<string, string> = {};
  for (const role of ['AUTHOR', 'COMMITTER']) {
    who[`GIT_${role}_NAME`] = 'Sealwright';
    who[`GIT_${role}_EMAIL`] = 'sealwright@localhost';
    who[`GIT_${role}_DATE`] = `${time.toString('utf8').trim()} +0000`;
  }
  const message = 'Uncommitted changes';
  const commit = await git.must(
    ['commit-tree', tree, '-p', checkout.head, '-m', message],
    inShadow(shadow, who),
  );
  return commit.toString('utf8').trim();
}

/** Settings that decide how files are read, and nothing that names a program. */
const readingSettings =
  '^(core\\.(autocrlf|eol|filemode|symlinks|ignorecase|precomposeunicode|excludesfile|attributesfile|sparsecheckout|sparsecheckoutcone|checkstat|trustctime|longpaths)|index\\.sparse)$';

async function copySettings({ git, checkout, folder, signal }: Shadow): Promise<void> {
  const listed = await git.run(['-C', checkout.top, 'config', '--null', '--get-regexp', readingSettings], {
    signal,
  });
  const lines = listed.stdout
    .toString('utf8')
    .split('\0')
    .filter(Boolean)
    .map((entry) => {
      const [key, ...value] = entry.split('\n');
      const [section, name] = key!.split('.');
      return `[${section}]\n\t${name} = ${quoted(value.length === 0 ? 'true' : value.join('\n'))}\n`;
    });
  await writeFile(join(folder, 'config'), lines.join(''), { flag: 'a' });
  for (const name of ['info/exclude', 'info/attributes', 'info/sparse-checkout']) {
    await copyFile(await checkout.gitPath(name), join(folder, name)).catch(ignoreMissing);
  }
}

/**
 * The index saves reading every file again. Its time is kept (and rounded down): git reads files again whose
 * time is not before that of the index.
 */
async function copyIndex({ git, checkout, folder, signal }: Shadow): Promise<void> {
  const source = await checkout.gitPath('index');
  const found = await stat(source).catch(ignoreMissing);
  if (found === undefined) {
    await git.must(['read-tree', checkout.head], { variables: { GIT_DIR: folder }, signal });
    return;
  }
  const seconds = Math.floor(found.mtimeMs) / 1000;
  for (const name of await readdir(dirname(source))) {
    if (!name.startsWith('sharedindex.')) continue;
    await copyFile(join(dirname(source), name), join(folder, name)).catch(ignoreMissing);
  }
  await copyFile(source, join(folder, basename('index')));
  await utimes(join(folder, 'index'), seconds, seconds);
}

function addFailure(stderr: string): CliFailure {
  const complaint =
    stderr.split('\n').find((line) => line.startsWith('error: ')) ?? stderr.split('\n')[0] ?? '';
  return new CliFailure(`The uncommitted changes cannot be read: ${complaint.replace(/^error: /, '')}`, {
    hint: 'Mend or ignore that file (.gitignore), or leave out --dirty.',
  });
}

async function* bundleBytes(shadow: Shadow): AsyncGenerator<Buffer> {
  const { git } = shadow;
  try {
    yield* git.stream(['bundle', 'create', '--quiet', '-', '--all'], inShadow(shadow));
  } catch (error) {
    if (!(error instanceof CliFailure) || !(await isPartial(shadow))) throw error;
    throw new CliFailure('The repository is a partial clone: objects of its history are not here.', {
      hint: 'Fetch them: git fetch --refetch --filter=blob:limit=1000g (or clone it again without --filter).',
      cause: error,
    });
  }
}

async function isPartial({ git, checkout }: Shadow): Promise<boolean> {
  const found = await git.run(['-C', checkout.top, 'config', '--get-regexp', '^remote\\..*\\.promisor$']);
  return found.status === 0;
}

/** Walks the tree that the sandbox will see, for what the caller would miss there. */
async function notesOn(shadow: Shadow, commit: string, dirty: boolean): Promise<string[]> {
  const { git } = shadow;
  const submodules: Buffer[] = [];
  const attributes: string[] = [];
  for await (const entry of splitNul(git.stream(['ls-tree', '-r', '-z', commit], inShadow(shadow)))) {
    const tab = entry.indexOf(0x09);
    const [mode, , object] = entry.subarray(0, tab).toString('latin1').split(' ');
    const name = entry.subarray(tab + 1);
    if (mode === '160000') submodules.push(Buffer.from(name));
    const base = name.subarray(name.lastIndexOf(0x2f) + 1).toString('latin1');
    if (base === '.gitattributes' && attributes.length < 1000) attributes.push(object!);
  }
  const notes: string[] = [];
  if (submodules.length > 0) notes.push(submoduleNote(submodules));
  if (await tracksLfs(shadow, attributes)) {
    notes.push('Git LFS files are uploaded as their pointers, not their content.');
  }
  if (!dirty && (await hasChanges(shadow))) {
    notes.push('Uncommitted changes are not uploaded; --dirty adds them.');
  }
  return notes;
}

function submoduleNote(names: readonly Buffer[]): string {
  const shown = names.slice(0, 5).map(escapeBytes).join(', ');
  const more = names.length > 5 ? ` and ${names.length - 5} more` : '';
  return `The content of submodules is not uploaded: ${shown}${more}.`;
}

async function tracksLfs(shadow: Shadow, attributes: readonly string[]): Promise<boolean> {
  if (attributes.length === 0) return false;
  const found = await shadow.git.must(['cat-file', '--batch'], {
    ...inShadow(shadow),
    input: Buffer.from(`${attributes.join('\n')}\n`),
  });
  return found.includes('filter=lfs');
}

/** Whether tracked files differ from HEAD. Reads only what the index cannot vouch for. */
async function hasChanges(shadow: Shadow): Promise<boolean> {
  const { git, checkout } = shadow;
  const work = inShadow(shadow, { GIT_WORK_TREE: checkout.top });
  const only = ['--ignore-submodules', '-q', '--refresh'];
  await git.run(['-C', checkout.top, 'update-index', ...only], work);
  const found = await git.run(
    ['-C', checkout.top, 'diff-index', '--quiet', '--ignore-submodules=all', checkout.head],
    work,
  );
  return found.status === 1;
}

/** The pieces between NUL bytes. */
export async function* splitNul(chunks: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
  let rest = Buffer.alloc(0);
  for await (const chunk of chunks) {
    rest = Buffer.concat([rest, chunk]);
    let start = 0;
    for (let end = rest.indexOf(0); end >= 0; end = rest.indexOf(0, start)) {
      yield rest.subarray(start, end);
      start = end + 1;
    }
    rest = rest.subarray(start);
  }
  if (rest.length > 0) yield rest;
}

/** A C-quoted string, as git reads it in configuration and alternates. */
function quoted(text: string): string {
  return `"${text.replaceAll('\\', '\\\\').replaceAll('"', '\\"').replaceAll('\n', '\\n')}"`;
}

function ignoreMissing(error: NodeJS.ErrnoException): undefined {
  if (error.code === 'ENOENT' || error.code === 'ENOTDIR') return undefined;
  throw error;
}
