import { hash } from 'node:crypto';
import type { Clock } from '../base/clock.ts';
import { Fault } from '../contract/faults.ts';
import { addressKey } from '../model/address-key.ts';
import type { AttemptStore } from '../store/identity-store.ts';
import { identityLimits } from './limits.ts';

/**
 * Slows guessing of one name from one address, on all processes together. Whoever fails from elsewhere locks nobody
 * out; a name that nobody has is locked like any other. A try is counted before it is made, so that many at once get
 * no more than one after the other.
 */
export type Lockout = {
  /** Throws Fault `auth.locked` past the limit; `onLock` is called by the first that is refused. */
  begin(name: string, address: string | null, onLock: () => void): Promise<void>;
  /** After a success: what was counted for this name and address is forgotten. */
  forgive(name: string, address: string | null): Promise<void>;
  /**
   * For codes that can be guessed by many addresses at once, after the password was right: counted by name alone, and
   * wide. Passkeys and recovery codes, which cannot be guessed, are not asked.
   */
  beginCode(name: string, onLock: () => void): Promise<void>;
  forgiveCode(name: string): Promise<void>;
};

export function openLockout(options: { attempts: AttemptStore; clock: Clock }): Lockout {
  const { attempts, clock } = options;
  const begin = async (key: string, bound: { max: number; windowMs: number }, onLock: () => void) => {
    const now = clock.now();
    const { count, endsAt } = await attempts.add(key, bound.windowMs, now);
    if (count <= bound.max) return;
    if (count === bound.max + 1) onLock();
    const retryAfterSeconds = Math.max(1, Math.ceil((endsAt - now) / 1000));
    throw new Fault('auth.locked', {
      detail: `Too many failures; try again in ${retryAfterSeconds} s, or sign in with a passkey.`,
      extra: { retryAfterSeconds },
    });
  };
  const { failuresMax, failuresWindowMs, codeFailuresMax, codeFailuresWindowMs } = identityLimits;
  return {
    begin: (name, address, onLock) =>
      begin(keyOf(name, address), { max: failuresMax, windowMs: failuresWindowMs }, onLock),
    forgive: (name, address) => attempts.clear(keyOf(name, address)),
    beginCode: (name, onLock) =>
      begin(codeKeyOf(name), { max: codeFailuresMax, windowMs: codeFailuresWindowMs }, onLock),
    forgiveCode: (name) => attempts.clear(codeKeyOf(name)),
  };
}

/** Hashed, because people type their passwords into the wrong field. */
function keyOf(name: string, address: string | null): string {
  return hash('sha256', `sign-in\n${addressKey(address)}\n${name}`, 'hex');
}

function codeKeyOf(name: string): string {
  return hash('sha256', `code\n${name}`, 'hex');
}
