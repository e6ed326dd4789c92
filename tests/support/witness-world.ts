import { cpSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { openAuditLog, type SignedAuditLog } from '../../src/audit/log.ts';
import { openWitness } from '../../src/audit/witnesses/open-witness.ts';
import type { PushResult, Witness } from '../../src/audit/witnesses/witness.ts';
import type { WitnessSettings } from '../../src/contract/witnesses.ts';
import { attempt, eventId, manualClock, temporaryFolder, testSigningKeys } from './audit.ts';

export const wholeWitness: Omit<WitnessSettings, 'url'> = {
  ...{ name: 'witness', required: false, everySeconds: 60 },
  ...{ secret: null, authorities: [], identity: null },
};

/** Logs on a disk that can be copied, and a witness that they are pushed to. */
export class WitnessWorld {
  readonly #temporary = temporaryFolder();
  readonly #logs = new Set<SignedAuditLog>();
  readonly #witnesses = new Set<Witness>();
  readonly clock = manualClock();

  /** The folder of a name, made where it is not there. */
  folder(name: string): string {
    const path = join(this.#temporary.path, name);
    mkdirSync(path, { recursive: true });
    return path;
  }

  async log(name = 'audit'): Promise<SignedAuditLog> {
    const log = await openAuditLog({
      folder: this.folder(name),
      stream: 'control',
      clock: this.clock,
      newId: eventId,
      signingKeys: testSigningKeys,
    });
    this.#logs.add(log);
    return log;
  }

  /** Events, each of which says `word`, and a checkpoint of them. */
  async grow(log: SignedAuditLog, count: number, word = 'run.create'): Promise<void> {
    for (let index = 0; index < count; index += 1) await log.append(attempt(word));
    await log.sign();
  }

  async end(log: SignedAuditLog): Promise<void> {
    this.#logs.delete(log);
    await log.close();
  }

  /** What was written so far, as somebody copies it who can read the disk. */
  copy(from: string, to: string): void {
    cpSync(this.folder(from), this.folder(to), { recursive: true });
  }

  async witness(settings: Partial<WitnessSettings> & Pick<WitnessSettings, 'url'>, sendMs = 2_000) {
    const witness = await openWitness({
      settings: { ...wholeWitness, ...settings },
      version: '1.2.3',
      now: () => this.clock.now(),
      sendMs,
    });
    this.#witnesses.add(witness);
    return witness;
  }

  async close(): Promise<void> {
    for (const witness of this.#witnesses) witness.close();
    for (const log of this.#logs) await log.close();
    this.#temporary[Symbol.dispose]();
  }
}

/** Pushes the newest checkpoint of a log. */
export async function pushNewest(witness: Witness, log: SignedAuditLog): Promise<PushResult> {
  const { stream, tree } = log;
  return await witness.push({ stream, tree, checkpoint: log.checkpoint() }, AbortSignal.timeout(10_000));
}
