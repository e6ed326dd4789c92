import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as pause } from 'node:timers/promises';

const waitMaxMs = 15_000;

/** What is waited for, or an error that says what it was. */
export async function within<T>(waited: Promise<T>, what: string): Promise<T> {
  const gone = new AbortController();
  const late = pause(waitMaxMs, null, { signal: gone.signal }).then(() => {
    throw new Error(`${what}: nothing for ${waitMaxMs} ms`);
  });
  try {
    return await Promise.race([waited, late]);
  } finally {
    gone.abort();
    late.catch(() => undefined);
  }
}

/** A process of `writer-server.ts`. */
export class WriterProcess {
  readonly stream: string;
  readonly #child: ChildProcess;
  readonly #lines: AsyncIterator<string>;
  readonly #ended: Promise<unknown>;

  constructor(program: string, folder: string, stream: string) {
    this.stream = stream;
    this.#child = spawn(process.execPath, [program, folder, stream], { stdio: ['pipe', 'pipe', 'inherit'] });
    this.#lines = createInterface({ input: this.#child.stdout! })[Symbol.asyncIterator]();
    this.#ended = once(this.#child, 'exit');
    // It may be gone by then.
    this.#child.stdin!.on('error', () => undefined);
  }

  /** The next line that it says. */
  async said(): Promise<string> {
    const { done, value } = await within(this.#lines.next(), `a word from the writer of ${this.stream}`);
    assert(!done, `the writer of ${this.stream} said nothing more`);
    return value;
  }

  /** Lets it open its stream. */
  go(): void {
    this.#child.stdin!.write('go\n');
  }

  async kill(): Promise<void> {
    this.#child.kill('SIGKILL');
    await within(this.#ended, `the end of the writer of ${this.stream}`);
  }

  async close(): Promise<void> {
    this.#child.stdin!.end();
    assert.equal(await this.said(), 'closed');
    await within(this.#ended, `the end of the writer of ${this.stream}`);
  }
}

/** The writers of a folder, one of each stream; all are killed in the end. */
export class Writers implements AsyncDisposable {
  readonly #program: string;
  readonly #folder: string;
  readonly #started: WriterProcess[] = [];
  /** Who writes each stream, once it does. */
  readonly #open = new Map<string, Promise<{ writer: WriterProcess; key: string }>>();

  constructor(program: string, folder: string) {
    this.#program = program;
    this.#folder = folder;
  }

  /** One that has loaded what it needs, and waits. */
  async ready(stream: string): Promise<WriterProcess> {
    const writer = new WriterProcess(this.#program, this.#folder, stream);
    this.#started.push(writer);
    assert.equal(await writer.said(), 'ready');
    return writer;
  }

  /** Resolves to the stream's key once it is open. */
  async open(stream: string): Promise<string> {
    const opened = this.#opened(stream);
    this.#open.set(stream, opened);
    return (await opened).key;
  }

  /**
   * Kills the writer of a stream and opens the stream anew: whoever connects from now on gets the next one, or hears why there
   * is none.
   */
  restart(stream: string): void {
    const before = this.#open.get(stream)!;
    const opened = before.then(({ writer }) => writer.kill()).then(() => this.#opened(stream));
    this.#open.set(stream, opened);
    opened.catch(() => undefined);
  }

  async #opened(stream: string): Promise<{ writer: WriterProcess; key: string }> {
    const writer = await this.ready(stream);
    writer.go();
    const said = await writer.said();
    assert.match(said, /^open /);
    return { writer, key: said.slice('open '.length) };
  }

  async connect(stream: string): Promise<Connection> {
    await this.#open.get(stream);
    return await Connection.open(join(this.#folder, `${stream}.sock`), stream);
  }

  async close(): Promise<void> {
    for (const opened of await Promise.all(this.#open.values())) await opened.writer.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.#started.map((writer) => writer.kill()));
  }
}

/** A client's connection with a writer. */
export class Connection {
  readonly #stream: string;
  readonly #socket: Socket;
  readonly #lines: AsyncIterator<string>;

  private constructor(stream: string, socket: Socket) {
    this.#stream = stream;
    this.#socket = socket;
    const lines = createInterface({ input: socket });
    this.#lines = lines[Symbol.asyncIterator]();
    // A connection that is reset does not end.
    socket.on('error', () => undefined).once('close', () => lines.close());
  }

  static async open(path: string, stream: string): Promise<Connection> {
    const socket = connect(path);
    await within(once(socket, 'connect'), `a connection with the writer of ${stream}`);
    return new Connection(stream, socket);
  }

  send(lines: readonly string[]): void {
    this.#socket.write(lines.map((line) => `${line}\n`).join(''));
  }

  /** What was answered to so many lines: less where the writer was killed meanwhile. */
  async answers(count: number): Promise<string[]> {
    const answers: string[] = [];
    while (answers.length < count) {
      const line = await within(this.#line(), `an answer of the writer of ${this.#stream}`);
      if (line === null) break;
      answers.push(line);
    }
    return answers;
  }

  /** Null once there will be none: the connection has ended, or was reset. */
  async #line(): Promise<string | null> {
    const { done, value } = await this.#lines.next().catch(() => ({ done: true as const, value: null }));
    return done ? null : value;
  }

  close(): void {
    this.#socket.destroy();
  }
}
