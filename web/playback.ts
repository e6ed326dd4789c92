import type { TerminalSize } from '../src/model/terminal.ts';
import type { Cast, CastEvent } from './asciicast.ts';

/** Where a recording is drawn. */
export type Stage = {
  /** Resolves once it is drawn. */
  write(text: string): Promise<void>;
  resize(size: TerminalSize): void;
  reset(): void;
};

/** When to draw on, and how late it is. Both by argument, so that tests need not wait. */
export type PlaybackClock = {
  now(): number;
  /** Resolves when the browser draws next. */
  frame(): Promise<void>;
};

export type PlaybackState = {
  readonly seconds: number;
  readonly isPlaying: boolean;
  readonly hasEnded: boolean;
};

/** What is handed to the stage at once: so much later at most a seek gives way to the next. */
const sliceBytesMax = 1024 * 1024;
const sliceEventsMax = 20_000;

/**
 * Plays a recording on a stage. Seeking back draws from the beginning: pictures of the screen in between would be faster,
 * but whoever seeks has to see what whoever plays sees, and such pictures leave out some of a terminal's state. One thing is drawn at a time: whoever seeks while something is drawn ends that first,
 * and where several seek at once the last one counts.
 */
export class Playback {
  readonly #cast: Cast;
  readonly #stage: Stage;
  readonly #clock: PlaybackClock;
  /** Called whenever its state is another. */
  changed: () => void = () => {};
  #speed = 1;
  #at = 0;
  /** The first event that is not drawn yet. */
  #next = 0;
  #isPlaying = false;
  /** Counts jumps: drawing for an older one gives way. */
  #turn = 0;
  /** Counts starts, so that one that was paused and went on again plays once. */
  #start = 0;
  #drawing: Promise<void> = Promise.resolve();

  constructor(cast: Cast, stage: Stage, clock: PlaybackClock) {
    this.#cast = cast;
    this.#stage = stage;
    this.#clock = clock;
    stage.resize(cast.size);
  }

  get state(): PlaybackState {
    const hasEnded = this.#next >= this.#cast.events.length && this.#at >= this.#cast.seconds;
    return { seconds: this.#at, isPlaying: this.#isPlaying, hasEnded };
  }

  set speed(speed: number) {
    this.#speed = speed;
  }

  /** From the beginning again where it had ended. Resolves when it stops, for whatever reason. */
  async play(): Promise<void> {
    if (this.#isPlaying) return;
    this.#isPlaying = true;
    this.#start += 1;
    const start = this.#start;
    if (this.state.hasEnded) await this.#jump(0);
    this.changed();
    await this.#run(start);
  }

  pause(): void {
    this.#isPlaying = false;
    this.#start += 1;
    this.changed();
  }

  /** Shows what was on the screen then, and goes on from there if it plays. */
  async seek(seconds: number): Promise<void> {
    const to = Math.min(Math.max(0, seconds), this.#cast.seconds);
    await this.#jump(to);
    this.changed();
  }

  async #jump(to: number): Promise<void> {
    this.#turn += 1;
    const turn = this.#turn;
    await this.#drawing;
    if (turn !== this.#turn) return;
    if (to < this.#at || this.#next === 0) {
      this.#stage.reset();
      this.#stage.resize(this.#cast.size);
      this.#next = 0;
    }
    this.#at = to;
    await this.#draw(turn);
  }

  async #run(start: number): Promise<void> {
    let before = this.#clock.now();
    while (start === this.#start) {
      await this.#clock.frame();
      await this.#drawing;
      if (start !== this.#start) return;
      const now = this.#clock.now();
      const passed = ((now - before) / 1000) * this.#speed;
      before = now;
      this.#at = Math.min(this.#at + passed, this.#cast.seconds);
      await this.#draw(this.#turn);
      if (this.state.hasEnded) return this.pause();
      this.changed();
    }
  }

  #draw(turn: number): Promise<void> {
    this.#drawing = this.#drawUntilNow(turn);
    return this.#drawing;
  }

  async #drawUntilNow(turn: number): Promise<void> {
    while (turn === this.#turn) {
      const slice = this.#take();
      if (slice === null) return;
      if (slice.resize !== undefined) this.#stage.resize(slice.resize);
      if (slice.text === '') continue;
      await this.#stage.write(slice.text);
      if (slice.isFull) await this.#clock.frame();
    }
  }

  /** What is due and can be written at once; null where nothing is. */
  #take(): { text: string; resize?: TerminalSize; isFull: boolean } | null {
    const { events } = this.#cast;
    const isDue = (event: CastEvent | undefined): event is CastEvent =>
      event !== undefined && event.at <= this.#at;
    const first = events[this.#next];
    if (!isDue(first)) return null;
    if (first.kind === 'resize') {
      this.#next += 1;
      return { text: '', resize: first.size, isFull: false };
    }
    const parts: string[] = [];
    let length = 0;
    for (
      let event = events[this.#next];
      isDue(event) && event.kind === 'output';
      event = events[this.#next]
    ) {
      if (length >= sliceBytesMax || parts.length >= sliceEventsMax) break;
      parts.push(event.text);
      length += event.text.length;
      this.#next += 1;
    }
    return { text: parts.join(''), isFull: length >= sliceBytesMax || parts.length >= sliceEventsMax };
  }
}

/** `1:02:03`, or `02:03` under an hour. */
export function clockText(seconds: number): string {
  const whole = Math.floor(seconds);
  const two = (value: number) => String(value).padStart(2, '0');
  const [hours, minutes] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60];
  const rest = `${two(minutes)}:${two(whole % 60)}`;
  return hours === 0 ? rest : `${hours}:${rest}`;
}
