import { appendFileSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import type { AuditEvent } from '../../src/audit/event.ts';
import { segmentPath } from '../../src/audit/segments.ts';
import { openSinks, type Sinks, type SinksOptions } from '../../src/audit/sinks/sinks.ts';
import { systemClock } from '../../src/base/clock.ts';
import type { SinkSettings } from '../../src/contract/sinks.ts';
import { attempt, chainOf, temporaryFolder } from './audit.ts';

/** Times of sinks that a test can wait for. */
export const quickTimes = { lingerMs: 1, pollMs: 5, firstRetryMs: 1, mostRetryMs: 10, sendMs: 2_000 };

/** Streams on a disk, and the sinks that read them, which can be started again. */
export class SinkWorld {
  readonly #temporary = temporaryFolder();
  readonly folder = join(this.#temporary.path, 'audit');
  readonly stateFolder = join(this.#temporary.path, 'sinks');
  readonly problems: string[] = [];
  /** The durable heads; a stream that is not here has none. */
  readonly heads = new Map<string, number>();
  readonly #lines = new Map<string, string[]>();
  #sinks: Sinks | null = null;

  get path(): string {
    return this.#temporary.path;
  }

  /** Appends so many events; gives them all. */
  append(stream: string, count: number, action = 'run.create'): AuditEvent[] {
    const had = this.#lines.get(stream) ?? [];
    const made = chainOf(
      stream,
      Array.from({ length: had.length + count }, (_, index) => attempt(action, { data: { index } })),
    ).slice(had.length);
    mkdirSync(join(this.folder, stream), { recursive: true });
    appendFileSync(segmentPath(join(this.folder, stream), 1), made.map((line) => `${line}\n`).join(''));
    this.#lines.set(stream, [...had, ...made]);
    return this.events(stream);
  }

  events(stream: string): AuditEvent[] {
    return (this.#lines.get(stream) ?? []).map((line) => JSON.parse(line));
  }

  async start(
    settings: Partial<SinkSettings> & Pick<SinkSettings, 'url'>,
    options: Partial<SinksOptions> = {},
  ): Promise<Sinks> {
    const whole = {
      name: 'receiver',
      format: 'event',
      secret: null,
      authorities: [],
      identity: null,
    } as const;
    this.#sinks = await openSinks({
      settings: [{ ...whole, ...settings }],
      folder: this.folder,
      stateFolder: this.stateFolder,
      heads: { headOf: (stream) => this.heads.get(stream) ?? null, onAdvance: () => () => undefined },
      hostname: 'host.example',
      version: '1.2.3',
      clock: systemClock,
      random: () => 0.5,
      onProblem: ({ reason }, message) => this.problems.push(`${message}: ${reason}`),
      times: quickTimes,
      ...options,
    });
    return this.#sinks;
  }

  async stop(): Promise<void> {
    await this.#sinks?.close();
    this.#sinks = null;
  }

  async close(): Promise<void> {
    await this.stop();
    this.#temporary[Symbol.dispose]();
  }
}

/** Waits until it holds; throws once that takes too long. */
export async function until(
  holds: () => boolean | Promise<boolean>,
  what: string,
  ms = 8_000,
): Promise<void> {
  for (const deadline = Date.now() + ms; !(await holds()); await wait(2)) {
    if (Date.now() > deadline) throw new Error(`it did not come to this: ${what}`);
  }
}

/** What is left of a list where each event counts once, at its first place. */
export function firstOfEach(events: readonly AuditEvent[]): string[] {
  return [...new Set(events.map(({ id }) => id))];
}
