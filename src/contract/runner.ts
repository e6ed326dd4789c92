import { z } from 'zod';
import type { ActorId } from '../model/actor.ts';
import type { EgressPolicy } from '../model/egress.ts';
import type { RunId, SessionId, UploadId } from '../model/ids.ts';
import type { HeldBy, RunLimits, Usage } from '../model/limits.ts';
import { type Ending, failureCauses } from '../model/run.ts';
import type {
  RunTerminal,
  TerminalOrder,
  TerminalOrderAnswers,
  TerminalPurpose,
} from './runner-terminals.ts';

/**
 * What control and runner say to each other over the runner's socket (`base/channel.ts` authenticates both
 * ends and frames). A connection serves one purpose, named by its first frame: `orders` carries requests,
 * answers and events for as long as it lasts; the others stream bytes once and end.
 *
 * The runner is trusted with sandboxes and not with the store; control is trusted with neither namespaces nor
 * live credentials. Both parse what the other sends.
 */

/** What a workspace is made from: bytes that were uploaded, or what a clone inside the sandbox fetches. */
export type RepoSource = RepoUpload | RepoRemote;
export type RepoUpload = { readonly upload: UploadId; readonly shallow: readonly string[] };
export type RepoRemote = {
  /** Canonical; `model/repository-url.ts` parses it. */
  readonly url: string;
  /** A branch, a tag or a full commit id; null for the remote's HEAD. */
  readonly ref: string | null;
  /** For ssh, each a key's type and base64: the host must have one of them. */
  readonly hostKeys: readonly string[];
};

export type RunSpec = {
  readonly run: RunId;
  readonly session: SessionId;
  /** Whose it is, for what the runner records of it. */
  readonly owner: ActorId;
  /** What the workspace is made from the first time a run of the session starts; null for an empty one. */
  readonly repo: RepoSource | null;
  readonly command: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  /** Absolute in the sandbox, or relative to /workspace; null for /workspace. */
  readonly cwd: string | null;
  readonly limits: RunLimits;
  readonly strict: boolean;
  /** Whether the change against what the workspace was made from is collected when the command ends. */
  readonly diff: boolean;
  /** The terminal that its command gets; null for pipes. */
  readonly terminal: RunTerminal | null;
  /** What it may reach. */
  readonly egress: EgressPolicy;
  /** The token by which it proves who it is; secret, and out of date within minutes. */
  readonly identity: string;
};

export type ArtifactInfo = {
  readonly name: string;
  readonly mediaType: string;
  readonly bytes: number;
  readonly sha256: string;
};

/** Steps of a start that people see as progress. */
export type RunStep = 'workspace' | 'sandbox' | 'command' | 'collect';

export type RunnerEvent =
  | { readonly event: 'step'; readonly run: RunId; readonly step: RunStep; readonly at: number }
  | { readonly event: 'running'; readonly run: RunId; readonly at: number; readonly heldBy: HeldBy }
  /** `recorded` is how far the runner's stream told of the run's flows by then. */
  | (RunFinished & { readonly recorded: StreamPlace });

/** A place in the runner's own stream of the record: the event `seq` and all before it. */
export type StreamPlace = { readonly stream: string; readonly seq: number };

/**
 * Kept by the runner, and sent again on every connection before any answer on it, until control orders
 * `acknowledge`.
 */
export type RunFinished = {
  readonly event: 'finished';
  readonly run: RunId;
  readonly at: number;
  readonly runningAt: number | null;
  readonly ending: Ending;
  readonly heldBy: HeldBy | null;
  readonly usage: Usage | null;
  readonly artifacts: readonly ArtifactInfo[];
};

export type RunnerOrder =
  /** Answered once the run is accepted and known to survive a restart of control; a repeated start is the same one. */
  | { readonly order: 'start'; readonly spec: RunSpec }
  /** TERM, then KILL after the grace time. The end comes as an event. Unknown runs are answered all the same. */
  | { readonly order: 'stop'; readonly run: RunId; readonly as: 'cancelled' }
  | { readonly order: 'acknowledge'; readonly run: RunId }
  /** The newest checkpoint of control's own stream, for the runner to record in its own. */
  | { readonly order: 'checkpoint'; readonly checkpoint: CheckpointClaim }
  /** What a live run may reach from now on. Unknown runs are answered all the same. */
  | { readonly order: 'egress'; readonly run: RunId; readonly egress: EgressPolicy }
  /** The token that takes the place of a live run's. Unknown runs are answered all the same. */
  | { readonly order: 'identity'; readonly run: RunId; readonly token: string }
  /** Removes logs and artifacts of finished runs. */
  | { readonly order: 'forget'; readonly runs: readonly RunId[] }
  /** Removes a session's workspace; its live runs are stopped first. */
  | { readonly order: 'remove-session'; readonly session: SessionId }
  | { readonly order: 'remove-upload'; readonly upload: UploadId }
  | { readonly order: 'status' }
  | TerminalOrder;

