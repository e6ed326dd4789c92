import type { Clock } from '../../base/clock.ts';
import type { WitnessSettings, WitnessStatusView } from '../../contract/witnesses.ts';
import { keepCosigned } from './cosigned-file.ts';
import { Lane, type LaneParts, type WitnessedStream } from './lane.ts';
import { witnessLimits } from './limits.ts';
import { openWitness } from './open-witness.ts';
import type { Witness } from './witness.ts';

/** When it does what; those of `witnessLimits` but in tests. */
export type WitnessTimes = LaneParts['times'] & Readonly<Record<'tickMs' | 'sendMs', number>>;

export type WitnessesOptions = {
  readonly settings: readonly WitnessSettings[];
  readonly version: string;
  readonly clock: Clock;
  readonly random: () => number;
  readonly times?: WitnessTimes;
};

/** What the pushes are of, and who is told. */
export type WitnessedParts = Pick<LaneParts, 'onProblem' | 'onConflict'> & {
  /** Those that are known by now. */
  readonly streams: () => readonly WitnessedStream[];
};

type Opened = {
  readonly settings: WitnessSettings;
  readonly witness: Witness;
  readonly lanes: Map<string, Lane>;
};
type Health = { readonly ok: true } | { readonly ok: false; readonly detail: string };

const hint = 'see sealwright audit witnesses';

/**
 * Pushes the newest checkpoint of each stream to each witness. Nobody waits for it, and no failure of a witness stops
 * anything: a witness is somebody else's machine. What it finds is told: `health`, `status`, `onConflict`.
 */
export class Witnesses {
  readonly #options: WitnessesOptions;
  readonly #opened: readonly Opened[];
  readonly #closing = new AbortController();
  #parts: WitnessedParts | null = null;
  #timer: NodeJS.Timeout | null = null;
  #keeping: Promise<void> = Promise.resolve();

  private constructor(options: WitnessesOptions, opened: readonly Opened[]) {
    this.#options = options;
    this.#opened = opened;
  }

  /** Makes the witnesses of their settings; opens no connection and pushes nothing. */
  static async open(options: WitnessesOptions): Promise<Witnesses> {
    const { version, clock, times = witnessLimits } = options;
    const parts = { version, now: () => clock.now(), sendMs: times.sendMs };
    const opened = options.settings.map(async (settings) => {
      return { settings, witness: await openWitness({ ...parts, settings }), lanes: new Map() };
    });
    return new Witnesses(options, await Promise.all(opened));
  }

  start(parts: WitnessedParts): void {
    this.#parts = parts;
    if (this.#opened.length === 0) return;
    this.#timer = setInterval(() => this.tick(), (this.#options.times ?? witnessLimits).tickMs).unref();
    this.tick();
  }

  /** Begins what is due. */
  tick(): void {
    for (const opened of this.#opened)
      for (const stream of this.#parts?.streams() ?? [])
        this.#laneOf(opened, stream).tick(stream, this.#closing.signal);
  }

  /** Resolves once nothing is on its way. */
  async settled(): Promise<void> {
    await Promise.all(this.#opened.flatMap(({ lanes }) => [...lanes.values()].map((lane) => lane.settled())));
  }

  status(): WitnessStatusView[] {
    return this.#opened.map(({ settings: { name, url, required }, lanes }) => ({
      ...{ name, url, required },
      streams: [...lanes.values()].map((lane) => lane.status()),
    }));
  }

  /** Not well while a witness contradicts the log, or one that is required has had nothing for `staleMs`. Names no witness: anybody may ask. */
  health(): Health {
    for (const { settings, lanes } of this.#opened)
      for (const lane of lanes.values()) {
        if (lane.isConflict)
          return { ok: false, detail: `a witness holds another history of the log: ${hint}` };
        if (settings.required && lane.isStale)
          return { ok: false, detail: `a witness has had no checkpoint for too long: ${hint}` };
      }
    return { ok: true };
  }

  /** What is on its way is interrupted, and pushed again by the next process. */
  async stop(): Promise<void> {
    if (this.#timer !== null) clearInterval(this.#timer);
    this.#closing.abort();
    await this.settled();
  }

  async close(): Promise<void> {
    await this.stop();
    for (const { witness } of this.#opened) witness.close();
  }

  #laneOf({ settings, witness, lanes }: Opened, stream: WitnessedStream): Lane {
    const known = lanes.get(stream.stream);
    if (known !== undefined) return known;
    const { clock, random, times = witnessLimits } = this.#options;
    const { onProblem, onConflict } = this.#parts!;
    const onCosigned = (folder: string, note: string) => this.#keep(folder, note);
    const lane = new Lane(
      { settings, witness, clock, random, times, onProblem, onConflict, onCosigned },
      stream,
    );
    lanes.set(stream.stream, lane);
    return lane;
  }

  /** One at a time: witnesses sign the same checkpoint. */
  async #keep(folder: string, note: string): Promise<void> {
    const kept = this.#keeping.then(() => keepCosigned(folder, note));
    this.#keeping = kept.catch(() => undefined);
    await kept;
  }
}
