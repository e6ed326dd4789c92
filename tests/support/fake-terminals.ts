import type { Channel } from '../../src/base/channel.ts';
import { attachStreams } from '../../src/contract/attach.ts';
import type {
  ExecSpec,
  TerminalAsk,
  TerminalInfo,
  TerminalOrder,
  TerminalPurpose,
  TerminalTold,
} from '../../src/contract/runner-terminals.ts';
import type { ActorId } from '../../src/model/actor.ts';
import type { RunId, TerminalId } from '../../src/model/ids.ts';
import type { TerminalSize } from '../../src/model/terminal.ts';

type Fault = { readonly code: string; readonly detail: string };
type Changed = () => void;

/** Input as the runner was given it, and whose it said that it was. */
export type FakeInput = { readonly by: ActorId | null; readonly recordInput: boolean; readonly text: string };

/** A terminal without a sandbox: what a test writes is its output, and what is typed is kept. */
export class FakeTerminal {
  readonly id: TerminalId;
  readonly run: RunId;
  readonly kind: 'run' | 'exec';
  readonly by: ActorId;
  readonly command: readonly string[];
  readonly inputs: FakeInput[] = [];
  size: TerminalSize;
  output = Buffer.alloc(0);
  /** Output before this offset cannot be resumed from. */
  keptFrom = 0;
  /** Whether what is typed is shown, as a program such as cat does. */
  echoes = false;
  recorded = true;
  /** Whether what is typed is not read, as by a program that has stopped. */
  stalls = false;
  ended: { readonly code: number | null } | null = null;
  /** How the screen is redrawn at an offset. */
  screen: (offset: number) => Buffer = (offset) => Buffer.from(`<screen at ${offset}>`);
  /** What is recorded of it; where null, an asciicast of its output. */
  recording: Buffer | null = null;
  /** How often it was shown. */
  shown = 0;
  readonly channels = new Set<Channel>();
  readonly #changed: Changed;

  constructor(
    given: Pick<FakeTerminal, 'id' | 'run' | 'kind' | 'by' | 'command' | 'size'>,
    changed: Changed,
  ) {
    this.id = given.id;
    this.run = given.run;
    this.kind = given.kind;
    this.by = given.by;
    this.command = given.command;
    this.size = given.size;
    this.#changed = changed;
  }

  /** Its program writes. */
  write(text: string | Buffer): void {
    const bytes = Buffer.from(text as string);
    this.output = Buffer.concat([this.output, bytes]);
    for (const channel of this.channels) channel.sendData(bytes).catch(() => undefined);
    this.#changed();
  }

  /** Its program ends. */
  end(code: number | null): void {
    this.ended = { code };
    this.tell({ told: 'ended', code });
    for (const channel of this.channels) channel.end();
    this.#changed();
  }

  /** The recording can be written, or not. */
  record(recorded: boolean): void {
    this.recorded = recorded;
    this.tell({ told: 'recorded', recorded });
  }

  resize(size: TerminalSize): void {
    this.size = size;
    this.tell({ told: 'size', size });
    this.#changed();
  }

  tell(told: TerminalTold): void {
    for (const channel of this.channels) channel.sendJson(told).catch(() => undefined);
  }

  /** Everything that was typed. */
  get typed(): string {
    return this.inputs.map(({ text }) => text).join('');
  }

  async serve(channel: Channel, from: number | null): Promise<void> {
    this.shown += 1;
    const resumed = from !== null && from >= this.keptFrom && from <= this.output.length;
    const offset = resumed ? from : this.output.length;
    const snapshot = resumed ? Buffer.alloc(0) : this.screen(offset);
    const opening = {
      size: this.size,
      offset,
      snapshotBytes: snapshot.length,
      resumed,
      recorded: this.recorded,
    };
    void channel.sendJson(opening);
    if (snapshot.length > 0) void channel.sendData(snapshot);
    if (offset < this.output.length) void channel.sendData(this.output.subarray(offset));
    if (this.ended !== null) return await channel.sendJson({ told: 'ended', ...this.ended });
    this.channels.add(channel);
    this.#changed();
    await this.#takeInput(channel).finally(() => this.channels.delete(channel));
    this.#changed();
  }

  info(): TerminalInfo {
    const { id, kind, by, command, size, ended } = this;
    const recordingBytes = this.cast().length;
    const times = { openedAt: 1_000, endedAt: ended === null ? null : 2_000, exitCode: ended?.code ?? null };
    return { id, kind, by, command, size, ...times, recordingBytes, recordingSeconds: 1, complete: true };
  }

  cast(): Buffer {
    if (this.recording !== null) return this.recording;
    const header = { version: 2, width: this.size.columns, height: this.size.rows };
    const event = [0.5, 'o', this.output.toString('utf8')];
    return Buffer.from(`${JSON.stringify(header)}\n${JSON.stringify(event)}\n`);
  }

  async #takeInput(channel: Channel): Promise<void> {
    let author: { by: ActorId; recordInput: boolean } | null = null;
    for (let frame = await channel.read(); frame !== null; frame = await channel.read()) {
      if (frame.kind === 'json') {
        const ask = frame.value as TerminalAsk;
        if (ask.ask === 'size') this.resize(ask.size);
        else author = ask;
        continue;
      }
      const text = frame.bytes.toString('latin1');
      this.inputs.push({ by: author?.by ?? null, recordInput: author?.recordInput ?? false, text });
      if (this.echoes) this.write(Buffer.from(frame.bytes));
      this.#changed();
      if (this.stalls) await channel.closed;
    }
  }
}

