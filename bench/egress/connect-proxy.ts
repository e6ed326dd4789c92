import { createServer } from 'node:http';
import { type AddressInfo, connect, type Socket } from 'node:net';

/** The CONNECT proxy that everybody writes first: no policy, no record. A peer of bench/egress.ts. */
const server = createServer((_request, response) => response.writeHead(501).end());

server.on('connect', (request, client: Socket, head: Buffer) => {
  const { hostname, port } = new URL(`tcp://${request.url}`);
  client.setNoDelay(true);
  const upstream = connect({ host: hostname, port: Number(port), noDelay: true }, () => {
    client.write('HTTP/1.1 200 Connection Established\r\n\r\n');
    upstream.write(head);
    client.pipe(upstream);
    upstream.pipe(client);
  });
  for (const [one, other] of [
    [client, upstream],
    [upstream, client],
  ] as const) {
    one.on('error', () => other.destroy());
    one.on('close', () => other.destroy());
  }
});

server.listen(Number(process.argv[2] ?? 0), '127.0.0.1', 4_096, () =>
  console.log(JSON.stringify({ port: (server.address() as AddressInfo).port })),
);
