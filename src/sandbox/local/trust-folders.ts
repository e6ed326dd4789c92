import { mkdirSync, readFileSync, rmSync } from 'node:fs';
import { mkdir, rmdir, unlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { certificatesIn } from '../../base/der.ts';
import { Fault } from '../../contract/faults.ts';
import { type TrustFile, trustFiles } from '../trust.ts';
import { JavaTrustStore } from './java-trust-store.ts';

/** One sandbox's, to be bound over `trustFolder`. */
export type TrustFolder = { readonly path: string; remove(): Promise<void> };

/**
 * Makes the folder of each sandbox that says whom it trusts. All is in one folder and so one mount; links in the
 * shared /etc lead there (`etc.ts`).
 */
export class TrustFolders {
  readonly #folder: string;
  readonly #system: Buffer;
  readonly #java: JavaTrustStore | null;
  #made = 0;

  /** `folder` is made anew: nothing is in it but what this makes. `base` holds the files of a sandbox without an authority. */
  constructor(folder: string, base: string) {
    rmSync(folder, { recursive: true, force: true });
    mkdirSync(folder, { recursive: true });
    this.#folder = folder;
    this.#system = wholeLines(contentOf(join(base, trustFiles.bundle)) ?? Buffer.alloc(0));
    const hasJava = contentOf(join(base, trustFiles.java)) !== null;
    this.#java = hasJava ? new JavaTrustStore(certificatesIn(this.#system.toString('latin1'))) : null;
  }

  /** For an authority's certificate as PEM. Throws Fault `sandbox.unavailable`; nothing is left then. */
  async make(certificate: string): Promise<TrustFolder> {
    const path = join(this.#folder, String(++this.#made));
    const files = Object.entries(this.#contents(certificate));
    const remove = async () => {
      await Promise.allSettled(files.map(([name]) => unlink(join(path, name))));
      await rmdir(path).catch(() => undefined);
    };
    try {
      await mkdir(path);
      await Promise.all(files.map(([name, content]) => writeFile(join(path, name), content)));
    } catch (error) {
      await remove();
      const code = (error as NodeJS.ErrnoException).code ?? 'unknown';
      throw new Fault('sandbox.unavailable', {
        detail: `The certificates that a sandbox trusts could not be written (${code}): make room on the runner's disk and see that its folder is its own.`,
        cause: error,
      });
    }
    return { path, remove };
  }

  #contents(certificate: string): Partial<Record<TrustFile, string | Buffer>> {
    const [der] = certificatesIn(certificate) as [Buffer];
    const java = this.#java === null ? {} : { [trustFiles.java]: this.#java.with(der) };
    return {
      [trustFiles.authority]: certificate,
      [trustFiles.bundle]: Buffer.concat([this.#system, Buffer.from(certificate)]),
      [trustFiles.browser]: JSON.stringify(browserPolicy(der)),
      ...java,
    };
  }
}

/** Without ECH and QUIC, which a name cannot be seen in and which do not get out: it falls back, but not at once. */
function browserPolicy(authority: Buffer) {
  return {
    CACertificates: [authority.toString('base64')],
    EncryptedClientHelloEnabled: false,
    QuicAllowed: false,
  };
}

/** So that what is put behind begins a line. */
function wholeLines(text: Buffer): Buffer {
  return text.length === 0 || text.at(-1) === 0x0a ? text : Buffer.concat([text, Buffer.from('\n')]);
}

function contentOf(path: string): Buffer | null {
  try {
    return readFileSync(path);
  } catch {
    return null;
  }
}
