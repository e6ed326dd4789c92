import type { Channel } from '../base/channel.ts';
import { Fault } from '../contract/faults.ts';
import { type LogRecord, RecordParser } from '../contract/log-record.ts';
import type { RunId } from '../model/ids.ts';
import type { RunRecord } from '../store/store.ts';
import type { LogReader } from './control.ts';
import type { LiveRun, LiveRuns } from './live-runs.ts';
import { faultOfFrame } from './runner-frames.ts';
import { LinkLost, type RunnerLink } from './runner-link.ts';

type Parts = { readonly link: RunnerLink; readonly live: LiveRuns };
type Options = { readonly offset: number; readonly follow: boolean };

/**
 * A run's records from an offset on. Waits for a queued run where it follows; is empty for a run whose
 * command never ran and for one whose files have expired. Where the runner is already known to have the run, its side is
 * open when this resolves, so that `runner.unavailable` comes before the first record.
 */
export async function openLogs(parts: Parts, record: RunRecord, options: Options): Promise<LogReader> {
  const live = parts.live.get(record.id);
  if (record.filesExpired || (live === null && !ranCommand(record))) return emptyLogs;
  if (live !== null && !options.follow && live.delivery !== 'accepted') return emptyLogs;
  const reader = new RunLogs(parts, record.id, live, options);
  if (live === null || live.delivery === 'accepted') await reader.open();
  return reader;
}

function ranCommand({ state }: RunRecord): boolean {
  return 'runningAt' in state && state.runningAt !== null;
}

const emptyLogs: LogReader = {
  cancel: () => undefined,
  async *[Symbol.asyncIterator]() {},
};

class RunLogs implements LogReader {
  readonly #parts: Parts;
  readonly #run: RunId;
  readonly #live: LiveRun | null;
  readonly #follow: boolean;
  readonly #cancelled = new AbortController();
  #offset: number;
  #channel: Channel | null = null;
  #generation = 0;

  constructor(parts: Parts, run: RunId, live: LiveRun | null, { offset, follow }: Options) {
    this.#parts = parts;
    this.#run = run;
    this.#live = live;
    this.#follow = follow;
    this.#offset = offset;
  }

  cancel(): void {
    this.#cancelled.abort();
    this.#channel?.close();
  }

  async open(): Promise<void> {
    const { link, live } = this.#parts;
    this.#generation = link.generation;
    const follow = this.#follow && this.#live !== null && !this.#live.ended && live.get(this.#run) !== null;
    const channel = await link.stream({ purpose: 'logs', run: this.#run, offset: this.#offset, follow });
    if (this.#cancelled.signal.aborted) channel.close();
    this.#channel = channel;
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<LogRecord, void, undefined> {
    try {
      if (!(await this.#hasOutput())) return;
      do {
        if (this.#channel === null) await this.open();
        yield* this.#records();
      } while (await this.#cutOff());
    } catch (error) {
      if (!this.#cancelled.signal.aborted) throw error;
    } finally {
      this.cancel();
    }
  }

  /** Waits until the runner has accepted the run; false where it ended before that. */
  async #hasOutput(): Promise<boolean> {
    const live = this.#live;
    if (live === null || this.#channel !== null) return true;
    await this.#parts.live.until(
      live,
      () => live.ended || live.delivery === 'accepted',
      this.#cancelled.signal,
    );
    return !live.ended || ranCommand(live.record);
  }

  /** To the end of this connection. One that breaks ends like one that is done; `#cutOff` tells them apart. */
  async *#records(): AsyncGenerator<LogRecord, void, undefined> {
    const channel = this.#channel!;
    const parser = new RecordParser(this.#offset);
    try {
      for (let frame = await channel.read(); frame !== null; frame = await channel.read()) {
        if (frame.kind === 'json') {
          const fault = faultOfFrame(frame.value);
          if (fault !== null) throw fault;
          continue;
        }
        for (const record of parser.push(frame.bytes)) {
          this.#offset = record.nextOffset;
          yield record;
        }
      }
    } catch (error) {
      if (error instanceof Fault || error instanceof RangeError || this.#cancelled.signal.aborted)
        throw error;
      this.#generation = -1;
    } finally {
      channel.close();
      this.#channel = null;
    }
  }

  /**
   * Whether records may be left. A stream that follows ends with its run; one that ends earlier was cut off, and
   * goes on where it was as soon as there is a runner again.
   */
  async #cutOff(): Promise<boolean> {
    const { link, live } = this.#parts;
    const run = this.#live;
    const { signal } = this.#cancelled;
    const whole = () => link.connected && link.generation === this.#generation;
    if (!this.#follow || run === null) {
      if (whole()) return false;
      throw new LinkLost('the log was cut off');
    }
    await live.until(run, () => run.ended || !whole(), signal);
    if (whole()) return false;
    await link.whenConnected(signal);
    return true;
  }
}
