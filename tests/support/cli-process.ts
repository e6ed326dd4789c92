import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { launcher, testEnvironment } from './instance.ts';

export type CliEnd = {
  readonly status: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: Buffer;
  readonly stderr: Buffer;
};

/** `sealwright` while it runs. */
export type CliProcess = {
  readonly child: ChildProcess;
  readonly ended: Promise<CliEnd>;
  /** Resolves when standard output or error holds a match; rejects when the program ends without one. */
  said(pattern: RegExp): Promise<void>;
  /** What it printed so far. */
  printed(): string;
};

export type CliOptions = {
  readonly cwd: string;
  readonly environment?: Readonly<Record<string, string>>;
  /** Words before the launcher, such as `setpriv --reuid=…`. */
  readonly prefix?: readonly string[];
};

/** Starts `sealwright` with the profile of the instance at `home`; what it prints is kept as bytes. */
export function startCli(home: string, words: readonly string[], options: CliOptions): CliProcess {
  const [program = launcher, ...rest] = [...(options.prefix ?? []), launcher, ...words];
  const child = spawn(program, rest, {
    env: { ...testEnvironment(home), ...options.environment },
    cwd: options.cwd,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const kept = { stdout: [] as Buffer[], stderr: [] as Buffer[] };
  const text = () => Buffer.concat([...kept.stdout, ...kept.stderr]).toString('latin1');
  const waiting = new Set<() => void>();
  for (const name of ['stdout', 'stderr'] as const) {
    child[name].on('data', (chunk: Buffer) => {
      kept[name].push(chunk);
      for (const look of [...waiting]) look();
    });
  }
  const ended = once(child, 'close').then(([status, signal]) => ({
    status: status as number | null,
    signal: signal as NodeJS.Signals | null,
    stdout: Buffer.concat(kept.stdout),
    stderr: Buffer.concat(kept.stderr),
  }));
  const said = (pattern: RegExp) =>
    new Promise<void>((resolve, reject) => {
      const look = () => {
        if (!pattern.test(text())) return;
        waiting.delete(look);
        resolve();
      };
      waiting.add(look);
      look();
      ended.then(() => reject(new Error(`it ended without saying ${pattern}: ${text()}`)), reject);
    });
  return { child, ended, said, printed: text };
}
