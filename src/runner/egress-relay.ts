import { Denials } from '../audit/denials.ts';
import {
  endsEvents,
  flowEvent,
  type OwnedRun,
  strangeFlowEvent,
  type ToldFlows,
} from '../audit/egress-events.ts';
import { OwedEvents } from '../audit/owed-events.ts';
import type { Clock } from '../base/clock.ts';
import type { EgressFlow, EgressFlowEnd } from '../model/egress.ts';
import type { RunId } from '../model/ids.ts';
import type { RunnerRecord } from './record.ts';
import type { RunnerLog } from './runner.ts';

export type Verdicts = ToldFlows;

export type EgressRelayParts = {
  readonly record: Pick<RunnerRecord, 'append'>;
  readonly clock: Clock;
  readonly log: RunnerLog;
};

const writer = 'system:runner';

/**
 * Puts verdicts of the gateway on the runner's own record, and knows where the flows of each run stand. What allows
 * nothing, denials and ends, is owed to the record where it cannot be written.
 */
export class EgressRelay {
  readonly #record: EgressRelayParts['record'];
  readonly #owed: OwedEvents;
  readonly #denials: Denials;
  readonly #hosted = new Map<RunId, OwnedRun>();
  readonly #known = new Map<RunId, { nextFlow: number; bytesOut: number }>();
  readonly #followers = new Map<RunId, (content: Verdicts) => void>();
  readonly #sending = new Set<Promise<boolean>>();

  constructor({ record, clock, log }: EgressRelayParts) {
    this.#record = record;
    this.#owed = new OwedEvents({ audit: record, clock, logger: log, writer });
    this.#denials = new Denials({ clock, write: (event) => this.#owed.append(event) });
  }

  /** Events that could not be written yet. */
  get owed(): number {
    return this.#owed.size;
  }

  /** Whose the verdicts of a run are from now on. */
  host(run: OwnedRun): void {
    this.#hosted.set(run.run, run);
  }

  /** The run is over: it has no more flows. */
  forget(run: RunId): void {
    this.#known.delete(run);
    this.#hosted.delete(run);
  }

  /** Whether every flow that the gateway allowed is durable: else none of them may go on. Never rejects. */
  send(content: Verdicts): Promise<boolean> {
    this.#learn(content);
    for (const [run, follower] of this.#followers) follower(ofRun(run, content));
    const sending = this.#write(content);
    this.#sending.add(sending);
    void sending.finally(() => this.#sending.delete(sending));
    return sending;
  }

  /** Resolves once what was told so far is on the record, refused or owed. */
  async settled(): Promise<void> {
    await Promise.all(this.#sending);
  }

  /** Writes what was counted and what is owed, where that can be written. */
  async close(): Promise<void> {
    await this.settled();
    this.#denials.close();
    await this.#owed.close();
  }

  /**
   * Where a run's flows go on: their numbers, which are unique in it, and what those that ended have sent, over all of
   * its sandboxes and whichever gateway told.
   */
  known(run: RunId): { readonly nextFlow: number; readonly bytesOut: number } {
    return this.#known.get(run) ?? { nextFlow: 1, bytesOut: 0 };
  }

  /** Every verdict of a run from now on, until the returned function is called. One at a time follows a run. */
  follow(run: RunId, follower: (content: Verdicts) => void): () => void {
    this.#followers.set(run, follower);
    return () => this.#followers.delete(run);
  }

  /** In the order of the verdicts, and each end behind its flow. */
  async #write({ flows, ends }: Verdicts): Promise<boolean> {
    const allowed: Promise<unknown>[] = [];
    const owed: Promise<void>[] = [];
    for (const flow of flows) {
      if (flow.verdict === 'allowed') allowed.push(this.#record.append(this.#eventOf(flow)));
      else owed.push(this.#deny(flow));
    }
    for (const [run, ended] of Map.groupBy(ends, ({ run }) => run)) owed.push(...this.#end(run, ended));
    const outcomes = await Promise.allSettled(allowed);
    await Promise.all(owed);
    return outcomes.every(({ status }) => status === 'fulfilled');
  }

  #eventOf(flow: EgressFlow) {
    const hosted = this.#hosted.get(flow.run);
    return hosted === undefined ? strangeFlowEvent(flow, writer) : flowEvent(flow, hosted);
  }

  /** Denials of runs that nobody knows are counted: whoever took the gateway over can make up any number of them. */
  #deny(flow: EgressFlow): Promise<void> {
    if (this.#hosted.has(flow.run)) return this.#owed.append(this.#eventOf(flow));
    return this.#denials.record(writer, `egress ${flow.run}`, this.#eventOf(flow));
  }

  #end(run: RunId, ended: readonly EgressFlowEnd[]): Promise<void>[] {
    const hosted = this.#hosted.get(run);
    return hosted === undefined ? [] : endsEvents(ended, hosted).map((event) => this.#owed.append(event));
  }

  #learn({ flows, ends }: Verdicts): void {
    for (const { run, id } of flows) {
      const { nextFlow, bytesOut } = this.known(run);
      this.#known.set(run, { nextFlow: Math.max(nextFlow, id + 1), bytesOut });
    }
    for (const { run, bytesOut: sent } of ends) {
      const { nextFlow, bytesOut } = this.known(run);
      this.#known.set(run, { nextFlow, bytesOut: bytesOut + sent });
    }
  }
}

function ofRun(run: RunId, { flows, ends }: Verdicts): Verdicts {
  return { flows: flows.filter((flow) => flow.run === run), ends: ends.filter((end) => end.run === run) };
}
