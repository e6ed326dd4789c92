import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import type { CreateRun } from '../src/contract/schemas.ts';
import { type Instance, startInstance } from '../tests/support/instance.ts';
import type { Row } from './row.ts';

/**
 * From `POST run` to the first byte of `echo` seen by a client, and a burst of 50, beside raw bubblewrap with
 * the same mounts and beside another sandbox that npm ships. All in one run, interleaved, because a machine's
 * speed changes within minutes.
 */
const rounds = 100;
const burst = 50;
const parallel = 16;
const peerRounds = 20;

const rawWords = [
  ...[
    '--unshare-all',
    '--die-with-parent',
    '--new-session',
    '--uid',
    '10001',
    '--gid',
    '10001',
    '--clearenv',
  ],
  ...['--ro-bind', '/usr', '/usr', '--symlink', 'usr/bin', '/bin', '--symlink', 'usr/lib', '/lib'],
  ...[
    '--symlink',
    'usr/lib64',
    '/lib64',
    '--symlink',
    'usr/sbin',
    '/sbin',
    '--ro-bind',
    '/etc/alternatives',
    '/etc/alternatives',
  ],
  ...[
    '--proc',
    '/proc',
    '--tmpfs',
    '/proc/1',
    '--dev',
    '/dev',
    '--tmpfs',
    '/dev/shm',
    '--tmpfs',
    '/tmp',
    '--tmpfs',
    '/var/tmp',
  ],
  ...[
    '--bind',
    '/tmp',
    '/workspace',
    '--bind',
    '/tmp',
    '/home/agent',
    '--remount-ro',
    '/',
    '/usr/bin/echo',
    'x',
  ],
];

/** Milliseconds from the start of a program to its first byte of output. */
async function firstByte(
  program: string,
  words: readonly string[],
  env: NodeJS.ProcessEnv = {},
): Promise<number> {
  const startedAt = performance.now();
  const child = spawn(program, words, { env, stdio: ['ignore', 'pipe', 'ignore'] });
  const exited = once(child, 'exit');
  await Promise.race([
    once(child.stdout, 'data'),
    once(child.stdout, 'end').then(() => assert.fail(`${program} said nothing`)),
  ]);
  const tookMs = performance.now() - startedAt;
  await exited;
  return tookMs;
}

export async function runFirstByte(
  instance: Instance,
  session: string,
  more: Pick<CreateRun, 'egress'> = {},
): Promise<number> {
  const { client } = instance;
  const startedAt = performance.now();
  const run = await client.runs.create({
    session: session as never,
    command: ['/usr/bin/echo', 'x'],
    ...more,
  });
  let tookMs = 0;
  for await (const event of client.runs.logs(run.id, {})) {
    if (event.event === 'stdout' && tookMs === 0) tookMs = performance.now() - startedAt;
  }
  return tookMs;
}

export function percentile(samples: readonly number[], share: number): number {
  const sorted = [...samples].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))]!;
}

const both = (samples: readonly number[]) =>
  `${percentile(samples, 0.5).toFixed(1)} / ${percentile(samples, 0.99).toFixed(1)} ms`;

async function inParallel(
  count: number,
  width: number,
  act: (index: number) => Promise<unknown>,
): Promise<number> {
  const startedAt = performance.now();
  let next = 0;
  const lane = async () => {
    while (next < count) await act(next++);
  };
  await Promise.all(Array.from({ length: width }, lane));
  return performance.now() - startedAt;
}

/** Another sandbox, started as its users start it; a row that says why where it cannot be. */
async function peerRow(ours: readonly number[]): Promise<Row> {
  const what = 'the same beside @anthropic-ai/sandbox-runtime (srt echo x), p50 / p99';
  const srt = join(import.meta.dirname, '..', 'node_modules', '.bin', 'srt');
  try {
    const samples: number[] = [];
    for (let round = 0; round < peerRounds; round += 1)
      samples.push(await firstByte(srt, ['echo', 'x'], process.env));
    return {
      what,
      figure: both(ours),
      peer: both(samples),
      ratio: percentile(ours, 0.5) / percentile(samples, 0.5),
    };
  } catch {
    return {
      what,
      figure: both(ours),
      peer: 'not measured: it needs the Debian packages ripgrep and socat',
      ratio: null,
    };
  }
}

async function burstRow(instance: Instance): Promise<Row> {
  const sessions = await Promise.all(
    Array.from({ length: burst }, () => instance.client.sessions.create({})),
  );
  const rawMs: number[] = [];
  const ourMs: number[] = [];
  for (let round = 0; round < 3; round += 1) {
    rawMs.push(await inParallel(burst, parallel, () => firstByte('/usr/bin/bwrap', rawWords)));
    ourMs.push(await inParallel(burst, burst, (index) => runFirstByte(instance, sessions[index]!.id)));
  }
  const [our, raw] = [percentile(ourMs, 0.5), percentile(rawMs, 0.5)];
  return {
    what: `burst of ${burst} runs, all asked for at once`,
    figure: `${our.toFixed(0)} ms`,
    peer: `${burst} raw bwrap, ${parallel} at a time: ${raw.toFixed(0)} ms`,
    ratio: our / raw,
    note: 'aim: at most 1.5',
  };
}

export async function benchRunLatency(): Promise<Row[]> {
  const instance = await startInstance();
  try {
    const session = await instance.client.sessions.create({});
    const [ours, raw]: [number[], number[]] = [[], []];
    for (let round = -10; round < rounds; round += 1) {
      const [our, peer] = [
        await runFirstByte(instance, session.id),
        await firstByte('/usr/bin/bwrap', rawWords),
      ];
      if (round >= 0) ours.push(our);
      if (round >= 0) raw.push(peer);
    }
    return [
      {
        what: 'POST run → first byte of echo, p50 / p99',
        figure: both(ours),
        peer: `raw bwrap ${both(raw)}`,
        ratio: percentile(ours, 0.5) / percentile(raw, 0.5),
        note: 'aim: p50 at most 3, p99 under 60 ms',
      },
      await peerRow(ours),
      await burstRow(instance),
    ];
  } finally {
    await instance.remove();
  }
}

if (import.meta.main) {
  console.table(await benchRunLatency());
}
