import { createPrivateKey, randomBytes, type webcrypto, X509Certificate } from 'node:crypto';
import { isIP } from 'node:net';
import type { Extension, PublicKey } from '@peculiar/x509';
import type { Clock } from '../../base/clock.ts';
import { type ActorId, actorKind, actorName } from '../../model/actor.ts';
import { type KeyId, newId } from '../../model/ids.ts';
import type { SigningKeyRecord, SigningKeyStore } from '../../store/identity-store.ts';
import { identityLimits } from '../limits.ts';
import type { Sealing } from '../sealing.ts';
import { readCertificateRequest } from './request.ts';
import { loadX509, type X509 } from './x509.ts';

/** PEM; the fingerprint is the SHA-256 of the DER in lower-case hex. Times are in milliseconds. */
export type IssuedCertificate = {
  readonly certificate: string;
  readonly fingerprint: string;
  readonly expiresAt: number;
};

/** A certificate of the authority: `signs` says whether it is the one that signs for agents now. */
export type AuthorityCertificate = IssuedCertificate & {
  readonly id: KeyId;
  readonly createdAt: number;
  readonly signs: boolean;
};

/** For a TLS listener; PEM, the key PKCS#8. */
export type ServerCredential = {
  readonly key: string;
  readonly certificate: string;
  readonly expiresAt: number;
};

/**
 * The built-in authority for machines that prove by mutual TLS who they are. It makes its first key when somebody
 * first needs it and another long before one is over; those before verify until what they signed is over.
 */
export type Authority = {
  /** The host part of every `spiffe://` name. */
  readonly trustDomain: string;
  /** Those that verify now, the newest first. */
  certificates(): Promise<readonly AuthorityCertificate[]>;
  /**
   * For an agent or service, from its PKCS #10 request. Whom it names is for the caller to have decided: nothing but
   * the key is taken from the request. Throws Fault `request.invalid`.
   */
  issue(agent: ActorId, request: string, lifeMs: number): Promise<IssuedCertificate>;
  /** Whether an authority that still verifies signed it, and its time is not over. */
  verifies(certificate: string): Promise<boolean>;
  /** A new one at each call, for names and addresses at which machines reach this server. */
  serverCredential(names: readonly string[]): Promise<ServerCredential>;
  /** Another key signs from now on; what the earlier ones signed is taken until `overlapMs` from now. */
  rotate(overlapMs: number): Promise<AuthorityCertificate>;
};

export type AuthorityOptions = {
  readonly store: SigningKeyStore;
  readonly sealing: Sealing;
  readonly clock: Clock;
  /** Where identities live: the host part of every `spiffe://` name. */
  readonly trustDomain: string;
};

export function openAuthority(options: AuthorityOptions): Authority {
  return new StoredAuthority(options);
}

/** The name of an agent or service in a trust domain (SPIFFE-ID §2). */
export function agentSpiffeId(trustDomain: string, agent: ActorId): string {
  return `spiffe://${trustDomain}/${actorKind(agent)}/${actorName(agent)}`;
}

const algorithm = { name: 'ECDSA', hash: 'SHA-256', namedCurve: 'P-256' } as const;

class StoredAuthority implements Authority {
  readonly trustDomain: string;
  readonly #options: AuthorityOptions;
  readonly #opened = new Map<KeyId, webcrypto.CryptoKey>();

  constructor(options: AuthorityOptions) {
    this.#options = options;
    this.trustDomain = options.trustDomain;
  }

