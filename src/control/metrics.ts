import { Gauge, Registry } from 'prom-client';
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
  gauge('runner_connected', 'Whether the runner takes orders', () => Number(parts.link.connected));
  gauge('runner_connections', 'Connections to the runner since the start', () => parts.link.generation);
  gauge('audit_healthy', 'Whether the audit log takes events', () => Number(parts.gate.health().ok));
  gauge('audit_owed_events', 'Events that wait to be written again', () => parts.gate.owed());
  gauge('audit_pending_events', 'Events on their way to the disk', () => parts.gate.pending());
  gauge('runner_sandboxes', 'Sandboxes that the runner has made', async () => {
    return (await parts.readings.runner())?.sandboxes ?? 0;
  });
  gauge('runner_resident_bytes', 'Resident memory of the runner', async () => {
    return (await parts.readings.runner())?.residentBytes ?? 0;
  });
  phases(registry, 'runs', runPhases, () => parts.store.runs.countByPhase());
  phases(registry, 'sessions', sessionPhases, () => parts.store.sessions.countByPhase());
  return { text: () => registry.metrics() };
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