export type RunnerStatus = {
  /** Runs the runner hosts now; control's live runs that are neither here nor finished are lost. */
  readonly live: readonly {
    readonly run: RunId;
    readonly phase: 'starting' | 'running';
    readonly heldBy: HeldBy | null;
    readonly runningAt: number | null;
  }[];
  readonly backend: string;
  readonly mode: 'root' | 'user';
  readonly heldBy: HeldBy;
  readonly sandboxes: number;
  readonly residentBytes: number;
  /**
   * How far the runner's own stream is on its disk, how many of its events control has not said to have, and whether
   * verdicts can be recorded there now.
   */
  readonly record: StreamPlace & { readonly waiting: number; readonly ok: boolean };
};

export type OrderAnswers = {
  start: null;
  stop: null;
  acknowledge: null;
  checkpoint: null;
  egress: null;
  identity: null;
  forget: null;
  'remove-session': null;
  'remove-upload': null;
  status: RunnerStatus;
} & TerminalOrderAnswers;

/** What a writer says of its stream, in the words of its signed checkpoint: `root` is the tree's, in base64. */
export type CheckpointClaim = {
  readonly stream: string;
  readonly origin: string;
  readonly size: number;
  readonly root: string;
};

/** The first frame of a connection. */
export type Purpose =
  | { readonly purpose: 'orders' }
  /**
   * Log records from a logical offset on. Data frames carry whole records (`contract/log-record.ts`); with
   * `follow` the stream goes on until the run has ended, without it until what is spooled has been sent.
   */
  | { readonly purpose: 'logs'; readonly run: RunId; readonly offset: number; readonly follow: boolean }
  | { readonly purpose: 'artifact'; readonly run: RunId; readonly name: string }
  /**
   * The runner's own stream of the record, for as long as the connection lasts. The runner says `AuditOffer`; control
   * answers `AuditWish`; then data frames carry whole lines and JSON frames a newer `AuditNote`. Control answers
   * `AuditReceipt` to what is on its disk.
   */
  | { readonly purpose: 'audit' }
  /** Bytes towards the runner; ended by `{ end: true }`, answered by `UploadStored`. */
  | { readonly purpose: 'upload'; readonly upload: UploadId; readonly bytesMax: number }
  | TerminalPurpose;

/** A JSON frame that ends a connection with another purpose than `orders` or `audit` on which something went wrong. */
export type StreamFault = { readonly fault: { readonly code: string; readonly detail: string } };

export type UploadStored = { readonly bytes: number; readonly sha256: string };

export type AuditOffer = StreamPlace;
export type AuditWish = { readonly after: number };
/** A signed checkpoint, as text; every line that it covers was sent before. */
export type AuditNote = { readonly checkpoint: string };
export type AuditReceipt = { readonly acknowledged: number };

/** JSON frames on an orders connection. */
export type OrderFrame = { readonly id: number } & RunnerOrder;
export type AnswerFrame =
  | { readonly id: number; readonly ok: unknown }
  | { readonly id: number; readonly fault: { readonly code: string; readonly detail: string } };

export const endingSchema: z.ZodType<Ending> = z.discriminatedUnion('phase', [
  z.object({ phase: z.literal('succeeded'), exit: exitSchema() }),
  z.object({
    phase: z.literal('failed'),
    cause: z.enum(failureCauses),
    reason: z.string(),
    exit: exitSchema(),
  }),
  z.object({ phase: z.literal('cancelled'), reason: z.string(), exit: exitSchema() }),
  z.object({ phase: z.literal('timed-out'), reason: z.string(), exit: exitSchema() }),
]);

function exitSchema() {
  return z.object({ code: z.int().nullable(), signal: z.string().nullable() });
}
