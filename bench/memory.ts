import { readdirSync, readFileSync } from 'node:fs';
import { type Instance, startInstance } from '../tests/support/instance.ts';
import type { Row } from './row.ts';

/** Resident memory of control and runner: idle, for each idle session, for each running sandbox. */
const sessionCount = 1_000;
const sandboxCount = 16;

const mib = (bytes: number) => `${(bytes / 1024 ** 2).toFixed(1)} MiB`;
const kib = (bytes: number) => `${(bytes / 1024).toFixed(0)} KiB`;

function memoryOf(pid: number, key: 'VmRSS' | 'Pss'): number {
  const file = key === 'Pss' ? 'smaps_rollup' : 'status';
  const text = readFileSync(`/proc/${pid}/${file}`, 'utf8');
  return Number(new RegExp(`^${key}:\\s+(\\d+) kB`, 'm').exec(text)?.[1] ?? 0) * 1024;
}

function below(pid: number): number[] {
  const children = readdirSync(`/proc/${pid}/task`).flatMap((thread) =>
    readFileSync(`/proc/${pid}/task/${thread}/children`, 'utf8')
      .split(' ')
      .filter((word) => word !== '')
      .map(Number),
  );
  return children.flatMap((child) => [child, ...below(child)]);
}

type Sample = { readonly control: number; readonly runner: number; readonly children: number };

async function sample({ pids }: Instance): Promise<Sample> {
  await new Promise((resolve) => setTimeout(resolve, 1_500));
  const { control, runner } = pids();
  const children = below(runner).reduce((sum, pid) => sum + memoryOf(pid, 'Pss'), 0);
  return { control: memoryOf(control, 'VmRSS'), runner: memoryOf(runner, 'VmRSS'), children };
}

const both = (value: Sample) => value.control + value.runner;

export async function benchMemory(): Promise<Row[]> {
  const instance = await startInstance({ environment: { SEALWRIGHT_SESSIONS_PER_OWNER: '10000' } });
  try {
    const { client } = instance;
    const idle = await sample(instance);
    for (let index = 0; index < sessionCount; index += 1) await client.sessions.create({});
    const withSessions = await sample(instance);
    for (let index = 0; index < sandboxCount; index += 1) {
      const session = await client.sessions.create({});
      await client.runs.create({ session: session.id, command: ['sleep', '60'] });
    }
    const withSandboxes = await sample(instance);
    const row = (what: string, figure: string): Row => ({ what, figure, peer: '', ratio: null });
    return [
      row('memory, idle: control / runner', `${mib(idle.control)} / ${mib(idle.runner)}`),
      row('memory, idle: prepared starts together (PSS)', mib(idle.children)),
      row('memory for each idle session', kib((both(withSessions) - both(idle)) / sessionCount)),
      row(
        'memory for each running sandbox: servers',
        kib((both(withSandboxes) - both(withSessions)) / sandboxCount),
      ),
      row(
        'memory for each running sandbox: its processes (PSS)',
        kib((withSandboxes.children - withSessions.children) / sandboxCount),
      ),
    ];
  } finally {
    await instance.remove();
  }
}

if (import.meta.main) console.table(await benchMemory());
