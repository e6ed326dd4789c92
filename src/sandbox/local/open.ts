import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { text } from 'node:stream/consumers';
import type { Clock } from '../../base/clock.ts';
import { keepDescriptorsFromChildren } from '../../base/libc.ts';
import { Fault } from '../../contract/faults.ts';
import { defaultRunLimits } from '../../model/limits.ts';
import type { Backend } from '../backend.ts';
import type { Gateway } from '../gateway.ts';
import { trustFolder } from '../trust.ts';
import { systemView } from './bubblewrap.ts';
import { openControlGroups } from './cgroup/open.ts';
import { meansOf } from './enforcement.ts';
import { makeEtc } from './etc.ts';
import { LocalBackend } from './local-backend.ts';
import { NamespaceMaker } from './namespaces.ts';
import { compileSeccomp } from './seccomp/compile.ts';
import { TrustFolders } from './trust-folders.ts';

export type LocalOptions = {
  /** A folder of the runner's own, readable by the uids of sessions; made files are kept here. */
  readonly folder: string;
  /** Tells this instance's control groups from those of others on the host. */
  readonly instance: string;
  readonly mode: 'root' | 'user';
  /** A uid that a first, empty sandbox is tried with. */
  readonly probeUid: number | null;
  readonly workerUrl: URL;
  /** Where sandboxes find their way out; null for none. */
  readonly gateway: Gateway | null;
  readonly clock: Clock;
  /** The program that makes sandboxes; the machine's own where absent. */
  readonly bubblewrap?: string;
};

/**
 * Opens the backend and proves it: a first sandbox is made, its walls are confirmed from inside and it is
 * taken down. Throws Fault `sandbox.unavailable` that names what this machine lacks and the fix.
 */
export async function openLocalBackend(options: LocalOptions): Promise<Backend> {
  keepDescriptorsFromChildren();
  const bubblewrap = options.bubblewrap ?? findProgram('bwrap', 'bubblewrap');
  findProgram('nsenter', 'util-linux');
  findProgram('dash', 'dash');
  mkdirSync(options.folder, { recursive: true });
  const etc = join(options.folder, 'etc');
  makeEtc(etc);
  const seccompFile = join(options.folder, 'seccomp.bpf');
  const groups = openControlGroups(options.instance);
  const affinity = meansOf(groups).cpus === 'affinity' ? 'held' : 'free';
  writeFileSync(seccompFile, compileSeccomp(architecture(), affinity), { mode: 0o644 });
  groups?.sweep();
  const namespaces = new NamespaceMaker(options.workerUrl);
  const { gateway, clock } = options;
  const trust = new TrustFolders(join(options.folder, 'trust'), join(etc, basename(trustFolder)));
  const preparation = { bubblewrap, seccompFile, groups, namespaces, gateway, trust, clock };
  const backend = new LocalBackend({ mode: options.mode, system: systemView(etc), preparation });
  try {
    await tryBackend(backend, options.probeUid);
  } catch (error) {
    await backend.close();
    throw error;
  }
  return backend;
}

async function tryBackend(backend: Backend, uid: number | null): Promise<void> {
  const sandbox = await backend.create({
    uid,
    command: ['echo', 'walls stand'],
    env: { PATH: '/usr/bin:/bin' },
    cwd: '/',
    mounts: [],
    limits: { ...defaultRunLimits, timeoutSeconds: 10 },
    strict: false,
    diskFolders: [],
    egress: null,
    terminal: null,
  });
  const [said, complaint] = await Promise.all([text(sandbox.stdout), text(sandbox.stderr)]);
  const end = await sandbox.ended;
  if (said === 'walls stand\n' && end.status === 0) return;
  throw new Fault('sandbox.unavailable', {
    detail: `A first sandbox failed (status ${end.status}): ${complaint.slice(0, 300)}`,
  });
}

function findProgram(program: string, debianPackage: string): string {
  const path = ['/usr/bin', '/bin', '/usr/local/bin']
    .map((folder) => join(folder, program))
    .find((file) => existsSync(file));
  if (path !== undefined) return path;
  throw new Fault('sandbox.unavailable', {
    detail: `The program ${program} is missing: apt-get install ${debianPackage}`,
  });
}

function architecture(): 'x64' | 'arm64' {
  if (process.arch === 'x64' || process.arch === 'arm64') return process.arch;
  throw new Fault('sandbox.unavailable', {
    detail: `Sandboxes need an x64 or arm64 machine; this one is ${process.arch}.`,
  });
}
