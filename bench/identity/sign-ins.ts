import { Agent, request } from 'node:http';
import { openPasswords } from '../../src/identity/passwords.ts';
import { watchMemory } from '../../tests/support/resident-memory.ts';
import type { Row } from '../row.ts';
import { latencies } from './load.ts';
import { type Person, password } from './person.ts';

/**
 * Sign-ins with a password while 200 of them are queued, each of an address of its own, beside one Argon2id hash
 * after the other in a process that does nothing else; and what they cost those who are signed in.
 */
const queued = 200;
const seconds = 12;
const hashes = 12;

type Told = { signedIn: number; refused: number };

export async function benchSignIns({ instance, name, credentials, path }: Person): Promise<Row[]> {
  const alone = await hashesPerSecond();
  const url = `${instance.url}${path}`;
  const bearer = credentials['API token'];
  const idle = await latencies(url, bearer, seconds / 2);
  const memory = watchMemory([instance.pids().control]);
  const stop = new AbortController();
  const told: Told = { signedIn: 0, refused: 0 };
  const agent = new Agent({ keepAlive: true, maxSockets: queued });
  const lanes = Array.from({ length: queued }, (_, index) =>
    lane({ url: `${instance.url}/auth/password`, name, index, agent, stop: stop.signal, told }),
  );
  // From here on the queue is as full as it gets.
  await new Promise((resolve) => setTimeout(resolve, 1_000));
  const [before, startedAt] = [told.signedIn, performance.now()];
  const busy = await latencies(url, bearer, seconds);
  const perSecond = ((told.signedIn - before) * 1000) / (performance.now() - startedAt);
  stop.abort();
  await Promise.all(lanes);
  agent.destroy();
  const [growth = 0] = memory.growth();
  const mib = growth / 1024 ** 2;
  return [
    {
      what: `sign-ins with a password, ${queued} queued`,
      figure: `${perSecond.toFixed(1)} /s`,
      peer: `one Argon2id hash after the other: ${alone.toFixed(1)} /s`,
      ratio: perSecond / alone,
      note: `${told.refused} waited too long and were told to come again; control grew by ${mib.toFixed(0)} MiB`,
    },
    {
      what: `read of one session while ${queued} sign-ins are queued, p99`,
      figure: `${busy.p99Ms.toFixed(2)} ms`,
      peer: `idle: ${idle.p99Ms.toFixed(2)} ms`,
      ratio: busy.p99Ms / idle.p99Ms,
      note: `aim: at most 2; median ${busy.p50Ms.toFixed(2)} ms, idle ${idle.p50Ms.toFixed(2)} ms`,
    },
  ];
}

async function hashesPerSecond(): Promise<number> {
  const passwords = openPasswords();
  await passwords.hash(password, null);
  const startedAt = performance.now();
  for (let count = 0; count < hashes; count += 1) await passwords.hash(password, null);
  return (hashes * 1000) / (performance.now() - startedAt);
}

/** One person at one address who signs in again and again. */
async function lane(options: {
  url: string;
  name: string;
  index: number;
  agent: Agent;
  stop: AbortSignal;
  told: Told;
}): Promise<void> {
  const { url, name, index, agent, stop, told } = options;
  const body = JSON.stringify({ name, password });
  const headers = {
    'content-type': 'application/json',
    'content-length': Buffer.byteLength(body),
    'x-forwarded-for': `198.51.${100 + (index >> 8)}.${index & 255}`,
  };
  while (!stop.aborted) {
    const status = await new Promise<number>((resolve, reject) => {
      const asked = request(url, { method: 'POST', agent, headers, signal: stop }, (answer) => {
        answer.resume();
        answer.on('end', () => resolve(answer.statusCode ?? 0));
      });
      asked.on('error', (error) => (stop.aborted ? resolve(0) : reject(error)));
      asked.end(body);
    });
    if (status === 200) told.signedIn += 1;
    else if (status === 429 || status === 503) told.refused += 1;
    else if (status !== 0) throw new Error(`a sign-in was answered ${status}`);
  }
}
