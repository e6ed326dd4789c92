import { createHash, generateKeyPairSync, type KeyObject, randomBytes, sign } from 'node:crypto';
import type { NewPasskeyAnswer, PasskeyAnswer } from '../../src/contract/sign-in-schemas.ts';

/** What a test makes an authenticator, or the browser around it, say. */
export type Saying = {
  readonly origin?: string;
  readonly domain?: string;
  readonly challenge?: string;
  readonly verified?: boolean;
  readonly counter?: number;
  readonly userHandle?: string;
};

/** An authenticator that holds one passkey, as WebAuthn §6 has it, and says what a test tells it to. */
export class SoftAuthenticator {
  readonly id = randomBytes(32).toString('base64url');
  readonly #key: KeyObject;
  readonly #publicKey: KeyObject;
  readonly #site: { readonly origin: string; readonly domain: string };
  #counter = 0;
  #userHandle: string | undefined;

  constructor(site: { origin: string; domain: string }) {
    this.#site = site;
    const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
    this.#key = privateKey;
    this.#publicKey = publicKey;
  }

  make(options: { challenge: string; user?: unknown }, saying: Saying = {}): NewPasskeyAnswer {
    this.#userHandle = (options.user as { id: string } | undefined)?.id;
    const authData = this.#data(saying, { attested: true });
    const attestation = cborMap([
      ['fmt', cborText('none')],
      ['attStmt', cborMap([])],
      ['authData', cborBytes(authData)],
    ]);
    return {
      id: this.id,
      rawId: this.id,
      type: 'public-key',
      response: {
        clientDataJSON: this.#client('webauthn.create', options, saying).toString('base64url'),
        attestationObject: attestation.toString('base64url'),
        transports: ['internal'],
      },
      clientExtensionResults: {},
    };
  }

  prove(options: { challenge: string }, saying: Saying = {}): PasskeyAnswer {
    const authData = this.#data(saying, { attested: false });
    const client = this.#client('webauthn.get', options, saying);
    const signed = Buffer.concat([authData, createHash('sha256').update(client).digest()]);
    const userHandle = saying.userHandle ?? this.#userHandle;
    return {
      id: this.id,
      rawId: this.id,
      type: 'public-key',
      response: {
        clientDataJSON: client.toString('base64url'),
        authenticatorData: authData.toString('base64url'),
        signature: sign('sha256', signed, this.#key).toString('base64url'),
        ...(userHandle === undefined ? {} : { userHandle }),
      },
      clientExtensionResults: {},
    };
  }

  #client(type: string, options: { challenge: string }, saying: Saying): Buffer {
    const { challenge = options.challenge, origin = this.#site.origin } = saying;
    return Buffer.from(JSON.stringify({ type, challenge, origin, crossOrigin: false }));
  }

  #data(
    { domain = this.#site.domain, verified = true, counter }: Saying,
    { attested }: { attested: boolean },
  ): Buffer {
    const present = 0x01;
    const userVerified = 0x04;
    const withCredential = 0x40;
    this.#counter = counter ?? this.#counter + 1;
    const count = Buffer.alloc(4);
    count.writeUInt32BE(this.#counter);
    const flags = present | (verified ? userVerified : 0) | (attested ? withCredential : 0);
    const head = [createHash('sha256').update(domain).digest(), Buffer.from([flags]), count];
    if (!attested) return Buffer.concat(head);
    const credential = Buffer.from(this.id, 'base64url');
    const length = Buffer.from([0, credential.length]);
    return Buffer.concat([...head, Buffer.alloc(16), length, credential, this.#coseKey()]);
  }

  /** RFC 9052 §7: an EC2 key for ES256. */
  #coseKey(): Buffer {
    const { x, y } = this.#publicKey.export({ format: 'jwk' }) as { x: string; y: string };
    const members = [
      [0x01, Buffer.from([0x02])],
      [0x03, Buffer.from([0x26])],
      [0x20, Buffer.from([0x01])],
      [0x21, cborBytes(Buffer.from(x, 'base64url'))],
      [0x22, cborBytes(Buffer.from(y, 'base64url'))],
    ] as const;
    return Buffer.concat([
      Buffer.from([0xa0 + members.length]),
      ...members.flatMap(([label, value]) => [Buffer.from([label]), value]),
    ]);
  }
}

function cborText(text: string): Buffer {
  return Buffer.concat([Buffer.from([0x60 + text.length]), Buffer.from(text)]);
}

function cborBytes(bytes: Buffer): Buffer {
  const short = bytes.length < 256;
  const head = short ? [0x58, bytes.length] : [0x59, bytes.length >> 8, bytes.length & 255];
  return Buffer.concat([Buffer.from(head), bytes]);
}

function cborMap(members: readonly (readonly [string, Buffer])[]): Buffer {
  const pairs = members.flatMap(([name, value]) => [cborText(name), value]);
  return Buffer.concat([Buffer.from([0xa0 + members.length]), ...pairs]);
}
