import { existsSync, write, writeSync } from 'node:fs';
import { homedir, tmpdir } from 'node:os';
import { extname, join } from 'node:path';
import { isatty } from 'node:tty';
import { systemClock } from '../base/clock.ts';
import type { Context } from '../cli/context.ts';
import { type Environment, type Output, OutputClosed, type UserTerminal } from '../cli/environment.ts';
import { buildProgram, handedOver, type ProgramFlags, runProgram } from '../cli/program.ts';
import { version } from './version.ts';

/**
 * Standard output or error as an `Output`. Written past Node's own streams, which block the whole program on a
 * pipe that nobody reads, so that Ctrl-C works while a reader stalls.
 */
function openOutput(descriptor: 1 | 2): Output {
  const isTerminal = isatty(descriptor);
  const stream = () => (descriptor === 1 ? process.stdout : process.stderr);
  let last: Promise<void> = Promise.resolve();
  return {
    isTerminal,
    get columns() {
      return (isTerminal ? stream().columns : undefined) ?? 80;
    },
    colour: isTerminal && (process.env.NO_COLOR ?? '') === '' && process.env.TERM !== 'dumb',
    write(bytes) {
      const buffer = typeof bytes === 'string' ? Buffer.from(bytes) : bytes;
      last = last.then(() => writeAll(descriptor, buffer));
      last.catch(() => {});
      return last;
    },
  };
}

const retryMs = 5;

async function writeAll(descriptor: number, bytes: Uint8Array): Promise<void> {
  let offset = 0;
  while (offset < bytes.length) {
    const { error, count } = await writeOnce(descriptor, bytes.subarray(offset));
    offset += count;
    if (error === null) continue;
    if (error.code === 'EPIPE' || error.code === 'EOF' || error.code === 'EBADF') throw new OutputClosed();
    // A pipe that its other owner made non-blocking is full.
    if (error.code !== 'EAGAIN') throw error;
    await new Promise((resolve) => setTimeout(resolve, retryMs));
  }
}

function writeOnce(
  descriptor: number,
  bytes: Uint8Array,
): Promise<{ error: NodeJS.ErrnoException | null; count: number }> {
  return new Promise((resolve) => {
    write(descriptor, bytes, (error, count) => resolve({ error, count: error === null ? count : 0 }));
  });
}

const interrupts = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;

/** The second signal meets nobody who listens, so the system's own action ends the program at once. */
function onInterrupt(handler: (signal: NodeJS.Signals) => void): () => void {
  const once = (signal: NodeJS.Signals) => {
    off();
    handler(signal);
  };
  const off = () => {
    for (const signal of interrupts) process.off(signal, once);
  };
  for (const signal of interrupts) process.on(signal, once);
  return off;
}

async function ask(question: string): Promise<string | null> {
  if (!isatty(0) || !isatty(2)) return null;
  const { createInterface } = await import('node:readline/promises');
  const { escapeText } = await import('../cli/escape.ts');
  const reader = createInterface({ input: process.stdin, output: process.stderr });
  const closed = new Promise<null>((resolve) => reader.once('close', () => resolve(null)));
  try {
    // Ctrl-D is no answer, and no is the safe one.
    return (await Promise.race([reader.question(escapeText(question)), closed])) ?? '';
  } finally {
    reader.close();
  }
}

