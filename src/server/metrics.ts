import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client';
import type { AttachCloseReason } from '../contract/attach.ts';
import type { App, ServerContext } from './context.ts';
import { callerOf } from './context.ts';
import { bytes, problemResponses } from './responses.ts';

export type Metrics = {
  /** `route` is the pattern, never the URL: labels stay few. */
  answered(method: string, route: string, status: number, seconds: number): void;
  rateRefused(): void;
  /** The server ended the connection of an attached client. */
  attachCut(reason: AttachCloseReason): void;
  text(): Promise<string>;
};

const secondBuckets = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 5, 30];

export function openMetrics(
  open: { readonly streams: () => number; readonly attached: () => number },
  version: string,
): Metrics {
  const registry = new Registry();
  collectDefaultMetrics({ register: registry });
  const registers = [registry];
  const duration = new Histogram({
    name: 'sealwright_http_request_seconds',
    help: 'Time from a request to the end of its answer, streams included',
    labelNames: ['method', 'route', 'status'] as const,
    buckets: secondBuckets,
    registers,
  });
  const refused = new Counter({
    name: 'sealwright_http_rate_refused_total',
    help: 'Requests refused because a rate was exceeded',
    registers,
  });
  new Gauge({
    name: 'sealwright_http_streams',
    help: 'Answers that are being streamed now',
    registers,
    collect() {
      this.set(open.streams());
    },
  });
  new Gauge({
    name: 'sealwright_attach_connections',
    help: 'Clients that are attached to terminals, commands and ports now',
    registers,
    collect() {
      this.set(open.attached());
    },
  });
  const cuts = new Counter({
    name: 'sealwright_attach_cuts_total',
    help: 'Connections of attached clients that the server ended, by the reason that it gave',
    labelNames: ['reason'] as const,
    registers,
  });
  new Gauge({
    name: 'sealwright_build_info',
    help: 'Always 1',
    labelNames: ['version'] as const,
    registers,
  }).set({ version }, 1);
  return {
    answered: (method, route, status, seconds) =>
      duration.observe({ method, route, status: `${Math.floor(status / 100)}xx` }, seconds),
    rateRefused: () => refused.inc(),
    attachCut: (reason) => cuts.inc({ reason }),
    text: () => registry.metrics(),
  };
}

export function metricsRoutes(app: App, { control, metrics }: ServerContext): void {
  app.route({
    method: 'GET',
    url: '/metrics',
    config: { action: 'metrics.read' },
    schema: {
      operationId: 'metrics',
      summary: 'Counters and gauges in the Prometheus text format',
      tags: ['health'],
      response: {
        200: bytes('The text', 'text/plain'),
        ...problemResponses,
      },
    },
    handler: async (request, reply) => {
      const ofControl = await control.metrics(callerOf(request));
      reply.header('content-type', 'text/plain; version=0.0.4; charset=utf-8');
      return (await metrics.text()) + ofControl;
    },
  });
}
