import { generateKeyPairSync } from 'node:crypto';
import { type CryptoKey, importJWK, type JWK, type JWTPayload, SignJWT } from 'jose';
import type { Clock } from '../base/clock.ts';
import { type KeyId, newId, parseId } from '../model/ids.ts';
import type { SigningKeyRecord, SigningKeyStore } from '../store/identity-store.ts';
import type { ChangeFeed } from './change-feed.ts';
import { identityLimits } from './limits.ts';
import type { Sealing } from './sealing.ts';

/** One key of the set, without anything secret. `retiredAt` is null for the one that signs. */
export type SigningKey = Pick<SigningKeyRecord, 'id' | 'createdAt' | 'retiredAt' | 'expiresAt'> & {
  /** RFC 8037: `kty` OKP, `crv` Ed25519, with `kid`, `alg` and `use`. */
  readonly jwk: PublicJwk;
};

export type PublicJwk = {
  readonly kty: 'OKP';
  readonly crv: 'Ed25519';
  readonly x: string;
  readonly kid: KeyId;
  readonly alg: 'EdDSA';
  readonly use: 'sig';
};

/**
 * The Ed25519 keys that sign what this server says of identities. One signs; those before it verify until nothing
 * that they signed can be alive. Every process on the store knows a rotation within the change feed's interval,
 * and asks the store for a key that it does not know.
 */
export type SigningKeys = {
  /**
   * Signs claims under the key of now. `iat` and `exp` are the caller's, at most `signedLifeMsMax` apart. `typ` says
   * what the token is, and a verifier that takes one kind must refuse the others (RFC 8725 §3.11).
   */
  sign(typ: string, claims: JWTPayload & { readonly iat: number; readonly exp: number }): Promise<string>;
  /** What verifies signatures of the key with this `kid`, or null for what is unknown or over. */
  verifier(kid: string): Promise<CryptoKey | null>;
  /** Those that verify now, the newest first. */
  list(): Promise<readonly SigningKey[]>;
  /**
   * Makes another key, which signs from now on. Those before verify until what they signed is over; without `overlap`,
   * for a key that others may know, they stop at once and every token that they signed with them.
   */
  rotate(options: { readonly overlap: boolean }): Promise<SigningKey>;
};

export type SigningKeysOptions = {
  readonly store: SigningKeyStore;
  readonly sealing: Sealing;
  readonly changes: ChangeFeed;
  readonly clock: Clock;
};

/** Makes the first key where there is none; of processes that start together one makes it. */
export async function openSigningKeys(options: SigningKeysOptions): Promise<SigningKeys> {
  const { store, clock } = options;
  const kept = await store.valid('access', clock.now());
  if (!kept.some(({ retiredAt }) => retiredAt === null)) await store.ensure(newKey(options));
  const ring = new KeyRing(options);
  await ring.load();
  return ring;
}

type Held = { readonly key: SigningKey; readonly verifies: CryptoKey };

class KeyRing implements SigningKeys {
  readonly #options: SigningKeysOptions;
  #held: ReadonlyMap<string, Held> = new Map();
  #signs: { readonly id: KeyId; readonly key: CryptoKey } | null = null;
  #isStale = false;
  #loading: Promise<void> | null = null;
  #loadedAt = Number.NEGATIVE_INFINITY;

  constructor(options: SigningKeysOptions) {
    this.#options = options;
    options.changes.on(({ kind }) => {
      if (kind === 'key') this.#isStale = true;
    });
  }

  /** Reads the keys of the store; callers at one time share one reading. */
  load(): Promise<void> {
    this.#loading ??= this.#load()
      .catch((error: unknown) => {
        this.#isStale = true;
        throw error;
      })
      .finally(() => {
        this.#loading = null;
      });
    return this.#loading;
  }

