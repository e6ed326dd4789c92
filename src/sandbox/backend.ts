import type { Socket } from 'node:net';
import type { Readable } from 'node:stream';
import type { EgressPolicy } from '../model/egress.ts';
import type { RunId } from '../model/ids.ts';
import type { HeldBy, RunLimits, Usage } from '../model/limits.ts';
import type { TerminalSize } from '../model/terminal.ts';
import type { ExecRequest, PseudoTerminal, SandboxExec } from './terminal.ts';

/** A folder of the host that the sandbox sees. Everything else of the host is read-only system files or absent. */
export type Mount = { readonly source: string; readonly target: string; readonly writable: boolean };

export type SandboxRequest = {
  /** Whose files the sandbox works on; the host's uid for a session, or null where only one uid can be had. */
  readonly uid: number | null;
  readonly command: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  /** Absolute, in the sandbox. */
  readonly cwd: string;
  readonly mounts: readonly Mount[];
  readonly limits: RunLimits;
  /** Refuses a watcher, an rlimit or an affinity as the means that hold memory, processes or CPU. */
  readonly strict: boolean;
  /** Host folders whose bytes together count against `limits.diskBytes`. */
  readonly diskFolders: readonly string[];
  /** Whose flows they are and what it may reach; null for no network at all. */
  readonly egress: { readonly run: RunId; readonly policy: EgressPolicy } | null;
  /** A terminal of this size for the command; null for output by pipes and no input. */
  readonly terminal: TerminalSize | null;
};

/** Which limit ended a sandbox, when one did. */
export type Overrun = 'memory' | 'pids' | 'disk' | 'time';

export type SandboxEnd = {
  /** The command's status byte: 128 + n after a death by signal n. */
  readonly status: number;
  readonly overrun: Overrun | null;
  readonly usage: Omit<Usage, 'outputBytes'>;
};

/**
 * A live sandbox. Its walls stand and were confirmed from inside; the command starts as the promise that
 * made it resolves. `ended` settles once every process of it is gone and its namespaces, mounts and control
 * groups with them; it never rejects.
 */
export type Sandbox = {
  readonly heldBy: HeldBy;
  /** The command's, where it was asked for; then `stdout` and `stderr` are empty. */
  readonly terminal: PseudoTerminal | null;
  readonly stdout: Readable;
  readonly stderr: Readable;
  readonly ended: Promise<SandboxEnd>;
  /** SIGTERM to every process inside, then SIGKILL to all after `graceMs`. */
  stop(graceMs: number): void;
  /** SIGKILL to every process inside, at once. */
  kill(): void;
  /** What it may reach from when this resolves on; what is open and no longer allowed is cut. */
  changeEgress(policy: EgressPolicy): Promise<void>;
  /**
   * Starts another command in it, behind the same walls, each confirmed from inside before the promise resolves, and within
   * the same limits; nothing of the request is added to. Rejects with Fault `sandbox.unavailable` that names what could
   * not be set up, and with `state.conflict` where the sandbox has ended, has no room for it, or has no folder `cwd`: nothing
   * of it runs then, nothing is left behind, and the sandbox goes on.
   */
  exec(request: ExecRequest): Promise<SandboxExec>;
  /** A connection to what listens at a TCP port of its loopback. Rejects with `state.conflict` where nobody does. */
  connect(port: number): Promise<Socket>;
};

/** Makes sandboxes. One implementation a folder. */
export type Backend = {
  readonly name: string;
  readonly mode: 'root' | 'user';
  /** What would hold each limit of a run now. */
  readonly heldBy: HeldBy;
  /**
   * Resolves when the walls are confirmed and the command is started. Rejects with Fault
   * `sandbox.unavailable`, naming the wall, when any of them could not be set up: nothing ran then, and
   * nothing is left behind. Rejects with `state.conflict` when `cwd` does not exist.
   */
  create(request: SandboxRequest): Promise<Sandbox>;
  /** Kills every sandbox and frees what was prepared. */
  close(): Promise<void>;
};
