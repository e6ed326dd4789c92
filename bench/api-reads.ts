import { fork } from 'node:child_process';
import { once } from 'node:events';
import { Agent, request } from 'node:http';
import fastify from 'fastify';
import { startInstance } from '../tests/support/instance.ts';
import type { Row } from './row.ts';

/**
 * Authenticated reads of one run a second, beside the same framework answering a constant of the same size in a
 * process of its own. A third process asks both in turn, over the same number of kept-alive connections.
 */
const connections = 16;
const sliceMs = 2_000;
const slices = 3;

/** Requests a second over kept-alive connections, each asking again when it was answered. */
async function requestsPerSecond(url: string, token: string): Promise<number> {
  const agent = new Agent({ keepAlive: true, maxSockets: connections });
  const options = { agent, headers: { authorization: `Bearer ${token}` } };
  const until = performance.now() + sliceMs;
  let count = 0;
  const ask = () =>
    new Promise<void>((resolve, reject) => {
      const asked = request(url, options, (answer) => {
        if (answer.statusCode !== 200) reject(new Error(`status ${answer.statusCode}`));
        answer.resume();
        answer.on('end', resolve);
      });
      asked.on('error', reject);
      asked.end();
    });
  const lane = async () => {
    while (performance.now() < until) {
      await ask();
      count += 1;
    }
  };
  const startedAt = performance.now();
  await Promise.all(Array.from({ length: connections }, lane));
  agent.destroy();
  return (count * 1000) / (performance.now() - startedAt);
}

async function serveConstant(body: string): Promise<void> {
  const app = fastify({ logger: false });
  app.get('/api/v1/runs/:id', async (_request, reply) =>
    reply.header('content-type', 'application/json').send(body),
  );
  process.send?.(await app.listen({ host: '127.0.0.1', port: 0 }));
}

function middle(samples: readonly number[]): number {
  return [...samples].sort((a, b) => a - b)[Math.floor(samples.length / 2)]!;
}

export async function benchApiReads(): Promise<Row[]> {
  const instance = await startInstance({ environment: { SEALWRIGHT_REQUESTS_PER_MINUTE: '10000000' } });
  const session = await instance.client.sessions.create({});
  const run = await instance.client.runs.create({ session: session.id, command: ['true'] });
  await instance.client.runs.wait(run.id, { timeoutSeconds: 30 });
  const path = `/api/v1/runs/${run.id}`;
  const body = JSON.stringify(await instance.client.runs.get(run.id));
  const peer = fork(import.meta.filename, ['constant', body]);
  try {
    const [peerUrl] = (await once(peer, 'message')) as [string];
    const [ours, constant]: [number[], number[]] = [[], []];
    for (let slice = -1; slice < slices; slice += 1) {
      const [our, one] = [
        await requestsPerSecond(`${instance.url}${path}`, instance.bootstrapToken),
        await requestsPerSecond(`${peerUrl}${path}`, 'none'),
      ];
      if (slice < 0) continue;
      ours.push(our);
      constant.push(one);
    }
    const [our, one] = [middle(ours), middle(constant)];
    return [
      {
        what: `authenticated GET /api/v1/runs/ID, ${connections} connections`,
        figure: `${our.toFixed(0)} /s`,
        peer: `fastify answering a constant: ${one.toFixed(0)} /s`,
        ratio: our / one,
        note: 'aim: at least 0.5',
      },
    ];
  } finally {
    peer.kill();
    await instance.remove();
  }
}

if (process.argv[2] === 'constant') await serveConstant(process.argv[3] ?? '');
else if (import.meta.main) console.table(await benchApiReads());
