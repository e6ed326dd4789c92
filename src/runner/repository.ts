import assert from 'node:assert/strict';
import type { RepoRemote } from '../contract/runner.ts';
import { isCommitId } from '../model/git-ref.ts';
import { parseRepositoryUrl, type RepositoryUrl } from '../model/repository-url.ts';
import type { Mount, SandboxRequest } from '../sandbox/backend.ts';

/** What a sandbox is to do, with whom left open. */
export type Task = Pick<SandboxRequest, 'command' | 'env' | 'cwd' | 'mounts'>;

/**
 * What git does with a workspace, always inside a sandbox: bundles, remotes, trees and the workspace's own `.git`
 * are hostile input. The objects live in a repository beside the workspace that workloads see read-only and borrow
 * from, so the change is always told against what was uploaded or cloned, whatever a run does to `.git`.
 */
const places = {
  base: '/sealwright/base',
  upload: '/sealwright/upload',
  scratch: '/sealwright/scratch',
} as const;

const knownHostsFile = '/tmp/known_hosts';

const gitEnvironment: Readonly<Record<string, string>> = {
  PATH: '/usr/bin:/bin',
  HOME: '/tmp',
  LC_ALL: 'C.UTF-8',
  GIT_CONFIG_NOSYSTEM: '1',
  GIT_CONFIG_GLOBAL: '/dev/null',
  GIT_TERMINAL_PROMPT: '0',
  GIT_ADVICE: '0',
};

/**
 * The second half of an import. The base repository has every object; `$format`, `$head`, and perhaps `$branch` (its
 * full name) and `$dirty` (a commit on top of the head) say what of it the workspace is to be.
 */
const makeWorkspace = `
export GIT_DIR=${places.base} GIT_WORK_TREE=/workspace
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
 * Makes the workspace from a bundle with `HEAD`, perhaps a branch that is there, and perhaps
 * `refs/sealwright/dirty`, the uncommitted changes as a commit on top. Prints nothing.
 */
const importScript = `
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
${makeWorkspace}`;

/**
 * Makes the workspace from a remote: the URL, a branch or tag or nothing, a commit id or nothing, and the lines of
 * `known_hosts`. One ref with its whole history, fetched once; submodules stay where they are. Prints nothing.
 */
const cloneScript = `
set -eu
trap '' XFSZ # git then says that a file grew too large, where it would end without a word
url=$1 ref=$2 commit=$3 dirty=
printf '%s\\n' "$4" > ${knownHostsFile}
if [ -n "$commit" ]; then
  format=sha1
  [ \${#commit} -eq 40 ] || format=sha256
  git init --quiet --bare --template= --object-format="$format" ${places.base}
  git --git-dir=${places.base} fetch --quiet --no-tags -- "$url" "$commit"
else
  git clone --quiet --bare --single-branch --no-tags --template= \${ref:+"--branch=$ref"} -- "$url" ${places.base}
fi
export GIT_DIR=${places.base}
git config core.bare false
format=$(git rev-parse --show-object-format)
branch=
[ -n "$commit" ] || branch=$(git symbolic-ref --quiet HEAD) || branch=
case $branch in refs/heads/*) ;; *) branch= ;; esac
head=$(git rev-parse --quiet --verify "\${commit:-HEAD}^{commit}") || { echo 'the repository has no commit yet' >&2; exit 1; }
${makeWorkspace}
git config remote.origin.url "$url"
git config remote.origin.fetch '+refs/heads/*:refs/remotes/origin/*'
[ -n "$branch" ] || exit 0
name=\${branch#refs/heads/}
git update-ref "refs/remotes/origin/$name" "$head"
git config "branch.$name.remote" origin
git config "branch.$name.merge" "$branch"
`;

/** No key, agent, password or setting but what is said here; a host that is not known is not asked anything. */
const sshCommand = [
  ...['ssh', '-F', '/dev/null'],
  ...[
    'BatchMode=yes',
    'StrictHostKeyChecking=yes',
    `UserKnownHostsFile=${knownHostsFile}`,
    'GlobalKnownHostsFile=/dev/null',
    'UpdateHostKeys=no',
    'CheckHostIP=no',
    'IdentityAgent=none',
    'IdentityFile=none',
    'ForwardAgent=no',
    'LogLevel=ERROR',
  ].flatMap((option) => ['-o', option]),
].join(' ');

function settingsOf(settings: Readonly<Record<string, string>>): Record<string, string> {
  const entries = Object.entries(settings);
  const words = entries.flatMap(([key, value], index) => [
    [`GIT_CONFIG_KEY_${index}`, key],
    [`GIT_CONFIG_VALUE_${index}`, value],
  ]);
  return { GIT_CONFIG_COUNT: String(entries.length), ...Object.fromEntries(words) };
}

/** Of an order, whose URL was parsed as one when it came. */
export function remoteUrl({ url }: RepoRemote): RepositoryUrl {
  const parsed = parseRepositoryUrl(url);
  assert('url' in parsed);
  return parsed.url;
}

/** As `known_hosts` names a host (sshd(8)): in brackets with its port where that is another than 22. */
function knownHostName(url: RepositoryUrl): string {
  return url.port === 22 ? url.host : `[${url.host}]:${url.port}`;
}

/**
 * Prints the patch from what was uploaded to the workspace as it is; exits with 3 when part of it could not be
 * read. The copied index keeps its time: git reads a file again when it was written in the second of the index,
 * so no change of the same size can hide in that second (git's "racy git" note).
 */
const diffScript = `
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

/** Makes the workspace from an upload, which is a file of the host. */
export function importTask(paths: SessionPaths & { readonly upload: string }): Task {
  const upload = { source: paths.upload, target: places.upload, writable: false };
  return scriptTask(importScript, [...importMounts(paths), upload]);
}

/** Makes the workspace from a remote: git speaks the URL's own protocol and no other. */
export function cloneTask(paths: SessionPaths, remote: RepoRemote): Task {
  const { url, ref, hostKeys } = remote;
  const parsed = remoteUrl(remote);
  const [name, commit] = ref !== null && isCommitId(ref) ? ['', ref] : [ref ?? '', ''];
  const knownHosts = hostKeys.map((key) => `${knownHostName(parsed)} ${key}`).join('\n');
  const { command, env, ...task } = scriptTask(cloneScript, importMounts(paths));
  return {
    ...task,
    command: [...command, 'sealwright', url, name, commit, knownHosts],
    env: {
      ...env,
      GIT_ALLOW_PROTOCOL: parsed.scheme,
      GIT_SSH_COMMAND: sshCommand,
      GIT_SSH_VARIANT: 'ssh',
      ...settingsOf({ 'core.hooksPath': '/dev/null', 'gc.auto': '0', 'maintenance.auto': 'false' }),
    },
  };
}

/** Prints the patch of the session's change. */
export function diffTask(paths: SessionPaths): Task {
  return scriptTask(diffScript, [
    { source: paths.workspace, target: '/workspace', writable: false },
    { source: paths.base, target: places.base, writable: false },
    { source: paths.scratch, target: places.scratch, writable: true },
  ]);
}

function scriptTask(script: string, mounts: readonly Mount[]): Task {
  return { command: ['/usr/bin/dash', '-c', script], env: gitEnvironment, cwd: '/', mounts };
}

function importMounts(paths: SessionPaths): Mount[] {
  return [
    { source: paths.workspace, target: '/workspace', writable: true },
    { source: paths.base, target: places.base, writable: true },
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
