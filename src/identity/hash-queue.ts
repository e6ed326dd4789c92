import { Fault } from '../contract/faults.ts';
import { addressKey } from '../model/address-key.ts';
import { identityLimits } from './limits.ts';

/**
 * Work that costs much memory and time, one at a time, so that whoever signs in over and over cannot take the machine.
 * Addresses take turns: one that sends many waits behind itself, and others wait for one of each address at most.
 */
export type HashQueue = {
  /** Throws Fault `rate.exceeded` past the address's share, `auth.busy` where the queue is full or the wait too long. */
  run<T>(address: string | null, work: () => Promise<T>): Promise<T>;
  readonly waiting: number;
};

type Waiting = { readonly start: () => void; readonly timer: NodeJS.Timeout };

export function openHashQueue(): HashQueue {
  /** By address, in the order of their turns; no list is empty. */
  const turns = new Map<string, Waiting[]>();
  let waiting = 0;
  let busy = false;

  const next = () => {
    const turn = turns.entries().next();
    if (turn.done) return;
    const [key, list] = turn.value;
    const { start, timer } = list.shift()!;
    clearTimeout(timer);
    waiting -= 1;
    // Its next one comes after one of every other address.
    turns.delete(key);
    if (list.length > 0) turns.set(key, list);
    start();
  };

  const leave = (key: string, which: Waiting) => {
    const list = turns.get(key) ?? [];
    list.splice(list.indexOf(which), 1);
    if (list.length === 0) turns.delete(key);
    waiting -= 1;
  };

  const turnOf = (key: string) => {
    const list = turns.get(key) ?? [];
    if (list.length >= identityLimits.hashesWaitingPerAddressMax) throw tooMany();
    if (waiting >= identityLimits.hashesWaitingMax) throw full();
    return new Promise<void>((resolve, reject) => {
      const timer = setTimeout(() => {
        leave(key, entry);
        reject(full());
      }, identityLimits.hashWaitMs);
      const entry: Waiting = { start: resolve, timer };
      turns.set(key, [...list, entry]);
      waiting += 1;
    });
  };

  return {
    get waiting() {
      return waiting;
    },
    async run(address, work) {
      if (busy) await turnOf(addressKey(address));
      busy = true;
      try {
        return await work();
      } finally {
        busy = waiting > 0;
        next();
      }
    },
  };
}

const { hashRetryAfterSeconds: retryAfterSeconds } = identityLimits;

function tooMany(): Fault {
  return new Fault('rate.exceeded', {
    detail: `Too many sign-ins from your address wait for their turn; try again in ${retryAfterSeconds} s.`,
    extra: { retryAfterSeconds, class: 'signIn' },
  });
}

function full(): Fault {
  return new Fault('auth.busy', {
    detail: `Too many sign-ins wait for their turn; try again in ${retryAfterSeconds} s.`,
    extra: { retryAfterSeconds },
  });
}
