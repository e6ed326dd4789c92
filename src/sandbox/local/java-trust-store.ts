import { createHash, type Hash } from 'node:crypto';

/** Every Java's default, of its own trust store too. */
const password = 'changeit';

/**
 * A Java key store with certificates alone, in the format JKS (OpenJDK's sun.security.provider.JavaKeyStore), which
 * every Java reads: as its default trust store without the password. What is the same for all sandboxes is encoded
 * and hashed once.
 */
export class JavaTrustStore {
  readonly #head: Buffer;
  readonly #digest: Hash;

  /** The certificates as DER. */
  constructor(roots: readonly Buffer[]) {
    const header = numbers(0xfeedfeed, 2, roots.length + 1);
    this.#head = Buffer.concat([header, ...roots.map((root, index) => entry(`root-${index}`, root))]);
    this.#digest = createHash('sha1')
      .update(Buffer.from(password, 'utf16le').swap16())
      .update('Mighty Aphrodite') // The format's own salt.
      .update(this.#head);
  }

  /** With one certificate more. */
  with(certificate: Buffer): Buffer {
    const last = entry('sealwright', certificate);
    return Buffer.concat([this.#head, last, this.#digest.copy().update(last).digest()]);
  }
}

/** A trusted certificate: its kind, alias, date of creation, type and bytes. */
function entry(alias: string, certificate: Buffer): Buffer {
  const date = numbers(0, 0);
  return Buffer.concat([
    numbers(2),
    text(alias),
    date,
    text('X.509'),
    numbers(certificate.length),
    certificate,
  ]);
}

function numbers(...values: readonly number[]): Buffer {
  const bytes = Buffer.alloc(4 * values.length);
  for (const [index, value] of values.entries()) bytes.writeUInt32BE(value, 4 * index);
  return bytes;
}

function text(ascii: string): Buffer {
  return Buffer.concat([Buffer.of(0, ascii.length), Buffer.from(ascii, 'latin1')]);
}
