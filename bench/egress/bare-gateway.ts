import { connect, createServer } from 'node:net';
import { NamespaceMaker } from '../../src/sandbox/local/namespaces.ts';

/**
 * The design's own path and nothing else: sockets of another namespace, each connection piped to the address that
 * was asked for. No policy, no names, no record. A peer of bench/egress.ts; its words are the ports.
 */
const worker = new URL('../../src/sandbox/local/namespace-worker.ts', import.meta.url);
const { fd: namespace, listeners } = await new NamespaceMaker(worker).make(
  process.argv.slice(2).map(Number),
  [],
);

for (const { fd, port } of listeners) {
  const server = createServer({ allowHalfOpen: true, noDelay: true, pauseOnConnect: true }, (client) => {
    const host = client.localAddress!.replace('::ffff:', '');
    const upstream = connect({ host, port, allowHalfOpen: true, noDelay: true });
    for (const [one, other] of [
      [client, upstream],
      [upstream, client],
    ] as const) {
      one.on('error', () => other.resetAndDestroy());
      one.pipe(other);
    }
  });
  server.listen({ fd });
}
console.log(JSON.stringify({ namespace }));
