import { foldComponent, namesGitFolder, type RiskyKind, riskOfPath } from '../model/risky-paths.ts';
import { escapeBytes } from './escape.ts';
import { type FileChange, PatchRefused } from './patch.ts';

/** A path as text for rules about names; bytes that are not UTF-8 become replacement characters. */
export function nameOf(path: string): string {
  return Buffer.from(path, 'latin1').toString('utf8');
}

/** A path for people: safe to print, one line. */
export function showPath(path: string): string {
  return escapeBytes(Buffer.from(path, 'latin1'));
}

/**
 * Refuses a patch that reaches outside the checkout or into its git folder by the names alone: absolute paths,
 * `..`, `.git` in any spelling a file system could take for it, paths below a symbolic link that the patch
 * itself makes, submodules. Throws PatchRefused. Links that are already in the checkout are for the caller to check.
 */
export function guardPaths(changes: readonly FileChange[], platform: NodeJS.Platform): void {
  for (const change of changes) {
    for (const path of new Set([change.from, change.path])) guardPath(path, platform);
    if (change.oldMode === '160000' || change.newMode === '160000') {
      throw new PatchRefused(
        `The patch changes the submodule ${showPath(change.path)}; change it in its own repository.`,
      );
    }
  }
  guardOverlaps(changes);
}

function guardPath(path: string, platform: NodeJS.Platform): void {
  const refuse = (why: string) => new PatchRefused(`The patch touches ${showPath(path)}, which ${why}.`);
  if (path.startsWith('/')) throw refuse('is an absolute path');
  if (path.includes('\0')) throw refuse('holds a NUL');
  const components = path.split('/');
  if (components.includes('..')) throw refuse('leaves the checkout');
  if (components.some((component) => component === '' || component === '.'))
    throw refuse('is not a plain path');
  if (platform === 'win32' && /[\\:]/.test(path)) throw refuse('is no file name here');
  if (namesGitFolder(nameOf(path))) throw refuse('is inside a git folder');
}

/** No file is touched twice, and none lies below one that is (or becomes) a file or a link. */
function guardOverlaps(changes: readonly FileChange[]): void {
  const made = new Set<string>();
  for (const { kind, path } of changes) {
    if (kind === 'delete') continue;
    const key = foldPath(path);
    if (made.has(key)) throw new PatchRefused(`The patch makes ${showPath(path)} more than once.`);
    made.add(key);
  }
  for (const { kind, path } of changes) {
    const components = foldPath(path).split('/');
    for (let end = 1; end < components.length; end += 1) {
      if (kind !== 'delete' && made.has(components.slice(0, end).join('/'))) {
        throw new PatchRefused(`The patch makes ${showPath(path)} below another file or link that it makes.`);
      }
    }
  }
}

function foldPath(path: string): string {
  return nameOf(path).split('/').map(foldComponent).join('/');
}

/** Why a change is asked for by name. */
export type Concern = { readonly path: string; readonly kind: string; readonly because: string };

/** What of a patch could run code on the caller's machine, by names and modes. Each path at most once. */
export function concernsOf(changes: readonly FileChange[]): Concern[] {
  const concerns: Concern[] = [];
  for (const change of changes) {
    const risk = riskOf(change);
    if (risk !== null) concerns.push({ path: change.path, kind: risk.kind, because: risk.because });
  }
  return concerns;
}

/** A deletion is a concern too: without its `.npmrc` or hook a project may run something else. */
function riskOf(change: FileChange): Pick<RiskyKind, 'kind' | 'because'> | null {
  const named = riskOfPath(nameOf(change.path)) ?? riskOfPath(nameOf(change.from));
  if (named !== null) return named;
  if (change.newMode === '100755' && change.oldMode !== '100755') {
    return { kind: 'newly executable file', because: 'it can be started by its name' };
  }
  return null;
}
