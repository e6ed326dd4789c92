import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { Duplex } from 'node:stream';
import { connect } from 'node:tls';
import { promisify } from 'node:util';

/** What `load.c` says it saw. Latencies are microseconds. */
export type Seen = {
  readonly count: number;
  readonly failed: number;
  readonly bytes: number;
  readonly seconds: number;
  readonly p50us: number;
  readonly p99us: number;
};

export type Kind = 'connect' | 'request' | 'bulk' | 'hold' | 'lookup';
/** The keys that the head of `load.c` explains. */
export type Keys = Readonly<Record<string, string | number>>;
/** Words before the program, such as those that enter a namespace. */
export type Prefix = readonly string[];

/** The load generator, compiled into a folder of its own; null where gcc or OpenSSL's headers are missing. */
export async function compileLoad(): Promise<string | null> {
  const program = join(mkdtempSync(join(tmpdir(), 'sealwright-load-')), 'load');
  const words = ['-O2', '-o', program, join(import.meta.dirname, 'load.c'), '-lssl', '-lcrypto'];
  return await promisify(execFile)('gcc', words).then(
    () => program,
    () => null,
  );
}

function start(program: string, prefix: Prefix, kind: Kind, keys: Keys): ChildProcess {
  const settings = Object.entries(keys).map(([key, value]) => `${key}=${value}`);
  const [first, ...rest] = [...prefix, program, kind, ...settings] as [string, ...string[]];
  return spawn(first, rest, { stdio: ['pipe', 'pipe', 'inherit'] });
}

export async function measure(program: string, prefix: Prefix, kind: Kind, keys: Keys): Promise<Seen> {
  const child = start(program, prefix, kind, keys);
  const [line] = (await once(createInterface({ input: child.stdout! }), 'line')) as [string];
  return JSON.parse(line) as Seen;
}

/** Connections that stay open until `release`. */
export type Held = {
  readonly seen: Seen;
  /** When the first of them was cut, as `process.hrtime` counts, in microseconds. */
  readonly cut: Promise<number>;
  release(): Promise<void>;
};

export async function hold(program: string, prefix: Prefix, keys: Keys): Promise<Held> {
  const child = start(program, prefix, 'hold', keys);
  const lines = createInterface({ input: child.stdout! });
  const exited = once(child, 'exit');
  const [first] = (await once(lines, 'line')) as [string];
  const cut = Promise.withResolvers<number>();
  lines.once('line', (line) => cut.resolve((JSON.parse(line) as { cut: number }).cut));
  return {
    seen: JSON.parse(first) as Seen,
    cut: cut.promise,
    release: async () => {
      child.stdin!.end();
      await exited;
    },
  };
}

/** A TLS hello that asks for `name`, as hexadecimal digits: enough for what only looks at names. */
export function helloFor(name: string): Promise<string> {
  return new Promise((resolve) => {
    const sink = new Duplex({
      read: () => undefined,
      write: (chunk: Buffer) => {
        resolve(chunk.toString('hex'));
        setImmediate(() => sink.destroy());
      },
    });
    connect({ socket: sink, servername: name }).on('error', () => undefined);
  });
}

export const hex = (text: string): string => Buffer.from(text, 'latin1').toString('hex');
