import type { Mount } from '../sandbox/backend.ts';

/**
 * What git does with a workspace, always inside a sandbox: bundles, trees and the workspace's own `.git` are
 * hostile input. The uploaded objects live in a repository beside the workspace that workloads see read-only
 * and borrow from, so the change is always told against what was uploaded, whatever a run does to `.git`.
 */
const places = {
  base: '/sealwright/base',
  upload: '/sealwright/upload',
  scratch: '/sealwright/scratch',
} as const;

export const gitEnvironment: Readonly<Record<string, string>> = {
  PATH: '/usr/bin:/bin',
  HOME: '/tmp',
  LC_ALL: 'C.UTF-8',
  GIT_CONFIG_NOSYSTEM: '1',
  GIT_CONFIG_GLOBAL: '/dev/null',
  GIT_TERMINAL_PROMPT: '0',
  GIT_ADVICE: '0',
};

/**
 * Makes the workspace from a bundle with `HEAD`, perhaps a branch that is there, and perhaps
 * `refs/sealwright/dirty`, the uncommitted changes as a commit on top. Prints nothing.
 */
export const importScript = `
set -eu
format=sha1
while IFS= read -r line; do
  case $line in @object-format=*) format=\${line#*=} ;; '#'*|@*|-*) ;; *) break ;; esac
done < ${places.upload}
export GIT_DIR=${places.base} GIT_WORK_TREE=/workspace
git init --quiet --template= --object-format="$format"
[ ! -s ${places.scratch}/shallow ] || cp ${places.scratch}/shallow "$GIT_DIR/shallow"
git bundle unbundle ${places.upload} > /tmp/refs
head= dirty= branch=
while read -r oid ref; do
  case $ref in HEAD) head=$oid ;; refs/sealwright/dirty) dirty=$oid ;; refs/heads/*) branch=$ref ;; esac
done < /tmp/refs
[ -n "$head" ] || { echo 'the upload names no HEAD' >&2; exit 1; }
git update-ref refs/sealwright/base "\${dirty:-$head}"
git symbolic-ref HEAD refs/sealwright/base
cd /workspace
git reset --quiet --hard
unset GIT_DIR GIT_WORK_TREE
git init --quiet --template= --object-format="$format"
mkdir -p .git/info .git/objects/info
echo ${places.base}/objects > .git/objects/info/alternates
[ ! -e ${places.base}/shallow ] || cp ${places.base}/shallow .git/shallow
if [ -n "$branch" ]; then
  git update-ref "$branch" "$head"
  git symbolic-ref HEAD "$branch"
else
  git update-ref --no-deref HEAD "$head"
fi
if [ -n "$dirty" ]; then git reset --quiet || true; else cp -p ${places.base}/index .git/index; fi
git config user.name agent
git config user.email agent@sandbox.invalid
`;

/**
 * Prints the patch from what was uploaded to the workspace as it is; exits with 3 when part of it could not be
 * read. The copied index keeps its time: git reads a file again when it was written in the second of the index,
 * so no change of the same size can hide in that second (git's "racy git" note).
 */
export const diffScript = `
set -eu
cp -p ${places.base}/index ${places.scratch}/index
mkdir -p ${places.scratch}/objects
export GIT_DIR=${places.base} GIT_WORK_TREE=/workspace GIT_INDEX_FILE=${places.scratch}/index
export GIT_OBJECT_DIRECTORY=${places.scratch}/objects GIT_ALTERNATE_OBJECT_DIRECTORIES=${places.base}/objects
cd /workspace
status=0
git add --all --ignore-errors . || status=3
git diff --cached --binary --full-index --no-color --no-ext-diff --no-textconv --no-renames \\
  --ignore-submodules=all refs/sealwright/base
exit $status
`;

type SessionPaths = { readonly workspace: string; readonly base: string; readonly scratch: string };

export function importMounts(paths: SessionPaths & { readonly upload: string }): Mount[] {
  return [
    { source: paths.workspace, target: '/workspace', writable: true },
    { source: paths.base, target: places.base, writable: true },
    { source: paths.scratch, target: places.scratch, writable: true },
    { source: paths.upload, target: places.upload, writable: false },
  ];
}

export function diffMounts(paths: SessionPaths): Mount[] {
  return [
    { source: paths.workspace, target: '/workspace', writable: false },
    { source: paths.base, target: places.base, writable: false },
    { source: paths.scratch, target: places.scratch, writable: true },
  ];
}

export function runMounts(paths: {
  readonly workspace: string;
  readonly home: string;
  readonly base: string | null;
}): Mount[] {
  const mounts: Mount[] = [
    { source: paths.workspace, target: '/workspace', writable: true },
    { source: paths.home, target: '/home/agent', writable: true },
  ];
  if (paths.base !== null) mounts.push({ source: paths.base, target: places.base, writable: false });
  return mounts;
}
