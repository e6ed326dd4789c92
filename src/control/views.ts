import {
  type EgressFlowView,
  egressFull,
  type PolicySummaryView,
  type PolicyView,
  type RunView,
  type SessionView,
  type TokenView,
  type UploadView,
} from '../contract/schemas.ts';
import type {
  AskedEgress,
  CurrentPolicy,
  FlowRecord,
  PolicySummary,
  RunRecord,
  SessionRecord,
  TokenRecord,
  UploadRecord,
} from '../store/store.ts';
import type { Versioned } from './control.ts';

/** What callers see of records. Values of environments and hashes of secrets never leave here. */

export function sessionView(record: SessionRecord): Versioned<SessionView> {
  const { id, name, phase, owner, team, repo, createdAt, closedAt, liveRuns, version } = record;
  const view: SessionView = {
    id,
    name,
    phase,
    owner,
    team,
    repo: repo !== null,
    remote: repo !== null && 'url' in repo ? { url: repo.url, ref: repo.ref } : null,
    egress: egressView(record.egress),
    attach: { ...record.attach },
    createdAt: timeText(createdAt),
    closedAt: timeOrNull(closedAt),
    liveRuns,
  };
  return { view, version };
}

function egressView({ names }: AskedEgress): RunView['egress'] {
  return { names: [...names], mode: names.includes(egressFull) ? 'full' : 'restricted' };
}

export function runView(record: RunRecord): Versioned<RunView> {
  const { id, session, parent, name, owner, team, priority, state, spec, version } = record;
  const { timeoutSeconds, ...limits } = spec.limits;
  const finished = 'finishedAt' in state ? state : null;
  const view: RunView = {
    id,
    session,
    parent,
    name,
    owner,
    team,
    command: [...spec.command],
    envNames: [...spec.envNames],
    cwd: spec.cwd,
    limits,
    timeoutSeconds,
    priority,
    strict: spec.strict,
    terminal: record.terminal === null ? null : { id: record.terminal.id, ...record.terminal.size },
    egress: egressView(record.egress),
    phase: state.phase,
    cause: finished?.cause ?? null,
    reason: finished === null || finished.reason === '' ? null : finished.reason,
    exitCode: finished?.exit.code ?? null,
    signal: finished?.exit.signal ?? null,
    createdAt: timeText(state.queuedAt),
    startedAt: timeOrNull('runningAt' in state ? state.runningAt : null),
    finishedAt: timeOrNull(finished?.finishedAt ?? null),
    heldBy: record.heldBy,
    usage: record.usage,
    artifacts: [...record.artifacts],
    filesExpired: record.filesExpired,
  };
  return { view, version };
}

export function uploadView(
  record: UploadRecord & { stored: NonNullable<UploadRecord['stored']> },
): UploadView {
  return { id: record.id, ...record.stored, createdAt: timeText(record.createdAt) };
}

export function tokenView(record: TokenRecord): TokenView {
  return {
    id: record.id,
    name: record.name,
    actor: record.actor,
    scopes: [...record.scopes],
    reach: record.reach,
    createdAt: timeText(record.createdAt),
    expiresAt: timeOrNull(record.expiresAt),
    lastUsedAt: timeOrNull(record.lastUsedAt),
  };
}

export function policyView(record: CurrentPolicy): Versioned<PolicyView> {
  const { name, generation, document, owner, team, author, reason, createdAt } = record;
  const view = { name, generation, owner, team, author, reason, createdAt: timeText(createdAt), document };
  return { view, version: generation };
}

export function policySummaryView(record: PolicySummary): PolicySummaryView {
  return { ...record, createdAt: timeText(record.createdAt) };
}

export function flowView({ run: _run, end, at, ...flow }: FlowRecord): EgressFlowView {
  return { ...flow, at: timeText(at), end: end === null ? null : { ...end, at: timeText(end.at) } };
}

export function timeText(time: number): string {
  return new Date(time).toISOString();
}

export function timeOrNull(time: number | null): string | null {
  return time === null ? null : timeText(time);
}
