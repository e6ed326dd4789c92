import assert from 'node:assert/strict';
import type { Clock } from '../base/clock.ts';
import { Fault } from '../contract/faults.ts';
import { type RateClass, rateClasses } from '../contract/limits.ts';
import { addressKey } from '../model/address-key.ts';
import { serverLimits } from './limits.ts';
import { SlidingCounts } from './sliding-counts.ts';

/** Requests a minute by class, in windows that slide; throws Fault `rate.exceeded` past a class's limit. */
export type Rates = {
  /** One request of somebody, who is counted wherever it asks from; its address is counted too, more widely. */
  ofActor(rateClass: RateClass, actor: string, address: string | null): Promise<void>;
  /** One request that nobody is known to have made, or one refused credential, by where it comes from. */
  ofAddress(rateClass: RateClass, address: string | null): Promise<void>;
  /** Counts on its own from now on. */
  close(): void;
};

/** Counts that all processes on one store share. */
export type SharedCounts = {
  /** Adds to each in one step, and says what each comes to then, whoever added. They are forgotten after `endsAt`. */
  add(
    counts: readonly { readonly key: string; readonly by: number }[],
    endsAt: number,
  ): Promise<readonly number[]>;
};

export type RatesOptions = {
  /** A class can be made wide, never switched off. */
  readonly perMinute: Partial<Record<RateClass, number>>;
  readonly clock: Clock;
  /** Null counts in this process alone. */
  readonly shared: SharedCounts | null;
  readonly onRefused: () => void;
  /** An exchange that failed; what this process counts holds all the same. */
  readonly onError: (error: unknown) => void;
};

/**
 * Counts in this process, so that no request waits for the store, and exchanges what was counted with the other
 * processes on it, so that all of them together allow about what one does. Refused credentials are few and matter
 * more: each is counted in the store before it is answered.
 */
export function openRates(options: RatesOptions): Rates {
  const { perMinute, clock, shared, onRefused, onError } = options;
  const limits = checkedLimits(perMinute);
  const counts = new SlidingCounts({ clock, shared, onError });
  const spend = (rateClass: RateClass, key: string, limit: number) => {
    const waitMs = counts.spend(`${rateClass} ${key}`, limit);
    if (waitMs !== null) refuse(rateClass, waitMs);
  };
  const refuse = (rateClass: RateClass, waitMs: number): never => {
    onRefused();
    const retryAfterSeconds = Math.max(1, Math.ceil(waitMs / 1000));
    throw new Fault('rate.exceeded', {
      detail: `Too many requests of the class ${rateClass}; try again in ${retryAfterSeconds} s.`,
      extra: { retryAfterSeconds, class: rateClass },
    });
  };
  return {
    async ofActor(rateClass, actor, address) {
      const limit = limits[rateClass];
      spend(rateClass, actor, limit);
      if (address !== null)
        spend(rateClass, `from ${addressKey(address)}`, limit * serverLimits.addressRateFactor);
    },
    async ofAddress(rateClass, address) {
      const key = addressKey(address);
      const limit = limits[rateClass];
      if (rateClass !== 'signIn') return spend(rateClass, key, limit);
      const waitMs = await counts.spendTogether(`${rateClass} ${key}`, limit);
      if (waitMs !== null) refuse(rateClass, waitMs);
    },
    close: () => counts.close(),
  };
}

function checkedLimits(perMinute: RatesOptions['perMinute']): Record<RateClass, number> {
  const limits = { ...rateClasses, ...perMinute };
  for (const [name, limit] of Object.entries(limits))
    assert(Number.isSafeInteger(limit) && limit >= 1, `the rate of ${name} is a count of at least 1`);
  return limits;
}
