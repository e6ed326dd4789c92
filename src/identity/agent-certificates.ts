import type { Clock } from '../base/clock.ts';
import type { Actor } from '../model/actor.ts';
import { type CredentialId, parseId } from '../model/ids.ts';
import type { AgentCredentialRecord, AgentStore } from '../store/identity-store.ts';
import type { Authority } from './certificates/authority.ts';
import type { ChangeFeed } from './change-feed.ts';
import { identityLimits } from './limits.ts';
import { egressOf, type Principals } from './principals.ts';

/**
 * Agents and services by the certificates that the built-in authority issued to them. What ends a certificate, its
 * agent or its authority holds here from the change feed's next look, on connections that are open too.
 */
export type AgentCertificates = {
  /** Of the SHA-256 fingerprint, hex, of a certificate whose private half the TLS layer saw proved; null for nobody. */
  ofFingerprint(fingerprint: string): Promise<Actor | null>;
  /** The actor of a certificate by its credential's id, as it is now; null where either has ended. */
  actorOf(credential: string): Promise<Actor | null>;
  /** Writes what is still to be written about last uses. */
  close(): Promise<void>;
};

export type AgentCertificatesOptions = {
  readonly store: Pick<AgentStore, 'credential' | 'credentialByProof' | 'touchCredential'>;
  readonly principals: Pick<Principals, 'of'>;
  readonly authority: Pick<Authority, 'verifies'>;
  readonly changes: Pick<ChangeFeed, 'on' | 'isFresh'>;
  readonly clock: Clock;
  /** A last use that could not be written; nothing else depends on it. */
  readonly onError: (error: unknown) => void;
};

export function openAgentCertificates(options: AgentCertificatesOptions): AgentCertificates {
  return new CertificateDirectory(options);
}

class CertificateDirectory implements AgentCertificates {
  readonly #options: AgentCertificatesOptions;
  /** By fingerprint: certificates that were found, verified and not revoked. */
  readonly #known = new Map<string, AgentCredentialRecord>();
  readonly #usedAt = new Map<CredentialId, number>();
  readonly #writes = new Set<Promise<void>>();
  /** Grows with every change, so that an answer that was on its way is not kept. */
  #generation = 0;

  constructor(options: AgentCertificatesOptions) {
    this.#options = options;
    options.changes.on(({ kind }) => {
      if (kind !== 'agent' && kind !== 'key') return;
      this.#generation += 1;
      this.#known.clear();
    });
  }

  async ofFingerprint(fingerprint: string): Promise<Actor | null> {
    const kept = this.#options.changes.isFresh ? this.#known.get(fingerprint) : undefined;
    const credential = kept ?? (await this.#look(fingerprint));
    return credential === null ? null : await this.#actor(credential);
  }

  async actorOf(credential: string): Promise<Actor | null> {
    const id = parseId('credential', credential);
    const found = id === null ? null : await this.#options.store.credential(id);
    return found?.kind === 'certificate' ? await this.ofFingerprint(found.proof) : null;
  }

  async #actor(credential: AgentCredentialRecord): Promise<Actor | null> {
    const now = this.#options.clock.now();
    if (credential.expiresAt !== null && credential.expiresAt <= now) return null;
    const principal = await this.#options.principals.of(credential.agent);
    if (typeof principal !== 'object') return null;
    this.#noteUse(credential, now);
    const { id, scopes, reach, teams, role, egress } = principal;
    return { id, scopes, reach, teams, role, ...egressOf(egress), narrowed: true, credential: credential.id };
  }

  async close(): Promise<void> {
    await Promise.all(this.#writes);
  }

  async #look(fingerprint: string): Promise<AgentCredentialRecord | null> {
    const { store, authority, clock } = this.#options;
    if (!/^[0-9a-f]{64}$/.test(fingerprint)) return null;
    const generation = this.#generation;
    const found = await store.credentialByProof('certificate', fingerprint, clock.now());
    // Its authority may have been given up since: then it is worth nothing, whatever the TLS layer still thinks.
    if (found === null || found.material === null || !(await authority.verifies(found.material))) return null;
    if (generation !== this.#generation) return found;
    if (this.#known.size >= identityLimits.certificatesMax) this.#known.clear();
    this.#known.set(fingerprint, found);
    return found;
  }

  #noteUse({ id, lastUsedAt }: AgentCredentialRecord, now: number): void {
    const { store, onError } = this.#options;
    const last = this.#usedAt.get(id) ?? lastUsedAt ?? Number.NEGATIVE_INFINITY;
    if (now - last < identityLimits.lastUseEveryMs) return;
    if (this.#usedAt.size >= identityLimits.certificatesMax) this.#usedAt.clear();
    this.#usedAt.set(id, now);
    const write = store
      .touchCredential(id, now)
      .catch(onError)
      .finally(() => this.#writes.delete(write));
    this.#writes.add(write);
  }
}