/** A command with pipes, or a connection to a port: a test writes what comes out, and reads what went in. */
export class FakePipe {
  readonly purpose: TerminalPurpose & { purpose: 'exec' | 'port' };
  readonly #channel: Channel;
  readonly #changed: Changed;
  input = '';
  /** No more input comes. */
  inputEnded = false;
  /** Control has hung up. */
  closed = false;

  constructor(purpose: FakePipe['purpose'], channel: Channel, changed: Changed) {
    this.purpose = purpose;
    this.#channel = channel;
    this.#changed = changed;
  }

  get spec(): ExecSpec | null {
    return this.purpose.purpose === 'exec' ? this.purpose.exec : null;
  }

  /** Resolves once the bytes are on their way, which a slow reader holds up. */
  async write(text: string | Buffer, stream: 1 | 2 = attachStreams.output): Promise<void> {
    const bytes = Buffer.from(text as string);
    if (this.spec === null) return await this.#channel.sendData(bytes);
    await this.#channel.sendData(Buffer.concat([Buffer.of(stream), bytes]));
  }

  /** The command ends. */
  async exit(code: number): Promise<void> {
    await this.#channel.sendJson({ exit: { code } });
    this.#channel.end();
  }

  /** The port's connection ends, or the runner hangs up. */
  end(): void {
    this.#channel.end();
  }

  async serve(): Promise<void> {
    void this.#channel.sendJson(this.spec === null ? { connected: true } : { started: true });
    this.#changed();
    try {
      for (let frame = await this.#channel.read(); frame !== null; frame = await this.#channel.read()) {
        if (frame.kind === 'json') this.inputEnded = true;
        else this.input += frame.bytes.toString('latin1');
        this.#changed();
      }
      this.inputEnded = true;
    } catch {
      // Control hung up.
    }
    this.#changed();
    await this.#channel.closed;
    this.closed = true;
    this.#changed();
  }
}

/**
 * The terminals of a fake runner. A run that was made with `terminal` has one in `of(run)` once it was started; one of
 * `exec` with a terminal is there once its ticket was redeemed. Tests write to them, end them, say that they cannot be
 * recorded, and look at what was typed; `pipes` holds commands without a terminal and connections to ports.
 *
 *     await runner.until(() => runner.live.has(run));
 *     runner.running(run);               // nobody attaches to a run that has not begun
 *     const terminal = runner.terminals.of(run);
 *     terminal.echoes = true;            // like cat
 *     terminal.write('hello');           // every client sees it
 *     terminal.record(false);            // everybody is cut
 *     await runner.until(() => terminal.typed === 'ls\r');
 *     terminal.end(0);
 */
export class FakeTerminals {
  readonly all = new Map<TerminalId, FakeTerminal>();
  readonly pipes: FakePipe[] = [];
  /** The fault that everything asked of terminals is answered with. */
  refusal: Fault | null = null;
  readonly #changed: Changed;

  constructor(changed: Changed) {
    this.#changed = changed;
  }

  /** The run's own terminal. Throws where it has none. */
  of(run: RunId): FakeTerminal {
    const found = [...this.all.values()].find((terminal) => terminal.run === run && terminal.kind === 'run');
    if (found === undefined) throw new Error(`${run} has no terminal`);
    return found;
  }

  open(given: Pick<FakeTerminal, 'id' | 'run' | 'kind' | 'by' | 'command' | 'size'>): FakeTerminal {
    const terminal = new FakeTerminal(given, this.#changed);
    this.all.set(terminal.id, terminal);
    this.#changed();
    return terminal;
  }

  /** The run has ended. */
  endOf(run: RunId, code: number | null): void {
    for (const terminal of this.all.values())
      if (terminal.run === run && terminal.ended === null) terminal.end(code);
    for (const pipe of this.pipes)
      if ((pipe.spec?.run ?? (pipe.purpose as { run?: RunId }).run) === run) pipe.end();
  }

  carryOut(order: TerminalOrder): { ok: unknown } | { fault: Fault } {
    if (this.refusal !== null) return { fault: this.refusal };
    if (order.order === 'terminals') {
      const found = [...this.all.values()].filter(({ run }) => run === order.run);
      return { ok: found.map((terminal) => terminal.info()) };
    }
    if (order.order === 'close-terminal') this.all.get(order.terminal)?.end(129);
    else {
      const { terminal, exec } = order;
      this.open({ ...terminal, run: exec.run, kind: 'exec', by: exec.by, command: exec.command });
    }
    return { ok: null };
  }

  async serve(channel: Channel, purpose: TerminalPurpose): Promise<void> {
    if (this.refusal !== null) return await channel.sendJson({ fault: this.refusal });
    if (purpose.purpose === 'exec' || purpose.purpose === 'port') {
      const pipe = new FakePipe(purpose, channel, this.#changed);
      this.pipes.push(pipe);
      return await pipe.serve();
    }
    const terminal = this.all.get(purpose.terminal);
    if (terminal === undefined || terminal.run !== purpose.run)
      return await channel.sendJson({ fault: { code: 'resource.absent', detail: 'No such terminal.' } });
    if (purpose.purpose === 'terminal') return await terminal.serve(channel, purpose.from);
    const cast = terminal.cast();
    for (let at = 0; at < cast.length; at += 64 * 1024)
      await channel.sendData(cast.subarray(at, at + 64 * 1024));
  }
}
