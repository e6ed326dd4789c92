import { Counter, Gauge, Registry } from 'prom-client';
import type { Sinks } from '../audit/sinks/sinks.ts';
import type { Witnesses } from '../audit/witnesses/pusher.ts';
import { runPhases } from '../model/run.ts';
import { sessionPhases } from '../model/session.ts';
import type { Store } from '../store/store.ts';
import type { Gate } from './gate.ts';
import type { Readings } from './readiness.ts';
import type { RunnerLink } from './runner-link.ts';
import type { Scheduler } from './scheduler.ts';

export type MetricsParts = {
  readonly store: Store;
  readonly gate: Gate;
  readonly link: RunnerLink;
  readonly scheduler: Scheduler;
  readonly readings: Readings;
  readonly sinks: Sinks;
  readonly witnesses: Witnesses;
  readonly attach: { readonly count: number; readonly terminals: number };
};

/** Gauges that are read when they are asked for, as Prometheus text. Those of the process are the server's. */
export function openMetrics(parts: MetricsParts): { text(): Promise<string> } {
  const registry = new Registry();
  const gauge = (name: string, help: string, read: () => number | Promise<number>) =>
    new Gauge({
      name: `sealwright_${name}`,
      help,
      registers: [registry],
      async collect() {
        this.set(await read());
      },
    });
  gauge('runs_queued', 'Runs that wait for a slot', () => parts.scheduler.waiting);
  gauge('runs_live', 'Runs that hold a slot', () => parts.scheduler.running);
  gauge('attach_clients', 'Clients that are attached to runs', () => parts.attach.count);
  gauge('attach_terminals', 'Terminals that are held open for them', () => parts.attach.terminals);
  gauge('runner_connected', 'Whether the runner takes orders', () => Number(parts.link.connected));
  gauge('runner_connections', 'Connections to the runner since the start', () => parts.link.generation);
  gauge('audit_healthy', 'Whether the audit log takes events', () => Number(parts.gate.health().ok));
  gauge('audit_owed_events', 'Events that wait to be written again', () => parts.gate.owed());
  gauge('audit_pending_events', 'Events on their way to the disk', () => parts.gate.pending());
  gauge('runner_sandboxes', 'Sandboxes that the runner has made', async () => {
    return (await parts.readings.runner())?.sandboxes ?? 0;
  });
  gauge('runner_record_waiting_events', 'Events of the runner that only its own disk has', async () => {
    return (await parts.readings.runner())?.record.waiting ?? 0;
  });
  gauge('runner_resident_bytes', 'Resident memory of the runner', async () => {
    return (await parts.readings.runner())?.residentBytes ?? 0;
  });
  phases(registry, 'runs', runPhases, () => parts.store.runs.countByPhase());
  phases(registry, 'sessions', sessionPhases, () => parts.store.sessions.countByPhase());
  const readSinks = sinkMetrics(registry, parts.sinks);
  const readWitnesses = witnessMetrics(registry, parts.witnesses);
  return {
    text: async () => {
      await readSinks();
      readWitnesses();
      return await registry.metrics();
    },
  };
}

function phases<P extends string>(
  registry: Registry,
  name: string,
  all: readonly P[],
  count: () => Promise<Readonly<Partial<Record<P, number>>>>,
): void {
  new Gauge({
    name: `sealwright_${name}`,
    help: `Stored ${name} by phase`,
    labelNames: ['phase'],
    registers: [registry],
    async collect() {
      const counts = await count();
      for (const phase of all) this.set({ phase }, counts[phase] ?? 0);
    },
  });
}

/** Of each sink: how far behind it is, and what came of its sends since the start. Gives what reads them anew. */
function sinkMetrics(registry: Registry, sinks: Sinks): () => Promise<void> {
  const gauge = (name: string, help: string, ...labelNames: readonly string[]) =>
    new Gauge({ name: `sealwright_audit_sink_${name}`, help, labelNames, registers: [registry] });
  const up = gauge('up', 'Whether the last send of a sink went well', 'sink');
  const dead = gauge('dead_letters', 'Events that the receiver refused for good', 'sink');
  const lagEvents = gauge('lag_events', 'Events that the receiver has not taken', 'sink', 'stream');
  const lagSeconds = gauge('lag_seconds', 'Age of the first event that it has not taken', 'sink', 'stream');
  for (const [name, help, member] of sinkCounters)
    new Counter({
      name: `sealwright_audit_sink_${name}`,
      help,
      labelNames: ['sink'] as const,
      registers: [registry],
      collect() {
        this.reset();
        for (const [sink, totals] of sinks.totals()) this.inc({ sink }, totals[member]);
      },
    });
  return async () => {
    for (const { name: sink, state, deadLetters, streams } of await sinks.status()) {
      up.set({ sink }, Number(state === 'running'));
      dead.set({ sink }, deadLetters);
      for (const { stream, ...lag } of streams) {
        lagEvents.set({ sink, stream }, lag.lagEvents);
        lagSeconds.set({ sink, stream }, lag.lagSeconds);
      }
    }
  };
}

/** Of each witness and stream: how old what it knows is, and whether it contradicts the log. Gives what reads them anew. */
function witnessMetrics(registry: Registry, witnesses: Witnesses): () => void {
  const gauge = (name: string, help: string) =>
    new Gauge({
      name: `sealwright_audit_witness_${name}`,
      help,
      labelNames: ['witness', 'stream'],
      registers: [registry],
    });
  const age = gauge('age_seconds', 'Since a witness last had the newest checkpoint of a stream');
  const conflict = gauge('conflict', 'Whether a witness holds another history of a stream than this server');
  return () => {
    for (const { name: witness, streams } of witnesses.status())
      for (const { stream, ageSeconds, state } of streams) {
        age.set({ witness, stream }, ageSeconds);
        conflict.set({ witness, stream }, Number(state === 'conflict'));
      }
  };
}

const sinkCounters = [
  ['sent_events_total', 'Events that the receiver of a sink took', 'sentEvents'],
  ['failed_sends_total', 'Sends that have to be repeated', 'failedSends'],
  ['dead_lettered_events_total', 'Events that were put aside', 'deadLettered'],
] as const;