async function readInput(charactersMax: number): Promise<string> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of process.stdin as AsyncIterable<Buffer>) {
    size += chunk.length;
    if (size > charactersMax) throw new RangeError(`standard input is longer than ${charactersMax} bytes`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString('utf8');
}

/** The program is ending: a terminal that takes no more is left as it is. */
function writeAtExit(text: string): void {
  try {
    writeSync(1, text);
  } catch {
    // It is gone, or stopped.
  }
}

/** Standard input is touched once it is used: whoever reads no keys leaves them to the next program. */
function openTerminal(): UserTerminal | null {
  if (!isatty(0) || !isatty(1)) return null;
  return {
    size: () => ({ columns: process.stdout.columns || 80, rows: process.stdout.rows || 24 }),
    onResize(handler) {
      process.stdout.on('resize', handler);
      return () => process.stdout.off('resize', handler);
    },
    raw({ keys, gone, back }) {
      const { stdin } = process;
      const restore = () => stdin.setRawMode(false);
      const leave = () => {
        restore();
        writeAtExit(back());
      };
      // Stopped from outside, the shell that has the terminal then finds it as it was.
      const stop = () => {
        restore();
        process.kill(process.pid, 'SIGSTOP');
      };
      const again = () => stdin.setRawMode(true);
      stdin.setRawMode(true);
      stdin.on('data', keys).once('end', gone).once('error', gone);
      process.on('exit', leave).on('SIGTSTP', stop).on('SIGCONT', again);
      return () => {
        process.off('exit', leave).off('SIGTSTP', stop).off('SIGCONT', again);
        stdin.off('data', keys).off('end', gone).off('error', gone);
        stdin.pause();
        restore();
      };
    },
  };
}

/** The launcher, which finds a Node that fits, wherever this was built or is run from its sources. */
function programWords(): readonly string[] {
  const launchers = ['../bin/sealwright', '../../bin/sealwright'].map((path) =>
    join(import.meta.dirname, path),
  );
  const launcher = launchers.find((path) => process.platform !== 'win32' && existsSync(path));
  return launcher === undefined ? [process.execPath, import.meta.filename] : [launcher];
}

function openEnvironment(): Environment {
  return {
    variables: process.env,
    cwd: process.cwd(),
    home: homedir(),
    temporary: tmpdir(),
    uid: process.getuid?.() ?? null,
    platform: process.platform,
    program: programWords(),
    stdout: openOutput(1),
    stderr: openOutput(2),
    stdin: { isTerminal: isatty(0), read: () => process.stdin as AsyncIterable<Buffer> },
    terminal: openTerminal(),
    ask,
    readInput,
    onInterrupt,
    clock: systemClock,
  };
}

/** Becomes another of this folder's programs, in this process where the system can do that. */
async function handOver(name: string, words: readonly string[]): Promise<number> {
  const program = join(import.meta.dirname, `${name}${extname(import.meta.filename)}`);
  const given = [...process.execArgv, program, ...words];
  if (process.platform !== 'win32' && process.execve !== undefined) {
    process.execve(process.execPath, [process.execPath, ...given], process.env);
  }
  const { spawnSync } = await import('node:child_process');
  const { status } = spawnSync(process.execPath, given, { stdio: 'inherit', shell: false });
  return status ?? 1;
}

function openContext(environment: Environment, flags: ProgramFlags): Context {
  const target = async () => {
    const { chooseTarget } = await import('../cli/target.ts');
    return await chooseTarget(environment, flags);
  };
  return {
    environment,
    async connect(options = {}) {
      const { connect } = await import('../cli/connect.ts');
      return connect(await target(), options);
    },
    async describeTarget() {
      const { url, profilePath, token } = await target();
      return { url, profile: profilePath, token: token !== null };
    },
    async isHere() {
      const { isHere } = await import('../cli/connect.ts');
      return await isHere(await target());
    },
    dataFolder: async () => (await target()).dataFolder,
    version,
    verbose: false,
    status: 0,
  };
}

async function main(words: readonly string[]): Promise<number> {
  const [first, ...rest] = words;
  if (handedOver.some((name) => name === first)) return await handOver(first!, rest);
  const environment = openEnvironment();
  const flags: ProgramFlags = {};
  const context = openContext(environment, flags);
  const program = buildProgram(context, (given) => {
    Object.assign(flags, given);
    context.verbose ||= given.verbose === true;
  });
  return await runProgram(program, words, context);
}

process.exit(await main(process.argv.slice(2)));
