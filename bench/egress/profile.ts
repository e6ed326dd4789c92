import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { setTimeout as pause } from 'node:timers/promises';

/** Processor time of a process so far, in seconds. */
export function cpuSeconds(pid: number): number {
  const ticksPerSecond = 100;
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return (Number(fields[11]) + Number(fields[12])) / ticksPerSecond;
}

/** How many cores each process takes while `act` runs, such as `gateway 0.98, control 0.31`. */
export async function coresOf(
  pids: Readonly<Record<string, number>>,
  act: () => Promise<unknown>,
): Promise<string> {
  const before = Object.values(pids).map(cpuSeconds);
  const startedAt = performance.now();
  await act();
  const seconds = (performance.now() - startedAt) / 1000;
  return Object.entries(pids)
    .map(([name, pid], index) => `${name} ${((cpuSeconds(pid) - before[index]!) / seconds).toFixed(2)}`)
    .join(', ');
}

type Frame = { readonly functionName: string; readonly url: string; readonly lineNumber: number };
type Profile = {
  readonly nodes: readonly { readonly id: number; readonly callFrame: Frame }[];
  readonly samples: readonly number[];
  readonly timeDeltas: readonly number[];
};

/**
 * Where a Node process of ours spends its time while `act` runs: the busiest functions with their share of the
 * time that was not idle. `(program)` is native code, mostly the kernel's. Only one process of a network
 * namespace at a time can be looked at, at the inspector's own port.
 */
export async function profiled(pid: number, act: () => Promise<unknown>): Promise<string[]> {
  process.kill(pid, 'SIGUSR1');
  const socket = await inspectorSocket();
  const call = caller(socket);
  await call('Profiler.enable');
  await call('Profiler.setSamplingInterval', { interval: 200 });
  await call('Profiler.start');
  await act();
  const { profile } = (await call('Profiler.stop')) as { profile: Profile };
  await call('Runtime.evaluate', { expression: "process.getBuiltinModule('inspector').close()" }).catch(
    () => undefined,
  );
  socket.close();
  return busiest(profile);
}

async function inspectorSocket(): Promise<WebSocket> {
  for (let tries = 0; ; tries += 1) {
    try {
      const [target] = (await (await fetch('http://127.0.0.1:9229/json/list')).json()) as {
        webSocketDebuggerUrl: string;
      }[];
      const socket = new WebSocket(target!.webSocketDebuggerUrl);
      await once(socket, 'open');
      return socket;
    } catch (error) {
      if (tries > 50) throw error;
      await pause(50);
    }
  }
}

function caller(socket: WebSocket) {
  let next = 1;
  const waiting = new Map<number, (result: unknown) => void>();
  socket.addEventListener('message', ({ data }) => {
    const { id, result } = JSON.parse(String(data)) as { id: number; result: unknown };
    waiting.get(id)?.(result);
  });
  return (method: string, params: object = {}): Promise<unknown> =>
    new Promise((resolve, reject) => {
      const id = next++;
      waiting.set(id, resolve);
      socket.addEventListener('close', () => reject(new Error('the inspector is gone')), { once: true });
      socket.send(JSON.stringify({ id, method, params }));
    });
}

function busiest({ nodes, samples, timeDeltas }: Profile): string[] {
  const named = new Map(nodes.map(({ id, callFrame }) => [id, placeOf(callFrame)]));
  const spent = new Map<string, number>();
  for (const [index, id] of samples.entries()) {
    const name = named.get(id)!;
    if (name !== '(idle)') spent.set(name, (spent.get(name) ?? 0) + timeDeltas[index]!);
  }
  const total = [...spent.values()].reduce((sum, each) => sum + each, 0);
  return [...spent]
    .sort(([, a], [, b]) => b - a)
    .slice(0, 25)
    .map(([name, time]) => `${((100 * time) / total).toFixed(1).padStart(5)} %  ${name}`);
}

function placeOf({ functionName, url, lineNumber }: Frame): string {
  if (url === '') return functionName;
  return `${functionName || '(anonymous)'} ${url.split('/').at(-1)}:${lineNumber + 1}`;
}
