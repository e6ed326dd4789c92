import {
  createLocalJWKSet,
  errors,
  type FlattenedJWSInput,
  type JSONWebKeySet,
  type JWSHeaderParameters,
} from 'jose';
import type { Clock } from '../../base/clock.ts';
import { providerLimits } from './limits.ts';
import type { Outbound } from './outbound.ts';
import { ProviderRefusal } from './provider.ts';

type Found = Awaited<ReturnType<ReturnType<typeof createLocalJWKSet>>>;

/**
 * A provider's public keys. A token that names a key which is not here makes them be fetched again, so that a
 * rotation just before signing works; how often is bounded, so that made-up names cost the provider nothing.
 */
export class KeySet {
  readonly #url: string;
  readonly #outbound: Outbound;
  readonly #clock: Clock;
  #find: ReturnType<typeof createLocalJWKSet> | null = null;
  #fetchedAt = Number.NEGATIVE_INFINITY;
  #fetching: Promise<void> | null = null;
  #refetches: number[] = [];

  constructor(url: string, { outbound, clock }: { outbound: Outbound; clock: Clock }) {
    this.#url = url;
    this.#outbound = outbound;
    this.#clock = clock;
  }

  /** The one key that the header means. Rejects with an error of jose, or ProviderRefusal. */
  async keyFor(header: JWSHeaderParameters, token: FlattenedJWSInput): Promise<Found> {
    const stale = this.#clock.monotonic() - this.#fetchedAt > providerLimits.keysFreshMs;
    if (stale || this.#find === null) await this.#fetchOnce();
    try {
      return await this.#find!(header, token);
    } catch (error) {
      if (!(error instanceof errors.JWKSNoMatchingKey) || !this.#mayRefetch()) throw error;
    }
    await this.#fetchOnce();
    return await this.#find!(header, token);
  }

  #mayRefetch(): boolean {
    const now = this.#clock.monotonic();
    this.#refetches = this.#refetches.filter((at) => now - at < providerLimits.keyWindowMs);
    if (this.#refetches.length >= providerLimits.keyRefetchesMax) return false;
    this.#refetches.push(now);
    return true;
  }

  /** Callers that come while a fetch is on its way wait for that one. */
  async #fetchOnce(): Promise<void> {
    this.#fetching ??= this.#fetch().finally(() => {
      this.#fetching = null;
    });
    await this.#fetching;
  }

  async #fetch(): Promise<void> {
    const response = await this.#outbound(this.#url, {
      method: 'GET',
      headers: { accept: 'application/json, application/jwk-set+json' },
    });
    if (response.status !== 200) throw new ProviderRefusal('metadata', 'keys');
    try {
      this.#find = createLocalJWKSet((await response.json()) as JSONWebKeySet);
    } catch (cause) {
      throw new ProviderRefusal('metadata', 'keys', { cause });
    }
    this.#fetchedAt = this.#clock.monotonic();
  }
}
