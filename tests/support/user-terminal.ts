import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import headless, { type Terminal } from '@xterm/headless';

/** Runs `$@` in the terminal, and then says how it ended and what it left the terminal in. */
const wrapper = [
  'tty > "$TTY_FILE"',
  'stty cols 100 rows 30',
  `sh -c 'echo $$ > "$TTY_FILE.pid"; exec "$@"' sh "$@"`,
  'echo "STATUS $?"',
  'stty -a | grep -o -e "-*icanon"',
].join('; ');

/** A person's terminal: a real pseudo-terminal (script(1)) with a program in it, and a model of what it shows. */
export class UserTerminal {
  readonly child: ChildProcess;
  readonly terminal: Terminal;
  readonly ended: Promise<void>;
  readonly #folder: string;
  #wake: () => void = () => {};

  constructor(
    words: readonly string[],
    options: { cwd: string; environment: Readonly<Record<string, string>> },
  ) {
    this.#folder = mkdtempSync(join(tmpdir(), 'sealwright-terminal-'));
    this.terminal = new headless.Terminal({ cols: 100, rows: 30, allowProposedApi: true });
    const quoted = [wrapper, 'sh', ...words].map((word) => `'${word.replaceAll("'", "'\\''")}'`).join(' ');
    this.child = spawn('script', ['-qfc', `sh -c ${quoted}`, '/dev/null'], {
      cwd: options.cwd,
      env: { ...options.environment, TERM: 'xterm-256color', TTY_FILE: join(this.#folder, 'tty') },
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    this.child.stdout!.on('data', (bytes: Buffer) => this.terminal.write(bytes, () => this.#wake()));
    // As terminals do, it answers what programs ask it.
    this.terminal.onData((answer) => this.type(answer));
    this.ended = once(this.child, 'close').then(() => {
      this.#wake();
      rmSync(this.#folder, { recursive: true, force: true });
    });
  }

  /** What it shows, without blanks at the ends of lines. */
  get screen(): string {
    const { active } = this.terminal.buffer;
    const lines = Array.from({ length: this.terminal.rows }, (_, row) =>
      active.getLine(active.baseY + row)?.translateToString(true),
    );
    return lines.join('\n').trimEnd();
  }

  type(keys: string): void {
    this.child.stdin!.write(keys);
  }

  /** Resolves when the screen holds a match. */
  async shows(pattern: RegExp): Promise<void> {
    while (!pattern.test(this.screen)) {
      if (this.child.exitCode !== null) throw new Error(`it ended without ${pattern}:\n${this.screen}`);
      await new Promise<void>((resolve) => {
        const timer = setTimeout(() => {
          this.#wake = () => {};
          throw new Error(`no ${pattern} in:\n${this.screen}`);
        }, 20_000);
        this.#wake = () => {
          clearTimeout(timer);
          resolve();
        };
      });
    }
  }

  /** Of the program. */
  get pid(): number {
    return Number(readFileSync(join(this.#folder, 'tty.pid'), 'utf8'));
  }

  resize(columns: number, rows: number): void {
    this.terminal.resize(columns, rows);
    const tty = readFileSync(join(this.#folder, 'tty'), 'utf8').trim();
    execFileSync('stty', ['-F', tty, 'cols', `${columns}`, 'rows', `${rows}`]);
  }

  /** Ends whatever is still in it. */
  close(): void {
    this.child.stdin!.destroy();
    this.child.kill('SIGKILL');
  }
}
