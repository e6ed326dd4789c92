import assert from 'node:assert/strict';
import { RateLimiterMemory, RateLimiterRes } from 'rate-limiter-flexible';
import { Fault } from '../contract/faults.ts';
import { type RateClass, rateClasses } from '../contract/limits.ts';
import { serverLimits } from './limits.ts';

export { addressKey } from '../model/address-key.ts';

export type Rates = {
  /** Counts one request of `key` (an actor's id or `addressKey`); throws `rate.exceeded` past the class's limit. */
  spend(rateClass: RateClass, key: string): Promise<void>;
};

/** Requests a minute by class; a class can be made wide, never switched off. */
export function openRates(perMinute: Partial<Record<RateClass, number>>, onRefused: () => void): Rates {
  const limiters = new Map<RateClass, RateLimiterMemory>();
  for (const rateClass of Object.keys(rateClasses) as RateClass[]) {
    const points = perMinute[rateClass] ?? rateClasses[rateClass];
    assert(Number.isSafeInteger(points) && points >= 1, `the rate of ${rateClass} is a count of at least 1`);
    limiters.set(
      rateClass,
      new RateLimiterMemory({ points, duration: serverLimits.rateWindowSeconds, keyPrefix: rateClass }),
    );
  }
  return {
    async spend(rateClass, key) {
      try {
        await limiters.get(rateClass)!.consume(key);
      } catch (refusal) {
        if (!(refusal instanceof RateLimiterRes)) throw refusal;
        onRefused();
        const retryAfterSeconds = Math.max(1, Math.ceil(refusal.msBeforeNext / 1000));
        throw new Fault('rate.exceeded', {
          detail: `Too many requests of the class ${rateClass}; try again in ${retryAfterSeconds} s.`,
          extra: { retryAfterSeconds, class: rateClass },
        });
      }
    },
  };
}
