import { closeSync, fstatSync } from 'node:fs';
import { hasEnded, signalProcess } from '../../base/libc.ts';
import { Fault } from '../../contract/faults.ts';
import type { HeldBy, LimitMeans } from '../../model/limits.ts';
import type { Backend, Sandbox, SandboxEnd, SandboxRequest } from '../backend.ts';
import type { PseudoTerminal } from '../terminal.ts';
import type { SystemView } from './bubblewrap.ts';
import { removeWhenEmpty } from './cgroup/remove.ts';
import { type Enforcement, enforce, meansOf } from './enforcement.ts';
import { Execs } from './execs.ts';
import { localLimits } from './limits.ts';
import { type Preparation, prepareStart } from './prepared.ts';
import { PreparedPool } from './prepared-pool.ts';
import { childrenOf, descendantsOf, signalMember } from './processes.ts';
import { startWorkload, type Workload } from './workload.ts';

const weakMeans: ReadonlySet<LimitMeans> = new Set(['watcher', 'rlimit', 'affinity']);

/**
 * Sandboxes on this host: a network namespace in which every address is local, bubblewrap's other namespaces,
 * seccomp, and control groups or what takes their place (DESIGN §6).
 */
export class LocalBackend implements Backend {
  readonly name = 'local';
  readonly mode: 'root' | 'user';
  readonly heldBy: HeldBy;
  readonly #system: SystemView;
  readonly #preparation: Preparation;
  readonly #pool: PreparedPool;
  readonly #live = new Set<Sandbox>();

  constructor(parts: { mode: 'root' | 'user'; system: SystemView; preparation: Preparation }) {
    this.mode = parts.mode;
    this.heldBy = meansOf(parts.preparation.groups);
    this.#system = parts.system;
    this.#preparation = parts.preparation;
    this.#pool = new PreparedPool(() => prepareStart(parts.preparation), localLimits.preparedStarts);
  }

  async create(request: SandboxRequest): Promise<Sandbox> {
    if (request.strict) this.#refuseWeakMeans();
    const prepared = await this.#pool.take().catch((error: unknown) => {
      if (error instanceof Fault) throw error;
      const why = error instanceof Error ? error.message : String(error);
      throw new Fault('sandbox.unavailable', {
        detail: `No sandbox can be prepared here (${why}). Run \`sealwright doctor\`.`,
        cause: error,
      });
    });
    return await this.#confine(request, await startWorkload(this.#system, request, prepared));
  }

  async close(): Promise<void> {
    const live = [...this.#live];
    for (const sandbox of live) sandbox.kill();
    await Promise.all(live.map((sandbox) => sandbox.ended));
    await this.#pool.close();
    await this.#preparation.namespaces.close();
    this.#preparation.groups?.close();
  }

  async #confine(request: SandboxRequest, workload: Workload): Promise<Sandbox> {
    let enforcement: Enforcement | null = null;
    let terminal: PseudoTerminal | null;
    const execs = new Execs();
    try {
      const kill = () => killWorkload(workload);
      enforcement = enforce(workload.prepared.group, request, workload.initPid, execs, kill);
      if (request.egress !== null)
        await workload.prepared.network.admit(request.egress.run, request.egress.policy);
      terminal = await workload.release();
    } catch (error) {
      killWorkload(workload);
      enforcement?.stop();
      await workload.prepared.discard();
      closeDescriptors(workload);
      if (error instanceof Fault) throw error;
      throw new Fault('sandbox.unavailable', {
        detail: 'The limits of the sandbox could not be set. Run `sealwright doctor`.',
        cause: error,
      });
    }
    const sandbox = this.#sandbox(request, { workload, enforcement, execs, terminal });
    this.#live.add(sandbox);
    sandbox.ended.finally(() => this.#live.delete(sandbox));
    return sandbox;
  }

  #sandbox({ egress, uid }: SandboxRequest, { workload, enforcement, execs, terminal }: Confined): Sandbox {
    const { bubblewrap, seccompFile } = this.#preparation;
    const networkFd = workload.prepared.network.namespaceFd;
    const { include } = enforcement;
    const home = { ...workload, bubblewrap, seccompFile, uid, networkFd, include };
    const { stdout, stderr, exited, network } = workload.prepared;
    const kill = () => killWorkload(workload);
    let grace: NodeJS.Timeout | null = null;
    return {
      heldBy: this.heldBy,
      terminal,
      stdout,
      stderr,
      kill,
      stop: (graceMs) => {
        if (grace !== null) return;
        grace = setTimeout(kill, graceMs);
        terminateInside(workload, execs);
      },
      changeEgress: async (policy) => {
        if (egress !== null) await network.admit(egress.run, policy);
      },
      exec: (asked) => execs.start(home, asked),
      connect: (port) => network.connect(port),
      ended: exited.then(async (code) => {
        if (grace !== null) clearTimeout(grace);
        return await finish(workload, enforcement, execs, code);
      }),
    };
  }

  /** Disk and time have but one means here (decision 7), so they are not asked. */
  #refuseWeakMeans(): void {
    const { cpus, memory, pids } = this.heldBy;
    const weak = Object.entries({ cpus, memory, pids }).filter(([, means]) => weakMeans.has(means));
    if (weak.length === 0) return;
    const list = weak.map(([limit, means]) => `${limit} (${means})`).join(', ');
    throw new Fault('sandbox.unavailable', {
      detail: `The run is strict, and here these limits are held by weaker means: ${list}. Run \`sealwright doctor\`.`,
    });
  }
}

