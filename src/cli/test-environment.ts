import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { systemClock } from '../base/clock.ts';
import type { Environment, Output } from './environment.ts';

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

export type TestEnvironment = Environment & {
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
    stdout: new KeptOutput(),
    stderr: new KeptOutput(),
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
