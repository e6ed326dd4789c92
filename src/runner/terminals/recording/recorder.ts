import type { Clock } from '../../../base/clock.ts';
import type { ActorId } from '../../../model/actor.ts';
import type { TerminalSize } from '../../../model/terminal.ts';
import type { Redactor } from '../../../redaction/redactor.ts';
import type { Released, TextStream } from '../../../redaction/text-stream.ts';
import type { TerminalRecorder } from '../terminal-hub.ts';
import { type CastCode, castHeader, castLine } from './cast.ts';
import { InputLines } from './input-lines.ts';
import { recordingLimits } from './limits.ts';
import { RecordingFiles, type RecordingFilesParts } from './recording-files.ts';

export type RecorderParts = Omit<RecordingFilesParts, 'onFault'> & {
  readonly clock: Clock;
  readonly redactor: Redactor;
  readonly size: TerminalSize;
  readonly openedAt: number;
  readonly command: readonly string[];
  readonly title: string;
};

/** What came in one piece: when, and how many characters of it are not written yet. */
type Arrival = { readonly at: number; characters: number };

/**
 * Writes down what a terminal shows as it shows it, without secrets. Never throws and makes nobody wait: what cannot be
 * written is told, and tried again until it can.
 */
export class Recorder implements TerminalRecorder {
  readonly #parts: RecorderParts;
  readonly #files: RecordingFiles;
  readonly #decoder = new TextDecoder('utf-8', { ignoreBOM: true });
  readonly #stream: TextStream;
  readonly #input: InputLines;
  readonly #beganAt: number;
  #size: TerminalSize;
  readonly #listeners = new Set<(isRecorded: boolean) => void>();
  #arrivals: Arrival[] = [];
  /** Clocks of the system jump: times are counted from the beginning, and never go back. */
  #lastSeconds = 0;
  #writtenAt = 0;
  #missed: { output: number; readonly since: number } | null = null;
  #gaps = 0;
  #settling: NodeJS.Timeout | null = null;
  #retrying: NodeJS.Timeout | null = null;
  readonly #attesting: NodeJS.Timeout;
  #isBegun = false;
  #isEnded = false;