/** What a confirmed sandbox is made of. */
type Confined = {
  readonly workload: Workload;
  readonly enforcement: Enforcement;
  readonly execs: Execs;
  readonly terminal: PseudoTerminal | null;
};

async function finish(
  workload: Workload,
  enforcement: Enforcement,
  execs: Execs,
  code: number | null,
): Promise<SandboxEnd> {
  enforcement.stop();
  await untilEmpty(workload.initFd);
  await execs.close();
  closeDescriptors(workload);
  await Promise.all([workload.prepared.network.close(), workload.prepared.trust.remove()]);
  const overrun = enforcement.overrun();
  const usage = await enforcement
    .usage()
    .catch(() => ({ cpuSeconds: 0, peakMemoryBytes: 0, peakPids: 0, diskBytes: 0 }));
  const { group } = workload.prepared;
  if (group !== null) await removeWhenEmpty(group).catch(() => undefined);
  return { status: code ?? 137, overrun, usage };
}

/** Ends the PID namespace through its first process, and bubblewrap's outer process with it. */
function killWorkload(workload: Workload): void {
  if (!workload.prepared.alive()) return;
  signalProcess(workload.initFd, 'SIGKILL');
}

/**
 * bubblewrap's outer process ends with the command; what the command left behind is killed then and may take a
 * while to die. The first process of a PID namespace ends last (pid_namespaces(7)).
 */
async function untilEmpty(initFd: number): Promise<void> {
  signalProcess(initFd, 'SIGKILL');
  for (let waitMs = 1; !hasEnded(initFd); waitMs = Math.min(waitMs * 2, localLimits.emptyPollMs)) {
    await new Promise((resolve) => setTimeout(resolve, waitMs));
  }
}

function closeDescriptors(workload: Workload): void {
  closeSync(workload.initFd);
  closeSync(workload.pidNamespaceFd);
}

/**
 * SIGTERM to everything in a PID namespace but its first process. Sent from here, because a process that enters
 * the namespace to send it could be stopped by the workload, which has the same uid for an ordinary user, and
 * the namespace would wait for that process for ever.
 */
function terminateInside({ initPid, pidNamespaceFd }: Workload, execs: Execs): void {
  const namespace = fstatSync(pidNamespaceFd).ino;
  // What is between a command beside and the outside is bubblewrap's, like the first process.
  const bubblewraps = execs.roots().flatMap(childrenOf);
  for (const pid of descendantsOf(initPid, ...bubblewraps)) signalMember(pid, namespace, 'SIGTERM');
}
