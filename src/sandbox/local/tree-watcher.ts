import { existsSync, readFileSync, statfsSync, statSync } from 'node:fs';
import { systemClock } from '../../base/clock.ts';
import type { RunLimits } from '../../model/limits.ts';
import type { Overrun } from '../backend.ts';
import type { GroupUsage } from './cgroup/control-groups.ts';
import type { Beside } from './enforcement.ts';
import { startFile } from './launcher.ts';
import { localLimits } from './limits.ts';
import { descendantsOf, heldMemory, type TreeUsage, treeUsage } from './processes.ts';
import { unlinkedBytes } from './unlinked.ts';

/** The sandbox's folders in memory. */
const memoryFolders = ['/tmp', '/var/tmp', '/dev/shm'] as const;

/**
 * Takes the place of control groups for memory: sums a sandbox's processes and its files in memory at short
 * intervals. What it sees first is an upper bound, cheap to have; past the limit it asks what is held together.
 * Weaker than a group: what a program shares with itself and does not map any more is in no process's account.
 */
export class TreeWatcher {
  readonly #initPid: number;
  readonly #beside: Beside;
  readonly #limits: RunLimits;
  readonly #onOverrun: (overrun: Overrun) => void;
  #timer: NodeJS.Timeout | null = null;
  #stopped = false;
  #peak: GroupUsage = { cpuSeconds: 0, peakMemoryBytes: 0, peakPids: 0 };
  /** Files in memory that have no name, when last looked for, and the host's shared memory then. */
  #unlinked = 0;
  #hostShared = hostSharedBytes();

  constructor(initPid: number, beside: Beside, limits: RunLimits, onOverrun: (overrun: Overrun) => void) {
    this.#initPid = initPid;
    this.#beside = beside;
    this.#limits = limits;
    this.#onOverrun = onOverrun;
    void this.#watch();
  }

  usage(): GroupUsage {
    return this.#peak;
  }

  /** The rlimit on processes refuses silently; that it was reached is all there is to see. */
  reached(): Overrun | null {
    return this.#peak.peakPids >= this.#limits.pids ? 'pids' : null;
  }

  stop(): void {
    this.#stopped = true;
    if (this.#timer !== null) clearTimeout(this.#timer);
  }

  /** A look at many processes takes long: the next one waits in proportion, so that watching stays a small part. */
  async #watch(): Promise<void> {
    const started = systemClock.monotonic();
    // What cannot be measured cannot be held: the limit counts as overrun.
    const memoryBytes = await this.#memoryBytes().catch(() => Number.POSITIVE_INFINITY);
    if (this.#stopped) return;
    if (memoryBytes > this.#limits.memoryBytes) return this.#onOverrun('memory');
    const tookMs = systemClock.monotonic() - started;
    const waitMs = Math.max(localLimits.watchIntervalMs, tookMs * localLimits.watchRestShare);
    this.#timer = setTimeout(() => void this.#watch(), waitMs);
  }

  async #memoryBytes(): Promise<number> {
    const now = treeUsage(this.#initPid, ...this.#beside.roots());
    this.#holdProcesses(now.pids);
    const inFolders = this.#folderBytes();
    const hostShared = hostSharedBytes();
    const seen = now.residentBytes + inFolders + this.#unlinked;
    const unseen = Math.max(0, hostShared - this.#hostShared);
    if (seen + unseen <= this.#limits.memoryBytes) {
      this.#keepPeak(now, seen);
      return seen;
    }
    const pids = descendantsOf(this.#initPid, ...this.#beside.roots());
    this.#unlinked = await this.#unlinkedBytes(pids);
    this.#hostShared = hostShared;
    const { anonymous, shared } = heldMemory(pids);
    const held = anonymous + Math.max(shared, inFolders + this.#unlinked);
    this.#keepPeak(now, held);
    return held;
  }

  /**
   * The rlimit that every command has counts those beside it too, but the sandbox's own does not: that one may grow to
   * its limit whatever runs beside it, and they give way.
   */
  #holdProcesses(pids: number): void {
    const own = localLimits.ownProcesses * (1 + this.#beside.roots().length);
    if (pids > this.#limits.pids + own) this.#beside.kill();
  }

  #keepPeak({ cpuSeconds, pids }: TreeUsage, memoryBytes: number): void {
    this.#peak = {
      cpuSeconds: Math.max(this.#peak.cpuSeconds, cpuSeconds),
      peakMemoryBytes: Math.max(this.#peak.peakMemoryBytes, memoryBytes),
      peakPids: Math.max(this.#peak.peakPids, pids),
    };
  }

  #folderBytes(): number {
    return this.#inside(memoryFolders, (path) => {
      const { blocks, bfree, bsize } = statfsSync(path);
      return (blocks - bfree) * bsize;
    }).reduce((sum, bytes) => sum + bytes, 0);
  }

  /** Files of the sandbox's disk count there, files of its folders in memory are counted by those. */
  async #unlinkedBytes(pids: readonly number[]): Promise<number> {
    const elsewhere = new Set(
      this.#inside(['/workspace', '/home/agent', ...memoryFolders], (path) => statSync(path).dev),
    );
    let bytes = 0;
    for (const [device, held] of await unlinkedBytes(pids, process.getuid!()))
      if (!elsewhere.has(device)) bytes += held;
    return bytes;
  }

  /** Looks at the sandbox's own files; nothing before it has its root, until when it is still the host's, and once it has ended. */
  #inside<T>(paths: readonly string[], look: (path: string) => T): T[] {
    const root = `/proc/${this.#initPid}/root`;
    try {
      return existsSync(root + startFile) ? paths.map((path) => look(root + path)) : [];
    } catch {
      return [];
    }
  }
}

/** The host's shared memory, everybody's (proc_meminfo(5), Shmem): what is held in none of the sandbox's mappings shows here. */
function hostSharedBytes(): number {
  return Number(/^Shmem: +(\d+) kB$/m.exec(readFileSync('/proc/meminfo', 'utf8'))?.[1] ?? 0) * 1024;
}
