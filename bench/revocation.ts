import { once } from 'node:events';
import type { Socket } from 'node:net';
import { join } from 'node:path';
import type { TokenId } from '../src/model/ids.ts';
import { type Instance, startInstance } from '../tests/support/instance.ts';
import { openRaw } from '../tests/support/raw-http.ts';
import { type OtherProcess, openOtherProcess } from '../tests/support/rights.ts';
import type { Row } from './row.ts';

/**
 * From the moment at which a revocation is acknowledged to the last byte of a live log that the token had open, and to
 * its end: taken over the API, and by another process on the same store. The run writes all the while.
 */
const rounds = 60;

type Times = { readonly lastByte: number; readonly end: number };

async function watch(instance: Instance, token: string, run: string) {
  const socket: Socket = await openRaw(Number(new URL(instance.url).port));
  const seen = { lastAt: 0 };
  socket
    .on('error', () => undefined)
    .on('data', () => {
      seen.lastAt = Date.now();
    });
  socket.write(
    `GET /api/v1/runs/${run}/logs HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: text/event-stream\r\nAuthorization: Bearer ${token}\r\n\r\n`,
  );
  await once(socket, 'data');
  return { socket, seen };
}

async function measure(instance: Instance, run: string, other: OtherProcess | null): Promise<Times> {
  const { id, token } = await instance.client.tokens.create({
    ...{ name: 'bench', scopes: ['run:read'], reach: 'all' },
  });
  const { socket, seen } = await watch(instance, token, run);
  const closed = new Promise((resolve) => socket.once('close', resolve));
  if (other === null) await instance.client.tokens.revoke(id);
  const takenAt = other === null ? Date.now() : await other.take({ take: 'token', id: id as TokenId });
  await closed;
  return { lastByte: Math.max(0, seen.lastAt - takenAt), end: Math.max(0, Date.now() - takenAt) };
}

function percentile(samples: readonly number[], part: number): number {
  return [...samples].sort((a, b) => a - b)[Math.min(samples.length - 1, Math.floor(samples.length * part))]!;
}

function row(what: string, times: readonly Times[]): Row {
  const [bytes, ends] = [times.map(({ lastByte }) => lastByte), times.map(({ end }) => end)];
  const of = (samples: readonly number[]) =>
    `p50 ${percentile(samples, 0.5)} ms, p99 ${percentile(samples, 0.99)} ms`;
  return {
    what: `revocation to the last byte of a live log, ${what}`,
    figure: of(bytes),
    peer: 'promised: 1,000 ms (G9)',
    ratio: percentile(bytes, 0.99) / 1_000,
    note: `to the end of the connection: ${of(ends)}`,
  };
}

export async function benchRevocation(): Promise<Row[]> {
  const instance = await startInstance();
  const other = await openOtherProcess(join(instance.home, 'control', 'store.sqlite'));
  try {
    const session = await instance.client.sessions.create({});
    const command = ['sh', '-c', 'while :; do echo tick; sleep 0.01; done'];
    const run = await instance.client.runs.create({ session: session.id, command });
    const [here, there]: [Times[], Times[]] = [[], []];
    for (let round = 0; round < rounds; round += 1) {
      here.push(await measure(instance, run.id, null));
      there.push(await measure(instance, run.id, other));
    }
    await instance.client.runs.stop(run.id);
    return [row('over the API', here), row('by another process', there)];
  } finally {
    await other.close();
    await instance.remove();
  }
}

if (import.meta.main) console.table(await benchRevocation());
