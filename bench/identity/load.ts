import { execFile, fork } from 'node:child_process';
import { once } from 'node:events';
import { Agent, request } from 'node:http';
import { createRequire } from 'node:module';
import { promisify } from 'node:util';

/** Loads and watches a server from processes of their own, so that asking costs the server nothing. */

const autocannon = createRequire(import.meta.url).resolve('autocannon/autocannon.js');

export type Headers = Readonly<Record<string, string>>;

type Result = {
  readonly requests: { readonly average: number };
  readonly non2xx: number;
  readonly errors: number;
};

/** Requests a second over kept connections, each asking again when it was answered. Throws where one was refused. */
export async function requestsPerSecond(
  url: string,
  headers: Headers,
  { connections, seconds }: { connections: number; seconds: number },
): Promise<number> {
  const given = Object.entries(headers).flatMap(([name, value]) => ['-H', `${name}=${value}`]);
  const words = [autocannon, '-j', '-n', '-c', String(connections), '-d', String(seconds), ...given, url];
  const { stdout } = await promisify(execFile)(process.execPath, words);
  const { requests, non2xx, errors } = JSON.parse(stdout) as Result;
  if (non2xx + errors > 0) throw new Error(`${non2xx} answers were refusals, ${errors} requests failed`);
  return requests.average;
}

export type Latencies = { readonly p50Ms: number; readonly p99Ms: number };

/** How long answers take at a steady pace that does not wait for them. */
export async function latencies(url: string, headers: Headers, seconds: number): Promise<Latencies> {
  const child = fork(import.meta.filename, ['pace', url, JSON.stringify(headers), String(seconds)]);
  const [measured] = (await once(child, 'message')) as [Latencies];
  return measured;
}

const everyMs = 5;

async function pace(url: string, headers: Headers, seconds: number): Promise<void> {
  const agent = new Agent({ keepAlive: true, maxSockets: 32 });
  const taken: number[] = [];
  const ask = () =>
    new Promise<void>((resolve, reject) => {
      const startedAt = performance.now();
      const asked = request(url, { agent, headers }, (answer) => {
        if (answer.statusCode !== 200) reject(new Error(`status ${answer.statusCode}`));
        answer.resume();
        answer.on('end', () => {
          taken.push(performance.now() - startedAt);
          resolve();
        });
      });
      asked.on('error', reject);
      asked.end();
    });
  for (let count = 0; count < 50; count += 1) await ask();
  taken.length = 0;
  const asking: Promise<void>[] = [];
  const until = performance.now() + seconds * 1000;
  while (performance.now() < until) {
    asking.push(ask());
    await new Promise((resolve) => setTimeout(resolve, everyMs));
  }
  await Promise.all(asking);
  agent.destroy();
  taken.sort((a, b) => a - b);
  const at = (share: number) => taken[Math.floor((taken.length - 1) * share)]!;
  process.send?.({ p50Ms: at(0.5), p99Ms: at(0.99) } satisfies Latencies);
}

if (process.argv[2] === 'pace')
  await pace(process.argv[3]!, JSON.parse(process.argv[4]!) as Headers, Number(process.argv[5]));
