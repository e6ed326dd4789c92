import type { Environment, UserTerminal } from '../environment.ts';
import type { CastEvent, CastFile } from './cast-file.ts';
import { CastModel } from './cast-model.ts';
import { draws } from './escape-policy.ts';
import { sizeOf } from './interact.ts';
import { TerminalFilter } from './terminal-filter.ts';

export type PlayOptions = {
  readonly speed: number;
  /** Seconds from the beginning. */
  readonly from: number;
  /** Seconds that nothing may happen for, at most. */
  readonly idleMax: number;
};

const jumpSeconds = 5;
/** Timers hold no more than some weeks. */
const waitMsMax = 60_000;
/** What the model is given at once. */
const batchCharacters = 256 * 1024;
const speedMin = 1 / 16;
const speedMax = 64;
const keyNames: Readonly<Record<string, 'pause' | 'quit' | 'back' | 'on' | 'faster' | 'slower' | 'start'>> = {
  ' ': 'pause',
  ...{ q: 'quit', '\x03': 'quit', '\x04': 'quit', '\x1b[D': 'back', '\x1bOD': 'back', '\x1b[C': 'on' },
  ...{ '\x1bOC': 'on', '\x1b[A': 'faster', '\x1bOA': 'faster', '\x1b[B': 'slower', '\x1bOB': 'slower' },
  g: 'start',
};

/**
 * Shows a recording in the user's terminal, in its own time, until it ends or the user does. What it shows can draw and
 * nothing else, and the terminal is as it was before when this returns.
 */
export class Player {
  readonly #environment: Environment;
  readonly #terminal: UserTerminal;
  readonly #cast: CastFile;
  readonly #idleMax: number;
  #filter = new TerminalFilter(draws, 'raw');
  #speed: number;
  /** Seconds of the recording that have been shown. */
  #at = 0;
  #paused = false;
  #quit = false;
  #seek: number | null;
  #wake: () => void = () => {};

  constructor(environment: Environment, terminal: UserTerminal, cast: CastFile, options: PlayOptions) {
    this.#environment = environment;
    this.#terminal = terminal;
    this.#cast = cast;
    this.#speed = options.speed;
    this.#idleMax = options.idleMax;
    this.#seek = options.from;
  }

  /** The seconds that were reached. */
  async play(): Promise<number> {
    const restore = this.#terminal.raw({
      keys: (bytes) => this.#key(Buffer.from(bytes).toString('latin1')),
      gone: () => this.#stop(),
      back: () => this.#filter.restore(),
    });
    const off = this.#environment.onInterrupt(() => this.#stop());
    try {
      while (this.#seek !== null && !this.#quit) await this.#playFrom(this.#seek);
    } finally {
      off();
      await this.#write(`${this.#filter.restore()}\r\n`).catch(() => {});
      restore();
    }
    return this.#at;
  }

  /** To the end, or until the user jumps. */
  async #playFrom(seconds: number): Promise<void> {
    this.#seek = null;
    const events = this.#cast.events();
    let event = await this.#draw(events, seconds);
    while (event !== null && !this.#quit && this.#seek === null) {
      await this.#waitFor(event.at);
      if (this.#quit || this.#seek !== null) break;
      if (event.kind === 'output') await this.#write(this.#filter.text(event.text));
      event = (await events.next()).value ?? null;
    }
    await events.return();
  }

  /** Draws the screen as it was then; gives the first event after that. */
  async #draw(
    events: AsyncGenerator<CastEvent, void, undefined>,
    seconds: number,
  ): Promise<CastEvent | null> {
    const back = this.#filter.restore();
    this.#filter = new TerminalFilter(draws, 'raw');
    const model = new CastModel(this.#cast.size);
    let event = (await events.next()).value ?? null;
    let last = 0;
    let batch = '';
    while (event !== null && event.at <= seconds && !this.#quit) {
      if (event.kind === 'output') batch += this.#filter.text(event.text);
      if (event.kind === 'resize' || batch.length >= batchCharacters) {
        await model.write(batch);
        batch = '';
      }
      if (event.kind === 'resize') model.resize(event.size);
      last = event.at;
      event = (await events.next()).value ?? null;
    }
    await model.write(batch);
    this.#at = event === null ? last : seconds;
    const picture = new TerminalFilter(draws).text(model.picture());
    await this.#write(`${back}\x1b[H\x1b[2J${picture}`);
    return event;
  }

  /** Waits for a moment of the recording, as long as nobody pauses, jumps or leaves. */
  async #waitFor(moment: number): Promise<void> {
    const { clock } = this.#environment;
    this.#at = Math.max(this.#at, moment - this.#idleMax);
    while (!this.#quit && this.#seek === null && (this.#paused || this.#at < moment)) {
      const began = clock.monotonic();
      const woken = new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
      const speed = this.#speed;
      if (this.#paused) await woken;
      else {
        const timer = setTimeout(
          () => this.#wake(),
          Math.min(((moment - this.#at) / speed) * 1000, waitMsMax),
        );
        await woken;
        clearTimeout(timer);
        // A timer may be early by a little.
        const passed = ((clock.monotonic() - began) / 1000 + 0.002) * speed;
        this.#at = Math.min(moment, this.#at + passed);
      }
    }
  }

  #key(key: string): void {
    const name = Object.hasOwn(keyNames, key) ? keyNames[key] : undefined;
    if (name === 'quit') this.#stop();
    if (name === 'pause') this.#pause();
    if (name === 'start') this.#seek = 0;
    if (name === 'back') this.#seek = Math.max(0, this.#at - jumpSeconds);
    if (name === 'on') this.#seek = this.#at + jumpSeconds;
    if (name === 'faster') this.#speed = Math.min(speedMax, this.#speed * 2);
    if (name === 'slower') this.#speed = Math.max(speedMin, this.#speed / 2);
    this.#wake();
  }

  /** The line that says so lies over the last one of the recording, so that is drawn again afterwards. */
  #pause(): void {
    this.#paused = !this.#paused;
    if (!this.#paused) {
      this.#seek = this.#at;
      return;
    }
    const { columns, rows } = sizeOf(this.#terminal);
    const text = `paused at ${showClock(this.#at)}, speed ${this.#speed}: space goes on, arrows jump, q leaves`;
    void this.#write(`\x1b7\x1b[${rows};1H\x1b[0;7m${text.slice(0, columns - 1)}\x1b[0m\x1b[K\x1b8`).catch(
      () => {},
    );
  }

  #stop(): void {
    this.#quit = true;
    this.#wake();
  }

  async #write(text: string): Promise<void> {
    if (text !== '') await this.#environment.stdout.write(text);
  }
}

/** `1:02:03` or `02:03`. */
export function showClock(seconds: number): string {
  const whole = Math.floor(seconds);
  const two = (value: number) => value.toString().padStart(2, '0');
  const [hours, minutes] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60];
  return `${hours > 0 ? `${hours}:` : ''}${two(minutes)}:${two(whole % 60)}`;
}
