import type { JsonObject } from '../base/canonical-json.ts';
import { egressFlow, egressFlowEnd } from '../contract/gateway.ts';
import { type ActorId, actorKind } from '../model/actor.ts';
import type { EgressFlow, EgressFlowEnd } from '../model/egress.ts';
import type { RunId, SessionId } from '../model/ids.ts';
import type { AuditEvent, NewEvent } from './event.ts';

/** Whose run it is. */
export type OwnedRun = { readonly run: RunId; readonly session: SessionId; readonly owner: ActorId };

/** What one line tells of flows; in both nothing where it tells of something else. */
export type ToldFlows = { readonly flows: readonly EgressFlow[]; readonly ends: readonly EgressFlowEnd[] };

/** The ends that one line holds, so that it stays within `dataBytesMax` whatever their numbers are. */
export const endsPerLine = 40;
/** A path over this many bytes of JSON, which only a hostile one has, is cut, because data over its bound is dropped. */
const pathBytesMax = 3_072;
const pathCharactersKept = 500;

/** The verdict on one flow, as whoever carries it out records it before anything follows. */
export function flowEvent(flow: EgressFlow, { run, session, owner }: OwnedRun): NewEvent {
  return {
    ...verdictOf(flow),
    actor: { id: owner, kind: actorKind(owner) },
    resource: { kind: 'run', id: run, session },
  };
}

/** The same of a run that the writer does not know, and so nobody's. */
export function strangeFlowEvent(flow: EgressFlow, writer: `system:${string}`): NewEvent {
  return {
    ...verdictOf(flow),
    actor: { id: writer, kind: 'system' },
    resource: { kind: 'run', id: flow.run },
    decision: { allow: flow.verdict === 'allowed', rule: 'run:unknown' },
  };
}

/** How flows of one run ended, several to a line. */
export function endsEvents(ends: readonly EgressFlowEnd[], { run, session, owner }: OwnedRun): NewEvent[] {
  const events: NewEvent[] = [];
  for (let at = 0; at < ends.length; at += endsPerLine)
    events.push({
      action: 'egress.ended',
      actor: { id: owner, kind: actorKind(owner) },
      resource: { kind: 'run', id: run, session },
      decision: { allow: true, rule: 'gateway:report' },
      phase: 'note',
      outcome: 'succeeded',
      data: { ends: ends.slice(at, at + endsPerLine).map(endData) },
    });
  return events;
}

/** What a line tells of flows. Throws where an `egress` event says what no gateway says: it is parsed, not believed. */
export function toldFlows(event: AuditEvent): ToldFlows {
  const { action, data = {}, resource } = event;
  if (resource.kind !== 'run' || event.decision.rule === 'run:unknown') return { flows: [], ends: [] };
  const run = resource.id;
  if (action === 'egress.ended') {
    const ends = Array.isArray(data.ends) ? (data.ends as JsonObject[]) : [];
    return { flows: [], ends: ends.map((end) => egressFlowEnd.parse(numbered(end, run))) };
  }
  // What was only counted has no flow of its own.
  if ((action !== 'egress.connect' && action !== 'egress.lookup') || !('flow' in data))
    return { flows: [], ends: [] };
  const { late: _, happenedAt: __, ...told } = data;
  const { rule } = event.decision;
  const isAllowed = event.outcome === 'allowed';
  const name = isAllowed && rule !== unnamed ? rule.slice(rulePrefix.length) : null;
  const flow = { ...bounded(numbered(told, run)), verdict: event.outcome, rule: cut(name, 128) };
  return { flows: [egressFlow.parse(flow)], ends: [] };
}

const rulePrefix = 'egress:';
const unnamed = `${rulePrefix}unnamed`;

function verdictOf(flow: EgressFlow) {
  const { verdict, rule, denial, protocol } = flow;
  const name = (verdict === 'allowed' ? rule : denial) ?? null;
  return {
    action: protocol === 'dns' ? 'egress.lookup' : 'egress.connect',
    decision: { allow: verdict === 'allowed', rule: name === null ? unnamed : `${rulePrefix}${name}` },
    phase: 'note',
    outcome: verdict,
    data: flowData(flow),
  } as const;
}

function flowData(flow: EgressFlow): JsonObject {
  const { id, at, host, address, port, protocol, method, path, denial, generation, count } = flow;
  return {
    ...{ flow: id, at: new Date(at).toISOString() },
    ...{ host, address, port, protocol, method, path: boundedPath(path), denial, generation, count },
  };
}

function boundedPath(path: string | null): string | null {
  if (path === null || Buffer.byteLength(JSON.stringify(path)) <= pathBytesMax) return path;
  return `${path.slice(0, pathCharactersKept).toWellFormed()}…`;
}

function endData({ id, at, bytesOut, bytesIn, outcome }: EgressFlowEnd): JsonObject {
  return { flow: id, at: new Date(at).toISOString(), bytesOut, bytesIn, outcome };
}

/** What was taken out of a text of the sandbox may have left one that is longer. */
function bounded({ host, address, method, path, ...rest }: Record<string, unknown>) {
  return {
    ...rest,
    ...{ host: cut(host, 253), address: cut(address, 45), method: cut(method, 32), path: cut(path, 1_024) },
  };
}

function cut(text: unknown, charactersMax: number): unknown {
  return typeof text === 'string' ? text.slice(0, charactersMax) : text;
}

/** Members as the gateway says them: `flow` is the id, times are numbers. */
function numbered({ flow, at, ...rest }: JsonObject, run: string | undefined) {
  return { ...rest, id: flow, run, at: Date.parse(String(at)) };
}
