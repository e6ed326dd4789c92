import type { IpAddress } from '../model/ip-address.ts';
import { gatewayLimits } from './limits.ts';

/**
 * Addresses that stand for names in one sandbox: 198.18.1.0 and on (RFC 2544, used nowhere else) and the same
 * numbers below fd73:6561:6c77::/48. A name keeps its address for the life of the sandbox and no address comes to
 * mean another name, so whatever a program remembers stays true.
 */
export class SyntheticNames {
  readonly #numbers = new Map<string, number>();
  readonly #names: string[] = [];
  readonly #first: number;

  /** `era` counts the gateways that the sandbox has had: each gives numbers of its own, and past the last none. */
  constructor(era: number) {
    this.#first = firstNumber + era * gatewayLimits.namesMax;
  }

  /** Null once the sandbox has asked for more names than it may. */
  addressOf(name: string, family: 4 | 6): string | null {
    let number = this.#numbers.get(name);
    if (number === undefined) {
      if (this.#names.length >= gatewayLimits.namesMax || this.#first > lastFirst) return null;
      number = this.#names.push(name) - 1;
      this.#numbers.set(name, number);
    }
    const [high, low] = [(number + this.#first) >> 8, (number + this.#first) & 0xff];
    return family === 4
      ? `198.${18 + (high >> 8)}.${high & 0xff}.${low}`
      : `fd73:6561:6c77::${(number + this.#first).toString(16)}`;
  }

  /** The name that an address stands for, or null. */
  nameOf({ family, bytes }: IpAddress): string | null {
    const view = Buffer.from(bytes);
    if (family === 4) {
      if (view[0] !== 198 || (view[1]! & 0xfe) !== 18) return null;
      return this.#names[((view[1]! & 1) << 16) + view.readUInt16BE(2) - this.#first] ?? null;
    }
    if (!view.subarray(0, 12).equals(ulaPrefix)) return null;
    return this.#names[view.readUInt32BE(12) - this.#first] ?? null;
  }
}

/** 198.18.0.1 is the resolver; its whole /24 is left out. */
const firstNumber = 256;
/** A /15 has 131,072 addresses. */
const lastFirst = 2 ** 17 - gatewayLimits.namesMax;
const ulaPrefix = Buffer.from('fd7365616c77000000000000', 'hex');
