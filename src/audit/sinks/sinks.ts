import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { Clock } from '../../base/clock.ts';
import type { RedeliveredView, SinkSettings, SinkStatusView } from '../../contract/sinks.ts';
import { Cursors } from './cursors.ts';
import { DeadLetters } from './dead-letters.ts';
import { sinkLimits } from './limits.ts';
import { openSink } from './open-sink.ts';
import { Pump, type PumpParts, type PumpTimes } from './pump.ts';
import type { DurableHeads } from './streams.ts';

export type SinkTotals = Readonly<Record<'sentEvents' | 'failedSends' | 'deadLettered', number>>;

/** Everything that carries the log elsewhere. */
export type Sinks = {
  status(): Promise<readonly SinkStatusView[]>;
  /** Since the start, by the sink's name. */
  totals(): ReadonlyMap<string, SinkTotals>;
  /** Null where there is no sink of that name. */
  redeliver(name: string): Promise<RedeliveredView | null>;
  /** What is on its way is interrupted, and sent again by the next process. */
  close(): Promise<void>;
};

export type SinksOptions = {
  readonly settings: readonly SinkSettings[];
  /** The folder of the streams. */
  readonly folder: string;
  /** Where each sink keeps its cursor and its dead letters; made with mode 0700. */
  readonly stateFolder: string;
  readonly heads: DurableHeads;
  readonly hostname: string;
  readonly version: string;
  readonly clock: Clock;
  readonly random: () => number;
  readonly onProblem: PumpParts['onProblem'];
  readonly times?: PumpTimes;
};

/** Opens the sinks and begins to send; waits for no receiver. Throws where what it keeps of them cannot be read. */
export async function openSinks(options: SinksOptions): Promise<Sinks> {
  if (options.settings.length > 0) await mkdir(options.stateFolder, { recursive: true, mode: 0o700 });
  const pumps = await Promise.all(options.settings.map((settings) => openPump(options, settings)));
  for (const pump of pumps) pump.start();
  return {
    status: () => Promise.all(pumps.map((pump) => pump.status())),
    totals: () => new Map(pumps.map(({ name, totals }) => [name, { ...totals }])),
    redeliver: async (name) => (await pumps.find((pump) => pump.name === name)?.redeliver()) ?? null,
    close: async () => void (await Promise.all(pumps.map((pump) => pump.close()))),
  };
}

async function openPump(options: SinksOptions, settings: SinkSettings): Promise<Pump> {
  const { clock, hostname, onProblem, stateFolder, times = sinkLimits, version } = options;
  const { name } = settings;
  const onLost = (reason: string) =>
    onProblem(
      { sink: name, reason },
      'the cursor of a sink cannot be read; it begins again with the first event',
    );
  return new Pump({
    ...options,
    settings,
    times,
    sink: await openSink({ settings, hostname, version, now: () => clock.now(), sendMs: times.sendMs }),
    cursors: await Cursors.open(join(stateFolder, `${name}.json`), onLost),
    dead: await openDeadLetters(join(stateFolder, `${name}.dead.jsonl`)),
  });
}

/** What was refused is not forgotten because it cannot be read: that is for somebody to decide. */
async function openDeadLetters(path: string): Promise<DeadLetters> {
  try {
    return await DeadLetters.open(path);
  } catch (error) {
    throw new Error(
      `${path} cannot be read (${(error as Error).message}): move it away to start without it`,
      {
        cause: error,
      },
    );
  }
}
