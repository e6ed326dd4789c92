import type { EgressFlow, EgressFlowEnd } from '../model/egress.ts';
import { gatewayLimits } from './limits.ts';

export type FlowBatch = {
  readonly batch: number;
  readonly flows: readonly EgressFlow[];
  readonly ends: readonly EgressFlowEnd[];
};

type Waiting = { readonly flow: EgressFlow; readonly settle: (recorded: boolean) => void };

/**
 * Verdicts on their way to the record, many in one batch. Few batches are on their way at a time: what comes
 * meanwhile waits, and is refused where too much waits or nothing is recorded for too long.
 */
export class Recorder {
  readonly #send: (batch: FlowBatch) => void;
  #flows: Waiting[] = [];
  #ends: EgressFlowEnd[] = [];
  readonly #sent = new Map<number, readonly Waiting[]>();
  #next = 1;
  #scheduled = false;
  /** Runs while ends wait for verdicts to go with; when it has run out they wait no longer. */
  #endsTimer: NodeJS.Timeout | null = null;
  #endsDue = false;

  constructor(send: (batch: FlowBatch) => void) {
    this.#send = send;
  }

  /** Whether the verdict is durable; false means that nothing may follow from it. Never rejects. */
  record(flow: EgressFlow): Promise<boolean> {
    if (this.#flows.length >= gatewayLimits.flowsWaitingMax) return Promise.resolve(false);
    return new Promise((resolve) => {
      const timer = setTimeout(() => resolve(false), gatewayLimits.recordTimeoutMs);
      const settle = (recorded: boolean) => {
        clearTimeout(timer);
        resolve(recorded);
      };
      this.#flows.push({ flow, settle });
      this.#soon();
    });
  }

  /** Nobody waits for an end, so it goes with the next verdict, or after a moment. */
  ended(end: EgressFlowEnd): void {
    this.#ends.push(end);
    this.#endsTimer ??= setTimeout(() => {
      this.#endsDue = true;
      this.#soon();
    }, gatewayLimits.endsHeldMs);
  }

  /** The batch is durable. */
  recorded(batch: number): void {
    this.#settle(batch, true);
  }

  /** The batch cannot be made durable. */
  refused(batch: number): void {
    this.#settle(batch, false);
  }

  /** Sends what waits, whatever is on its way already. */
  flush(): void {
    while (this.#flows.length > 0 || this.#ends.length > 0) this.#sendOne();
  }

  /** With the next turn of the event loop, so that what happens at once goes together. */
  #soon(): void {
    if (this.#scheduled || !this.#isDue()) return;
    this.#scheduled = true;
    setImmediate(() => {
      this.#scheduled = false;
      while (this.#sent.size < gatewayLimits.batchesMax && this.#isDue()) this.#sendOne();
    });
  }

  #settle(batch: number, isRecorded: boolean): void {
    for (const { settle } of this.#sent.get(batch) ?? []) settle(isRecorded);
    this.#sent.delete(batch);
    this.#soon();
  }

  #isDue(): boolean {
    return this.#flows.length > 0 || (this.#endsDue && this.#ends.length > 0);
  }

  #sendOne(): void {
    const taken = this.#flows.splice(0, gatewayLimits.flowsPerBatchMax);
    const ends = this.#ends.splice(0, gatewayLimits.flowsPerBatchMax);
    if (this.#ends.length === 0) {
      clearTimeout(this.#endsTimer ?? undefined);
      this.#endsTimer = null;
      this.#endsDue = false;
    }
    const batch = this.#next++;
    this.#sent.set(batch, taken);
    this.#send({ batch, flows: taken.map(({ flow }) => flow), ends });
  }
}

/** What a denial is, before it has a number. */
type Facts = Omit<EgressFlow, 'id' | 'at' | 'count'>;

/** How often in a row nothing was counted of a kind that is forgotten. */
const quietRoundsMax = gatewayLimits.denialForgottenMs / gatewayLimits.denialsToldMs;

/**
 * Denials of one sandbox: the first of a kind is told at once, its repetitions are counted and told from time to
 * time. A kind that does not come again is forgotten after a while, and then new. A sandbox that is denied ever new
 * things has them counted together past a bound.
 */
export class Denials {
  readonly #numbered: (facts: Facts) => EgressFlow;
  readonly #tell: (flow: EgressFlow) => void;
  readonly #kinds = new Map<string, { first: EgressFlow; more: number; quietRounds: number }>();
  #timer: NodeJS.Timeout | null = null;

  /** `numbered` makes a flow of now of the facts. */
  constructor(numbered: (facts: Facts) => EgressFlow, tell: (flow: EgressFlow) => void) {
    this.#numbered = numbered;
    this.#tell = tell;
  }

  add(facts: Facts): void {
    const full = this.#kinds.size >= gatewayLimits.denialKindsMax;
    const key = full && !this.#kinds.has(keyOf(facts)) ? '' : keyOf(facts);
    const known = this.#kinds.get(key);
    if (known === undefined) {
      const told = key === '' ? { host: null, address: null, port: 0, method: null, path: null } : {};
      const first = this.#numbered({ ...facts, ...told });
      this.#kinds.set(key, { first, more: 0, quietRounds: 0 });
      this.#tell(first);
    } else {
      known.more += 1;
    }
    this.#timer ??= setInterval(() => this.#round(), gatewayLimits.denialsToldMs);
  }

  /** Tells what was counted since. */
  flush(): void {
    for (const kind of this.#kinds.values()) {
      if (kind.more === 0) continue;
      this.#tell({ ...this.#numbered(kind.first), count: kind.more });
      kind.more = 0;
    }
  }

  /** Tells what was counted, and forgets everything. */
  close(): void {
    this.flush();
    this.#kinds.clear();
    this.#stop();
  }

  #round(): void {
    for (const [key, kind] of this.#kinds) {
      kind.quietRounds = kind.more === 0 ? kind.quietRounds + 1 : 0;
      if (kind.quietRounds === quietRoundsMax) this.#kinds.delete(key);
    }
    this.flush();
    if (this.#kinds.size === 0) this.#stop();
  }

  #stop(): void {
    if (this.#timer !== null) clearInterval(this.#timer);
    this.#timer = null;
  }
}

function keyOf({ host, address, port, denial, method, path, generation }: Facts): string {
  return JSON.stringify([host, address, port, denial, method, path, generation]);
}
