import { fork } from 'node:child_process';
import { once } from 'node:events';
import fastify from 'fastify';
import { requestsPerSecond } from './identity/load.ts';
import { type Person, startPerson } from './identity/person.ts';
import { benchSignIns } from './identity/sign-ins.ts';
import { benchVerifications } from './identity/verifications.ts';
import { printRows, type Row } from './row.ts';

/**
 * What it costs to know who asks and to decide: reads of one session with each kind of credential, beside the same
 * framework answering a constant of the same size in a process of its own; how many credentials are verified in a
 * second; and sign-ins, with what they cost everybody else.
 */
const load = { connections: 16, seconds: 2 };
const slices = 3;

async function serveConstant(body: string): Promise<void> {
  const app = fastify({ logger: false });
  app.get('/constant', async (_request, reply) =>
    reply.header('content-type', 'application/json').send(body),
  );
  process.send?.(await app.listen({ host: '127.0.0.1', port: 0 }));
}

function middle(samples: readonly number[]): number {
  return [...samples].sort((a, b) => a - b)[Math.floor(samples.length / 2)]!;
}

/** In turn, because a machine's speed changes from one second to the next; the first round warms everything up. */
async function benchReads({ instance, credentials, path }: Person): Promise<Row[]> {
  const url = `${instance.url}${path}`;
  const [first] = Object.values(credentials);
  const body = await (await fetch(url, { headers: { ...first } })).text();
  const peer = fork(import.meta.filename, ['constant', body]);
  try {
    const [peerUrl] = (await once(peer, 'message')) as [string];
    const constant: number[] = [];
    const ours = Object.entries(credentials).map(([kind, headers]) => ({
      kind,
      headers,
      each: [] as number[],
    }));
    for (let slice = -1; slice < slices; slice += 1) {
      const one = await requestsPerSecond(`${peerUrl}/constant`, {}, load);
      if (slice >= 0) constant.push(one);
      for (const { headers, each } of ours) {
        const our = await requestsPerSecond(url, headers, load);
        if (slice >= 0) each.push(our);
      }
    }
    return ours.map(({ kind, each }) => ({
      what: `GET of one session, authenticated by ${kind} and authorized, ${load.connections} connections`,
      figure: `${middle(each).toFixed(0)} /s`,
      peer: `fastify answering a constant: ${middle(constant).toFixed(0)} /s`,
      ratio: middle(each) / middle(constant),
      note: 'aim: at least 0.5',
    }));
  } finally {
    peer.kill();
  }
}

export async function benchIdentity(): Promise<Row[]> {
  const person = await startPerson();
  try {
    return [...(await benchReads(person)), ...(await benchVerifications()), ...(await benchSignIns(person))];
  } finally {
    await person.instance.remove();
  }
}

if (process.argv[2] === 'constant') await serveConstant(process.argv[3] ?? '');
else if (import.meta.main) printRows(await benchIdentity(), process.argv.includes('--json'));