  async certificates(): Promise<readonly AuthorityCertificate[]> {
    return (await this.#records()).map(certificateOf);
  }

  async issue(agent: ActorId, request: string, lifeMs: number): Promise<IssuedCertificate> {
    const { trustDomain } = this.#options;
    const publicKey = await readCertificateRequest(request);
    const x509 = await loadX509();
    const records = await this.#records();
    return await this.#certify(x509, records.find(({ retiredAt }) => retiredAt === null)!, {
      subject: agent,
      publicKey,
      lifeMs: Math.min(lifeMs, identityLimits.certificateLifeMsMax),
      purpose: x509.ExtendedKeyUsage.clientAuth,
      names: [{ type: 'url', value: agentSpiffeId(trustDomain, agent) }],
    });
  }

  async verifies(certificate: string): Promise<boolean> {
    const now = this.#options.clock.now();
    const leaf = new X509Certificate(certificate);
    if (+leaf.validToDate <= now || +leaf.validFromDate > now + identityLimits.certificateSkewMs)
      return false;
    return (await this.#records()).some((record) => {
      const authority = new X509Certificate(record.public);
      return leaf.checkIssued(authority) && leaf.verify(authority.publicKey);
    });
  }

  /** Signed by the oldest that verifies: who has not heard of the newest yet trusts it too. */
  async serverCredential(names: readonly string[]): Promise<ServerCredential> {
    const x509 = await loadX509();
    const signer = (await this.#records()).at(-1)!;
    const leftMs = (signer.expiresAt ?? Number.POSITIVE_INFINITY) - this.#options.clock.now();
    const keys = await crypto.subtle.generateKey(algorithm, true, ['sign', 'verify']);
    const { certificate, expiresAt } = await this.#certify(x509, signer, {
      subject: 'Sealwright',
      publicKey: new x509.PublicKey(await crypto.subtle.exportKey('spki', keys.publicKey)),
      lifeMs: Math.min(identityLimits.serverCertificateLifeMs, leftMs),
      purpose: x509.ExtendedKeyUsage.serverAuth,
      names: names.map((value) => ({ type: isIP(value) === 0 ? ('dns' as const) : ('ip' as const), value })),
    });
    const pkcs8 = Buffer.from(await crypto.subtle.exportKey('pkcs8', keys.privateKey));
    const key = createPrivateKey({ key: pkcs8, format: 'der', type: 'pkcs8' });
    return { key: key.export({ type: 'pkcs8', format: 'pem' }) as string, certificate, expiresAt };
  }

  async rotate(overlapMs: number): Promise<AuthorityCertificate> {
    const { store, clock } = this.#options;
    const made = await this.#make();
    await store.rotate(made, clock.now() + overlapMs);
    return certificateOf(made);
  }

  /** With one that signs: the first is made here, and another where the one that signs is old. */
  async #records(): Promise<readonly SigningKeyRecord[]> {
    const { store, clock } = this.#options;
    const kept = await store.valid('authority', clock.now());
    const signing = kept.find(({ retiredAt }) => retiredAt === null);
    if (signing !== undefined && clock.now() - signing.createdAt < identityLimits.authorityRotateMs)
      return kept;
    if (signing === undefined) await store.ensure(await this.#make());
    else await this.rotate(identityLimits.authorityOverlapMs);
    return await store.valid('authority', clock.now());
  }

  async #make(): Promise<SigningKeyRecord> {
    const { sealing, clock, trustDomain } = this.#options;
    const x509 = await loadX509();
    const now = clock.now();
    const id = newId('key', now);
    const keys = await crypto.subtle.generateKey(algorithm, true, ['sign', 'verify']);
    const certificate = await x509.X509CertificateGenerator.createSelfSigned({
      serialNumber: serialNumber(),
      name: [{ CN: [`Sealwright authority ${id}`] }],
      notBefore: new Date(now - identityLimits.certificateSkewMs),
      notAfter: new Date(now + identityLimits.authorityLifeMs),
      signingAlgorithm: algorithm,
      keys,
      extensions: [
        new x509.BasicConstraintsExtension(true, 0, true),
        new x509.KeyUsagesExtension(x509.KeyUsageFlags.keyCertSign | x509.KeyUsageFlags.cRLSign, true),
        new x509.SubjectAlternativeNameExtension([{ type: 'url', value: `spiffe://${trustDomain}` }]),
        await x509.SubjectKeyIdentifierExtension.create(keys.publicKey),
      ],
    });
    const secret = Buffer.from(await crypto.subtle.exportKey('pkcs8', keys.privateKey)).toString('base64');
    return {
      id,
      use: 'authority',
      public: pemOf(certificate.toString('pem')),
      sealed: sealing.seal(purposeOf(id), secret),
      createdAt: now,
      retiredAt: null,
      expiresAt: null,
    };
  }

  async #certify(
    x509: X509,
    record: SigningKeyRecord,
    wanted: {
      readonly subject: string;
      readonly publicKey: PublicKey;
      readonly lifeMs: number;
      readonly purpose: string;
      readonly names: ConstructorParameters<X509['SubjectAlternativeNameExtension']>[0];
    },
  ): Promise<IssuedCertificate> {
    const now = this.#options.clock.now();
    const issuer = new x509.X509Certificate(record.public);
    // A certificate tells whole seconds.
    const expiresAt = Math.floor((now + wanted.lifeMs) / 1000) * 1000;
    const extensions: Extension[] = [
      new x509.BasicConstraintsExtension(false, undefined, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature, true),
      new x509.ExtendedKeyUsageExtension([wanted.purpose], false),
      new x509.SubjectAlternativeNameExtension(wanted.names, false),
      await x509.AuthorityKeyIdentifierExtension.create(issuer.publicKey),
      await x509.SubjectKeyIdentifierExtension.create(wanted.publicKey),
    ];
    const made = await x509.X509CertificateGenerator.create({
      serialNumber: serialNumber(),
      issuer: issuer.subjectName,
      subject: [{ CN: [wanted.subject] }],
      notBefore: new Date(now - identityLimits.certificateSkewMs),
      notAfter: new Date(expiresAt),
      signingAlgorithm: algorithm,
      publicKey: wanted.publicKey,
      signingKey: await this.#privateKey(record),
      extensions,
    });
    const certificate = pemOf(made.toString('pem'));
    return { certificate, fingerprint: fingerprintOf(certificate), expiresAt };
  }

  /** Opened once; what signs cannot be read out of this process's own key any more. */
  async #privateKey({ id, sealed }: SigningKeyRecord): Promise<webcrypto.CryptoKey> {
    const opened = this.#opened.get(id);
    if (opened !== undefined) return opened;
    const secret = Buffer.from(this.#options.sealing.unseal(purposeOf(id), sealed), 'base64');
    const key = await crypto.subtle.importKey('pkcs8', secret, algorithm, false, ['sign']);
    this.#opened.set(id, key);
    return key;
  }
}

function certificateOf({
  id,
  public: certificate,
  createdAt,
  retiredAt,
}: SigningKeyRecord): AuthorityCertificate {
  const expiresAt = +new X509Certificate(certificate).validToDate;
  const signs = retiredAt === null;
  return { id, certificate, fingerprint: fingerprintOf(certificate), createdAt, expiresAt, signs };
}

/** SHA-256 of a certificate in lower-case hex, as agents' credentials are found by. */
export function fingerprintOf(certificate: string): string {
  return new X509Certificate(certificate).fingerprint256.replaceAll(':', '').toLowerCase();
}

/** Names the row, so that a private key that is moved to another opens no more. */
function purposeOf(id: KeyId): string {
  return `authority ${id}`;
}

/** Positive, always as long, and 126 bits at random (RFC 5280 §4.1.2.2). */
function serialNumber(): string {
  const bytes = randomBytes(16);
  bytes[0] = (bytes[0]! & 0x3f) | 0x40;
  return bytes.toString('hex');
}

function pemOf(text: string): string {
  return text.endsWith('\n') ? text : `${text}\n`;
}
