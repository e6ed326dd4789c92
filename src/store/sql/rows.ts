import assert from 'node:assert/strict';
import type { ActorId, Reach } from '../../model/actor.ts';
import type { EgressFlow, EgressFlowEnd } from '../../model/egress.ts';
import type { RunId, SessionId, TokenId, UploadId } from '../../model/ids.ts';
import type { FailureCause, RunPhase, RunState } from '../../model/run.ts';
import { isTerminal } from '../../model/run.ts';
import type { GrantableScope } from '../../model/scopes.ts';
import type { SessionPhase } from '../../model/session.ts';
import { attachOff } from '../../model/terminal.ts';
import type {
  FlowRecord,
  PolicyRecord,
  PolicySummary,
  RunRecord,
  SessionRecord,
  TokenRecord,
  UploadRecord,
} from '../store.ts';
import type { FlowRow, PolicyRow, RunRow, SessionRow, TokenRow, UploadRow } from './tables.ts';

/** Rows were written by this program, so their text columns are trusted to hold what their types say. */

export function sessionOf(row: SessionRow): SessionRecord {
  return {
    id: row.id as SessionId,
    name: row.name,
    phase: row.phase as SessionPhase,
    owner: row.owner as ActorId,
    team: row.team,
    repo: row.repo === null ? null : JSON.parse(row.repo),
    egress: { names: namesOf(row.egress_names), reason: row.egress_reason },
    attach: row.attach === null ? attachOff : JSON.parse(row.attach),
    createdAt: row.created_at,
    closedAt: row.closed_at,
    liveRuns: Number(row.live_runs),
    version: row.version,
  };
}

function namesOf(text: string): string[] {
  return text === '[]' ? [] : (JSON.parse(text) as string[]);
}

export function runOf(row: RunRow): RunRecord {
  return {
    id: row.id as RunId,
    session: row.session as SessionId,
    parent: row.parent as RunId | null,
    name: row.name,
    owner: row.owner as ActorId,
    team: row.team,
    spec: JSON.parse(row.spec),
    egress: {
      names: namesOf(row.egress_names),
      reason: row.egress_reason,
      generation: row.egress_generation,
    },
    terminal: row.terminal === null ? null : JSON.parse(row.terminal),
    priority: row.priority,
    state: stateOf(row),
    stopRequestedAt: row.stop_requested_at,
    heldBy: row.held_by === null ? null : JSON.parse(row.held_by),
    usage: row.usage === null ? null : JSON.parse(row.usage),
    artifacts: row.artifacts === '[]' ? [] : JSON.parse(row.artifacts),
    filesExpired: row.files_expired === 1,
    version: row.version,
  };
}

function stateOf(row: RunRow): RunState {
  const phase = row.phase as RunPhase;
  const queuedAt = row.created_at;
  if (phase === 'queued') return { phase, queuedAt };
  if (isTerminal(phase)) {
    assert(row.finished_at !== null, 'a finished run has an end');
    return {
      phase,
      queuedAt,
      startingAt: row.starting_at,
      runningAt: row.running_at,
      finishedAt: row.finished_at,
      cause: row.cause as FailureCause | null,
      reason: row.reason ?? '',
      exit: { code: row.exit_code, signal: row.exit_signal },
    };
  }
  assert(row.starting_at !== null, 'a run that left the queue has a start');
  if (phase === 'starting') return { phase, queuedAt, startingAt: row.starting_at };
  assert(row.running_at !== null, 'a running run has a start of its command');
  return { phase, queuedAt, startingAt: row.starting_at, runningAt: row.running_at };
}

/** The columns that hold a state; the environment goes as soon as the command runs or never will. */
export function stateColumns(state: RunState) {
  const finished = 'finishedAt' in state ? state : null;
  return {
    phase: state.phase as string,
    starting_at: 'startingAt' in state ? state.startingAt : null,
    running_at: 'runningAt' in state ? state.runningAt : null,
    finished_at: finished?.finishedAt ?? null,
    cause: finished?.cause ?? null,
    reason: finished?.reason ?? null,
    exit_code: finished?.exit.code ?? null,
    exit_signal: finished?.exit.signal ?? null,
  };
}

export function keepsEnvironment(state: RunState): boolean {
  return state.phase === 'queued' || state.phase === 'starting';
}

export function uploadOf(row: UploadRow): UploadRecord {
  return {
    id: row.id as UploadId,
    owner: row.owner as ActorId,
    createdAt: row.created_at,
    stored: row.bytes === null || row.sha256 === null ? null : { bytes: row.bytes, sha256: row.sha256 },
    session: row.session as SessionId | null,
  };
}

export function tokenOf(row: TokenRow): TokenRecord {
  return {
    id: row.id as TokenId,
    name: row.name,
    actor: row.actor as ActorId,
    scopes: JSON.parse(row.scopes) as GrantableScope[],
    reach: row.reach as Reach,
    hash: row.hash,
    createdAt: row.created_at,
    expiresAt: row.expires_at,
    lastUsedAt: row.last_used_at,
  };
}

export function policyOf(row: PolicyRow): PolicyRecord {
  return {
    name: row.name,
    generation: row.generation,
    document: row.document === null ? null : JSON.parse(row.document),
    owner: row.owner as ActorId,
    team: row.team,
    author: row.author as ActorId,
    reason: row.reason,
    createdAt: row.created_at,
  };
}

export function policySummaryOf(row: Omit<PolicyRow, 'document'> & { removed: number }): PolicySummary {
  const { name, generation, team, reason } = row;
  const [owner, author] = [row.owner as ActorId, row.author as ActorId];
  const removed = Number(row.removed) === 1;
  return { name, generation, owner, team, author, reason, createdAt: row.created_at, removed };
}

export function flowOf(row: FlowRow): FlowRecord {
  const { ended_at, bytes_out, bytes_in, outcome, ...flow } = row;
  const ended = ended_at !== null && outcome !== null;
  return {
    ...(flow as unknown as EgressFlow),
    end: ended
      ? {
          at: ended_at,
          bytesOut: Number(bytes_out),
          bytesIn: Number(bytes_in),
          outcome: outcome as EgressFlowEnd['outcome'],
        }
      : null,
  };
}
