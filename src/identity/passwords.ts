import { randomBytes } from 'node:crypto';
import { parseOptions } from '@node-rs/argon2';
import { type HashQueue, openHashQueue } from './hash-queue.ts';
import { identityLimits } from './limits.ts';
import { canonicalPassword } from './password-rules.ts';
import { PasswordThread } from './password-thread.ts';

/**
 * Passwords, hashed with Argon2id (RFC 9106) and kept as PHC strings. Every call waits for its turn in one queue and
 * throws what the queue throws; `address` is whose turn it is.
 */
export type Passwords = {
  hash(password: string, address: string | null): Promise<string>;
  /**
   * Whether it is the password of the hash, which is looked up once its turn has come. Null, for somebody who is not
   * there or has none, is false and costs the same. What the look-up throws is thrown.
   */
  verify(password: string, kept: () => Promise<string | null>, address: string | null): Promise<Verdict>;
  /** How many wait. */
  readonly waiting: number;
};

/** `upgraded` is the hash to keep in place of `hash`, which was made with less than today's cost; else null. */
export type Verdict = {
  readonly ok: boolean;
  readonly hash: string | null;
  readonly upgraded: string | null;
};

const cost = {
  memoryCost: identityLimits.argon2MemoryKib,
  timeCost: identityLimits.argon2Passes,
  parallelism: identityLimits.argon2Lanes,
  outputLen: identityLimits.argon2HashBytes,
} as const;

export function openPasswords(queue: HashQueue = openHashQueue()): Passwords {
  const stranger = nobodysHash();
  const thread = new PasswordThread();
  const hashNow = (text: string) =>
    thread.hash(text, { ...cost, salt: randomBytes(identityLimits.argon2SaltBytes) });
  return {
    get waiting() {
      return queue.waiting;
    },
    hash: (password, address) => queue.run(address, () => hashNow(canonicalPassword(password))),
    verify: (password, kept, address) =>
      queue.run(address, async () => {
        const text = canonicalPassword(password);
        const found = await kept();
        const ok = (await thread.verify(found ?? stranger, text)) && found !== null;
        return { ok, hash: found, upgraded: ok && isOutdated(found) ? await hashNow(text) : null };
      }),
  };
}

/** A hash of no password, with today's cost, so that looking for somebody who is not there takes as long. */
function nobodysHash(): string {
  const { memoryCost, timeCost, parallelism } = cost;
  const part = (bytes: number) => randomBytes(bytes).toString('base64').replace(/=+$/, '');
  const { argon2SaltBytes, argon2HashBytes } = identityLimits;
  return `$argon2id$v=19$m=${memoryCost},t=${timeCost},p=${parallelism}$${part(argon2SaltBytes)}$${part(argon2HashBytes)}`;
}

const argon2id = 2;
const version19 = 1;

/** Whether a hash was made with another algorithm or with less memory or passes than today's. */
export function isOutdated(kept: string): boolean {
  const { algorithm, version, memoryCost, timeCost, outputLen } = parseOptions(kept);
  if ((algorithm as number) !== argon2id || (version as number) !== version19) return true;
  return memoryCost < cost.memoryCost || timeCost < cost.timeCost || outputLen < cost.outputLen;
}
