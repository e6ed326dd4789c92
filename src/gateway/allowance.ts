import type { Clock } from '../base/clock.ts';
import { type EgressLimits, unlimitedEgress } from '../model/egress.ts';
import { SlidingWindow } from './sliding-window.ts';

/** The limit of a policy that keeps something from happening. */
export type Exceeded = {
  readonly limit: keyof EgressLimits;
  readonly most: number;
  /** When it may be tried again; null where time alone does not help. */
  readonly retryAfterSeconds: number | null;
};

const minuteMs = 60_000;

/**
 * What the flows of one run may use together, in one sandbox at a time. What was used stays used when the limits
 * change; requests count from when there is a limit for them. A further sandbox of the run, and a gateway that was
 * started anew, is told the bytes of the flows that had ended and counts from there: those of flows that were open
 * when a gateway died are forgiven, and so are the requests before. Bytes are those of tunnels, and of requests with
 * their heads; where TLS ends here, not what TLS adds to them.
 */
export class Allowance {
  readonly #clock: Clock;
  readonly #requests = new SlidingWindow(minuteMs);
  #limits: EgressLimits = unlimitedEgress;
  #bytesOut = 0;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** `sentBefore` is how many bytes are known to have left. False where more have left than now may. */
  change(limits: EgressLimits, sentBefore: number): boolean {
    this.#limits = limits;
    this.#bytesOut = Math.max(this.#bytesOut, sentBefore);
    return limits.bytesOut === null || this.#bytesOut <= limits.bytesOut;
  }

  /** Why there may be no connection beside as many open ones; null where there may. */
  connection(open: number): Exceeded | null {
    const most = this.#limits.connections;
    if (most !== null && open >= most) return { limit: 'connections', most, retryAfterSeconds: null };
    return this.#spent();
  }

  /** Why there may be no request now; null where there may, and then it is counted. */
  request(): Exceeded | null {
    const most = this.#limits.requestsPerMinute;
    const spent = this.#spent();
    if (spent !== null || most === null) return spent;
    const waitMs = this.#requests.take(most, this.#clock.monotonic());
    if (waitMs === 0) return null;
    return { limit: 'requestsPerMinute', most, retryAfterSeconds: Math.ceil(waitMs / 1000) };
  }

  /**
   * Whether these bytes may leave, which then count as sent. Where they may not, none of them does, and what was left
   * counts as used up.
   */
  send(bytes: number): boolean {
    const most = this.#limits.bytesOut;
    const fits = most === null || this.#bytesOut + bytes <= most;
    this.#bytesOut = fits ? this.#bytesOut + bytes : Math.max(this.#bytesOut, most);
    return fits;
  }

  #spent(): Exceeded | null {
    const most = this.#limits.bytesOut;
    return most !== null && this.#bytesOut >= most
      ? { limit: 'bytesOut', most, retryAfterSeconds: null }
      : null;
  }
}
