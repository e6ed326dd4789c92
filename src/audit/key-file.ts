import { createPrivateKey, generateKeyPairSync, type KeyObject } from 'node:crypto';
import { readFile, rm } from 'node:fs/promises';
import { dirname } from 'node:path';
import { nodeDisk } from './disk.ts';
import { replaceFile, syncFolder } from './folders.ts';
import type { SignedAuditLog } from './log.ts';
import { noteSigner } from './signed-note.ts';

/**
 * The file of the key that signs a stream (PKCS #8 in PEM, 0600), and beside it, while it is being rotated, that of the next
 * one: a crash at any moment leaves the stream signed by one of the two, and the stream says which.
 */
export class KeyFile {
  readonly #path: string;
  #current: KeyObject;
  #next: KeyObject | null;
  /** When the last rotation that was asked for is done. */
  #rotated: Promise<void> = Promise.resolve();

  private constructor(path: string, current: KeyObject, next: KeyObject | null) {
    this.#path = path;
    this.#current = current;
    this.#next = next;
  }

  /** Rejects where there is no such file, or it holds no key. */
  static async open(path: string): Promise<KeyFile> {
    const next = await readFile(nextOf(path)).catch((error: NodeJS.ErrnoException) => {
      if (error.code === 'ENOENT') return null;
      throw error;
    });
    return new KeyFile(
      path,
      createPrivateKey(await readFile(path)),
      next === null ? null : createPrivateKey(next),
    );
  }

  /** For `openAuditLog`. */
  get keys(): readonly KeyObject[] {
    return this.#next === null ? [this.#current] : [this.#current, this.#next];
  }

  /** Ends what a crash left of a rotation. */
  async settle(log: SignedAuditLog): Promise<void> {
    if (this.#next === null) return;
    const { origin } = log.checkpoint();
    if (noteSigner(origin, this.#next).key.text === log.key()) return await this.#promote(this.#next);
    await rm(nextOf(this.#path), { force: true });
    this.#next = null;
  }

  /** Makes another key, which signs the stream from now on; one at a time. Throws Fault `audit.unavailable`. */
  async rotate(log: SignedAuditLog): Promise<void> {
    const rotated = this.#rotated.then(() => this.#rotate(log));
    this.#rotated = rotated.catch(() => undefined);
    await rotated;
  }

  async #rotate(log: SignedAuditLog): Promise<void> {
    // An earlier one may have failed once its key was in force: that key is nowhere else, and signs before the other goes.
    if (this.#next !== null) await log.sign();
    await this.settle(log);
    const { privateKey } = generateKeyPairSync('ed25519');
    const pem = privateKey.export({ type: 'pkcs8', format: 'pem' }) as string;
    await replaceFile(nodeDisk, nextOf(this.#path), Buffer.from(pem));
    this.#next = privateKey;
    await log.rotateKey(privateKey);
    await this.#promote(privateKey);
  }

  async #promote(next: KeyObject): Promise<void> {
    await nodeDisk.rename(nextOf(this.#path), this.#path);
    await syncFolder(nodeDisk, dirname(this.#path));
    this.#current = next;
    this.#next = null;
  }
}

function nextOf(path: string): string {
  return path.replace(/(\.pem)?$/, '.next$1');
}