  constructor(parts: RecorderParts) {
    this.#parts = parts;
    this.#size = parts.size;
    this.#beganAt = parts.clock.monotonic();
    this.#stream = parts.redactor.stream();
    this.#files = new RecordingFiles({ ...parts, onFault: () => this.#fail() });
    this.#input = new InputLines({
      redactor: parts.redactor,
      write: (text) => this.#write(this.#now(), 'i', text),
    });
    this.#attesting = setInterval(() => void this.#files.attest(), recordingLimits.rangeMs);
    this.#attesting.unref();
    this.#tryWrite('');
  }

  get isRecorded(): boolean {
    return this.#missed === null;
  }

  get size(): TerminalSize {
    return this.#size;
  }

  get bytes(): number {
    return this.#files.bytes;
  }

  /** The place behind everything that is recorded. */
  get place(): number {
    return this.#files.place;
  }

  get seconds(): number {
    return this.#lastSeconds;
  }

  /** Whether nothing was dropped, and nothing could not be written. */
  get isComplete(): boolean {
    return this.#gaps === 0 && this.#files.droppedBytes === 0;
  }

  onRecorded(listener: (isRecorded: boolean) => void): void {
    this.#listeners.add(listener);
  }

  output(bytes: Buffer): void {
    this.#shown(this.#decoder.decode(bytes, { stream: true }));
  }

  input(bytes: Buffer, { by, isHidden }: { readonly by: ActorId; readonly isHidden: boolean }): void {
    this.#input.take(bytes, by, isHidden, (marker) => this.#write(this.#now(), 'm', marker));
  }

  resized(size: TerminalSize): void {
    this.#size = size;
    const { columns, rows } = size;
    this.#write(this.#now(), 'r', `${columns}x${rows}`);
  }

  /** Writes what is held back, and resolves once everything is on the disk, or cannot be. Nothing is recorded after it. */
  async end(): Promise<void> {
    if (this.#isEnded) return;
    this.#shown(this.#decoder.decode());
    this.#say(this.#stream.flush());
    this.#input.flush();
    if (this.#missed !== null) this.#heal();
    this.#isEnded = true;
    for (const timer of [this.#settling, this.#retrying]) if (timer !== null) clearTimeout(timer);
    clearInterval(this.#attesting);
    await this.#files.close();
  }

  #shown(text: string): void {
    if (text === '' || this.#isEnded) return;
    this.#arrivals.push({ at: this.#now(), characters: text.length });
    this.#say(this.#stream.push(text));
    this.#settleSoon(recordingLimits.settleMs);
  }

  /** Each piece with the time that it came at, unless there is a secret in them. */
  #say({ characters, text, isWhole }: Released): void {
    if (characters === 0) return;
    const [first] = this.#arrivals;
    if (!isWhole) {
      this.#pass(characters);
      this.#write(first!.at, 'o', text);
      return;
    }
    for (let at = 0; at < characters; ) {
      const arrival = this.#arrivals[0]!;
      const taken = Math.min(arrival.characters, characters - at);
      this.#write(arrival.at, 'o', text.slice(at, at + taken));
      this.#pass(taken);
      at += taken;
    }
  }

  /** So many characters are said. */
  #pass(characters: number): void {
    let left = characters;
    while (left > 0) {
      const arrival = this.#arrivals[0]!;
      const taken = Math.min(left, arrival.characters);
      arrival.characters -= taken;
      left -= taken;
      if (arrival.characters === 0) this.#arrivals.shift();
    }
  }

  #settleSoon(afterMs: number): void {
    if (this.#settling !== null) return;
    this.#settling = setTimeout(() => {
      this.#settling = null;
      this.#settle();
    }, afterMs);
    this.#settling.unref();
  }

  #settle(): void {
    this.#say(this.#stream.settle());
    const [oldest] = this.#arrivals;
    if (oldest === undefined) return;
    const now = this.#now();
    if (now - oldest.at > recordingLimits.wordMs / 1000) {
      this.#say(this.#stream.flush());
      return;
    }
    if (now - this.#writtenAt > recordingLimits.probeMs / 1000) this.#write(now, 'o', '');
    this.#settleSoon(recordingLimits.probeMs);
  }

  #now(): number {
    return (this.#parts.clock.monotonic() - this.#beganAt) / 1000;
  }

  #write(at: number, code: CastCode, data: string): void {
    const seconds = Math.max(at, this.#lastSeconds);
    if (this.#missed !== null) {
      if (code === 'o') this.#missed.output += data.length;
      return;
    }
    if (!this.#tryWrite(castLine(seconds, code, data))) {
      this.#fail();
      if (code === 'o') this.#missed!.output += data.length;
      return;
    }
    this.#lastSeconds = seconds;
  }

  #tryWrite(line: string): boolean {
    const { size, openedAt, command, title, redactor } = this.#parts;
    try {
      if (!this.#isBegun) {
        const shown = redactor.starts([...command], recordingLimits.commandCharactersMax);
        const words = shown.map(({ text }) => text).join(' ');
        this.#files.append(Buffer.from(castHeader({ size, openedAt, command: words, title })));
        this.#isBegun = true;
      }
      if (line !== '') this.#files.append(Buffer.from(line));
      this.#writtenAt = this.#now();
      return true;
    } catch {
      if (!this.#isBegun && line === '') this.#fail();
      return false;
    }
  }

  #fail(): void {
    if (this.#missed !== null || this.#isEnded) return;
    this.#missed = { output: 0, since: this.#now() };
    this.#gaps += 1;
    for (const listener of this.#listeners) listener(false);
    this.#retrying = setInterval(() => this.#heal(), recordingLimits.retryMs);
    this.#retrying.unref();
  }

  #heal(): void {
    const { output, since } = this.#missed!;
    const now = this.#now();
    const gap = `sealwright: not recorded for ${(now - since).toFixed(1)} s, ${output} characters of output`;
    if (!this.#tryWrite(castLine(Math.max(now, this.#lastSeconds), 'm', gap))) return;
    this.#lastSeconds = Math.max(now, this.#lastSeconds);
    if (this.#retrying !== null) clearInterval(this.#retrying);
    this.#retrying = null;
    this.#missed = null;
    for (const listener of this.#listeners) listener(true);
  }
}
