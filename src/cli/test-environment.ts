import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { systemClock } from '../base/clock.ts';
import type { TerminalSize } from '../model/terminal.ts';
import type { Environment, Input, Output, UserTerminal } from './environment.ts';

/** For tests: an output that keeps what it gets. `close` makes it behave like a pipe whose reader left. */
export class KeptOutput implements Output {
  readonly chunks: Buffer[] = [];
  isTerminal = false;
  columns = 80;
  colour = false;
  failure: Error | null = null;

  async write(bytes: Uint8Array | string): Promise<void> {
    if (this.failure !== null) throw this.failure;
    this.chunks.push(Buffer.from(bytes as Uint8Array));
  }

  get bytes(): Buffer {
    return Buffer.concat(this.chunks);
  }

  get text(): string {
    return this.bytes.toString('utf8');
  }
}

/** For tests: a terminal whose keys the test types. */
export class TestTerminal implements UserTerminal {
  current: TerminalSize = { columns: 80, rows: 24 };
  /** Whether keys come as they are. */
  isRaw = false;
  readonly #resized = new Set<() => void>();
  #keys: (bytes: Uint8Array) => void = () => {};
  #gone: () => void = () => {};
  #began = Promise.withResolvers<void>();

  /** Resolves when somebody takes keys. */
  get taken(): Promise<void> {
    return this.#began.promise;
  }

  size(): TerminalSize {
    return this.current;
  }

  onResize(handler: () => void): () => void {
    this.#resized.add(handler);
    return () => this.#resized.delete(handler);
  }

  raw({ keys, gone }: Parameters<UserTerminal['raw']>[0]): () => void {
    this.isRaw = true;
    this.#keys = keys;
    this.#gone = gone;
    this.#began.resolve();
    return () => {
      this.isRaw = false;
      this.#keys = () => {};
      this.#gone = () => {};
      this.#began = Promise.withResolvers();
    };
  }

  type(keys: string): void {
    this.#keys(Buffer.from(keys, 'latin1'));
  }

  hangUp(): void {
    this.#gone();
  }

  resize(size: TerminalSize): void {
    this.current = size;
    for (const handler of [...this.#resized]) handler();
  }
}

export type TestEnvironment = Omit<Environment, 'terminal' | 'stdin'> & {
  stdin: Input;
  terminal: TestTerminal | null;
  readonly stdout: KeptOutput;
  readonly stderr: KeptOutput;
  readonly folder: string;
  /** Answers for `ask`, in order; none left means nobody can answer. */
  readonly answers: string[];
  readonly questions: string[];
  /** What standard input holds. */
  input: string;
  /** Does what Ctrl-C does. */
  interrupt(): void;
  dispose(): void;
};

/** An environment of its own temporary folder, in which git has a name, an address and no settings of the machine. */
export function testEnvironment(variables: Record<string, string> = {}): TestEnvironment {
  const folder = mkdtempSync(join(tmpdir(), 'sealwright-test-'));
  const handlers = new Set<(signal: NodeJS.Signals) => void>();
  const answers: string[] = [];
  const questions: string[] = [];
  return {
    folder,
    answers,
    questions,
    variables: {
      PATH: process.env.PATH,
      HOME: folder,
      GIT_CONFIG_NOSYSTEM: '1',
      SEALWRIGHT_CREDENTIALS: 'file',
      ...variables,
    },
    cwd: folder,
    home: folder,
    temporary: folder,
    uid: process.getuid?.() ?? null,
    platform: process.platform,
    program: ['/opt/sealwright/bin/sealwright'],
    stdout: new KeptOutput(),
    stderr: new KeptOutput(),
    stdin: { isTerminal: false, read: () => bytesOf('') },
    terminal: null,
    clock: systemClock,
    async ask(question) {
      questions.push(question);
      return answers.shift() ?? null;
    },
    input: '',
    async readInput() {
      return this.input;
    },
    onInterrupt(handler) {
      handlers.add(handler);
      return () => handlers.delete(handler);
    },
    interrupt() {
      for (const handler of [...handlers]) handler('SIGINT');
    },
    dispose() {
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

/** For tests: standard input that holds this. */
export async function* bytesOf(text: string | Uint8Array): AsyncGenerator<Uint8Array> {
  if (text.length > 0) yield Buffer.from(text as string);
}
