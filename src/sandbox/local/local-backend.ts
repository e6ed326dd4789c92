import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync } from 'node:fs';
import { killProcess } from '../../base/libc.ts';
import { Fault } from '../../contract/faults.ts';
import type { HeldBy, LimitMeans } from '../../model/limits.ts';
import type { Backend, Overrun, Sandbox, SandboxEnd, SandboxRequest } from '../backend.ts';
import type { ControlGroups } from './cgroup/control-groups.ts';
import { type Enforcement, enforce, meansOf } from './enforcement.ts';
import type { NamespacePool } from './namespaces.ts';
import { startWorkload, type Workload, type Workshop } from './workload.ts';

const weakMeans: ReadonlySet<LimitMeans> = new Set(['watcher', 'rlimit', 'affinity']);

/**
 * Sandboxes on this host: a network namespace in which every address is local, bubblewrap's other namespaces,
 * seccomp, and control groups or what takes their place (DESIGN §6).
 */
export class LocalBackend implements Backend {
  readonly name = 'local';
  readonly mode: 'root' | 'user';
  readonly heldBy: HeldBy;
  readonly #workshop: Workshop;
  readonly #groups: ControlGroups | null;
  readonly #namespaces: NamespacePool;
  readonly #live = new Set<Sandbox>();

  constructor(parts: { workshop: Workshop; groups: ControlGroups | null; namespaces: NamespacePool }) {
    this.mode = parts.workshop.mode;
    this.heldBy = meansOf(parts.groups);
    this.#workshop = parts.workshop;
    this.#groups = parts.groups;
    this.#namespaces = parts.namespaces;
  }

  async create(request: SandboxRequest): Promise<Sandbox> {
    if (request.strict) this.#refuseWeakMeans();
    const namespaceFd = await this.#namespaces.take().catch((error: unknown) => {
      throw new Fault('sandbox.unavailable', {
        detail: 'No network namespace could be made. Run `sealwright doctor`.',
        cause: error,
      });
    });
    let workload: Workload;
    try {
      workload = await startWorkload(this.#workshop, request, namespaceFd);
    } finally {
      closeSync(namespaceFd);
    }
    return await this.#confine(request, workload);
  }

  async close(): Promise<void> {
    const live = [...this.#live];
    for (const sandbox of live) sandbox.kill();
    await Promise.all(live.map((sandbox) => sandbox.ended));
    await this.#namespaces.close();
  }

  async #confine(request: SandboxRequest, workload: Workload): Promise<Sandbox> {
    let enforcement: Enforcement | null = null;
    const exited = once(workload.process, 'exit');
    try {
      enforcement = enforce(this.#groups, request, workload.initPid, () => killWorkload(workload));
      await workload.release();
    } catch (error) {
      killWorkload(workload);
      await exited;
      await enforcement?.release();
      closeDescriptors(workload);
      for (const stream of [workload.stdout, workload.stderr]) stream.destroy();
      if (error instanceof Fault) throw error;
      throw new Fault('sandbox.unavailable', {
        detail: 'The limits of the sandbox could not be set. Run `sealwright doctor`.',
        cause: error,
      });
    }
    const sandbox = this.#sandbox(workload, enforcement, exited);
    this.#live.add(sandbox);
    sandbox.ended.finally(() => this.#live.delete(sandbox));
    return sandbox;
  }

  #sandbox(workload: Workload, enforcement: Enforcement, exited: Promise<unknown[]>): Sandbox {
    const kill = () => killWorkload(workload);
    let grace: NodeJS.Timeout | null = null;
    return {
      heldBy: this.heldBy,
      stdout: workload.stdout,
      stderr: workload.stderr,
      kill,
      stop: (graceMs) => {
        if (grace !== null) return;
        grace = setTimeout(kill, graceMs);
        terminateInside(workload.pidNamespaceFd);
      },
      ended: exited.then(async ([code]) => {
        if (grace !== null) clearTimeout(grace);
        return await this.#finish(workload, enforcement, code as number | null);
      }),
    };
  }

  async #finish(workload: Workload, enforcement: Enforcement, code: number | null): Promise<SandboxEnd> {
    closeDescriptors(workload);
    const overrun: Overrun | null = enforcement.overrun();
    const usage = await enforcement
      .usage()
      .catch(() => ({ cpuSeconds: 0, peakMemoryBytes: 0, peakPids: 0, diskBytes: 0 }));
    await enforcement.release().catch(() => undefined);
    return { status: code ?? 137, overrun, usage };
  }

  #refuseWeakMeans(): void {
    const weak = Object.entries(this.heldBy).filter(([, means]) => weakMeans.has(means));
    if (weak.length === 0) return;
    const list = weak.map(([limit, means]) => `${limit} (${means})`).join(', ');
    throw new Fault('sandbox.unavailable', {
      detail: `The run is strict, and here these limits are held by weaker means: ${list}. Run \`sealwright doctor\`.`,
    });
  }
}

/** Ends the PID namespace through its first process, and bubblewrap's outer process with it. */
function killWorkload(workload: Workload): void {
  if (workload.process.exitCode !== null || workload.process.signalCode !== null) return;
  killProcess(workload.initFd);
}

function closeDescriptors(workload: Workload): void {
  closeSync(workload.initFd);
  closeSync(workload.pidNamespaceFd);
}

/**
 * SIGTERM to everything in a PID namespace but its first process. The namespace is entered by the file
 * descriptor that was checked when the sandbox was made, so no number can come to mean a process of the host.
 */
function terminateInside(pidNamespaceFd: number): void {
  const words = [`--pid=/proc/${process.pid}/fd/${pidNamespaceFd}`, '--', '/bin/sh', '-c', 'kill -TERM -1'];
  spawn('/usr/bin/nsenter', words, { env: {}, cwd: '/', stdio: 'ignore', shell: false }).on(
    'error',
    () => undefined,
  );
}