  async sign(typ: string, claims: JWTPayload & { iat: number; exp: number }): Promise<string> {
    if ((claims.exp - claims.iat) * 1000 > identityLimits.signedLifeMsMax)
      throw new RangeError('what is signed may not outlive the key that signed it');
    await this.#refresh();
    if (this.#signs === null) throw new Error('there is no key that signs');
    const { id, key } = this.#signs;
    return await new SignJWT(claims).setProtectedHeader({ alg: 'EdDSA', typ, kid: id }).sign(key);
  }

  async verifier(kid: string): Promise<CryptoKey | null> {
    if (parseId('key', kid) === null) return null;
    await this.#refresh();
    // Another process may have rotated a moment ago; strangers cannot make the store work more often than that.
    const { clock } = this.#options;
    const isOld = clock.monotonic() - this.#loadedAt >= identityLimits.changesEveryMs;
    if (!this.#held.has(kid) && isOld) await this.load();
    const held = this.#held.get(kid);
    return held === undefined || isOver(held.key, clock.now()) ? null : held.verifies;
  }

  async list(): Promise<readonly SigningKey[]> {
    await this.#refresh();
    const now = this.#options.clock.now();
    return [...this.#held.values()].map(({ key }) => key).filter((key) => !isOver(key, now));
  }

  async rotate({ overlap }: { overlap: boolean }): Promise<SigningKey> {
    const { store, changes, clock } = this.#options;
    const made = newKey(this.#options);
    const overlapMs = overlap ? identityLimits.signedLifeMsMax + identityLimits.clockSkewMs : 0;
    await store.rotate(made, clock.now() + overlapMs);
    await changes.look().catch(() => undefined);
    await this.#loading?.catch(() => undefined);
    await this.load();
    return keyOf(made);
  }

  async #refresh(): Promise<void> {
    if (this.#isStale || !this.#options.changes.isFresh) await this.load();
  }

  async #load(): Promise<void> {
    const { store, sealing, clock } = this.#options;
    this.#isStale = false;
    this.#loadedAt = clock.monotonic();
    const records = await store.valid('access', clock.now());
    const held = new Map<string, Held>();
    for (const record of records) {
      const key = keyOf(record);
      const known = this.#held.get(record.id)?.verifies;
      held.set(record.id, { key, verifies: known ?? (await imported(key.jwk)) });
    }
    const signing = records.find(({ retiredAt }) => retiredAt === null);
    if (signing !== undefined && signing.id !== this.#signs?.id) {
      const secret = JSON.parse(sealing.unseal(purposeOf(signing.id), signing.sealed)) as JWK;
      this.#signs = { id: signing.id, key: await imported(secret) };
    }
    this.#held = held;
  }
}

function newKey({ sealing, clock }: Pick<SigningKeysOptions, 'sealing' | 'clock'>): SigningKeyRecord {
  const { publicKey, privateKey } = generateKeyPairSync('ed25519');
  const now = clock.now();
  const id = newId('key', now);
  return {
    id,
    use: 'access',
    public: JSON.stringify(publicKey.export({ format: 'jwk' })),
    sealed: sealing.seal(purposeOf(id), JSON.stringify(privateKey.export({ format: 'jwk' }))),
    createdAt: now,
    retiredAt: null,
    expiresAt: null,
  };
}

/** Names the row, so that a private key that is moved to another opens no more. */
function purposeOf(id: KeyId): string {
  return `signing-key ${id}`;
}

function keyOf({ id, public: text, createdAt, retiredAt, expiresAt }: SigningKeyRecord): SigningKey {
  const { x } = JSON.parse(text) as { x: string };
  const jwk = { kty: 'OKP', crv: 'Ed25519', x, kid: id, alg: 'EdDSA', use: 'sig' } as const;
  return { id, createdAt, retiredAt, expiresAt, jwk };
}

function isOver({ expiresAt }: SigningKey, now: number): boolean {
  return expiresAt !== null && expiresAt <= now;
}

async function imported(jwk: JWK): Promise<CryptoKey> {
  return (await importJWK({ ...jwk }, 'EdDSA')) as CryptoKey;
}
