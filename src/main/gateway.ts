import { readFileSync } from 'node:fs';
import { Socket } from 'node:net';
import { Channel } from '../base/channel.ts';
import { systemClock } from '../base/clock.ts';
import { receiveDescriptors } from '../base/sockets.ts';
import type { GatewayOrder, GatewayWord } from '../contract/gateway.ts';
import { EgressGateway } from '../gateway/gateway.ts';
import { gatewayLimits } from '../gateway/limits.ts';
import { openUpstreams } from '../gateway/upstreams.ts';
import { plainRedactor } from '../redaction/redactor.ts';
import { readConfiguration } from './child.ts';
import { openProcessLog } from './process-log.ts';

/** What the runner tells the gateway. */
type GatewayConfiguration = {
  readonly logLevel: string;
  readonly resolvers: readonly string[];
  readonly authorities: readonly string[];
};

const channelFd = 3;
const passingFd = 4;

async function main(): Promise<void> {
  const { logLevel, resolvers, authorities } = await readConfiguration<GatewayConfiguration>(() => undefined);
  const log = openProcessLog('gateway', logLevel);
  process.on('unhandledRejection', (error) => log.error({ error: String(error) }, 'a promise was rejected'));
  // The runner decides when it ends, by closing the channel.
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => undefined);
  const channel = new Channel(new Socket({ fd: channelFd, readable: true, writable: true }));
  const say = (word: GatewayWord) => channel.sendJson(word).catch(() => undefined);
  const gateway = new EgressGateway({
    upstreams: openUpstreams(systemClock, { resolvers, authorities }),
    clock: systemClock,
    connectionsMax: connectionsMax(),
    send: (batch) => void say({ word: 'flows', ...batch }),
  });
  await say({ word: 'ready' });
  for (let frame = await channel.read(); frame?.kind === 'json'; frame = await channel.read()) {
    const order = frame.value as GatewayOrder;
    const passes = 'listeners' in order && order.listeners.length > 0;
    // They were sent before the order was.
    const obeyed = gateway.obey(order, passes ? receiveDescriptors(passingFd) : []);
    if ('id' in order) void obeyed.then(() => say({ word: 'done', id: order.id }));
  }
  process.exit(0);
}

/** A connection has a descriptor on both sides, and without one it would hang or fail as if nobody were there. */
function connectionsMax(): number {
  const [, files] = /^Max open files +(\d+)/m.exec(readFileSync('/proc/self/limits', 'utf8')) ?? [];
  const { connectionsMax, descriptorsForConnections } = gatewayLimits;
  if (files === undefined) return connectionsMax;
  return Math.min(connectionsMax, Math.floor((Number(files) * descriptorsForConnections) / 2));
}

main().catch((error: unknown) => {
  console.error(plainRedactor.text(String(error)));
  process.exit(1);
});
