import { join } from 'node:path';
import type { Clock } from '../../base/clock.ts';
import type { RedeliveredView } from '../../contract/sinks.ts';
import { StreamReader } from '../stream-reader.ts';
import type { DeadLetter, DeadLetters } from './dead-letters.ts';
import { sinkLimits } from './limits.ts';
import type { Prepare } from './outgoing.ts';
import { failureCode } from './reason.ts';
import type { SendResult, Sink } from './sink.ts';

type Parts = {
  readonly sink: Sink;
  readonly dead: DeadLetters;
  readonly folder: string;
  readonly clock: Clock;
  readonly prepare: Prepare;
  readonly signal: AbortSignal;
};

/**
 * Sends dead letters again, each alone, for `sinkLimits.redeliverMs` at most. An event that is not in the log any more, or
 * that the filter keeps back by now, is no dead letter any more.
 */
export async function redeliver(parts: Parts): Promise<RedeliveredView> {
  const { dead, clock } = parts;
  const letters = dead.all();
  const endsAt = clock.monotonic() + sinkLimits.redeliverMs;
  const kept: DeadLetter[] = [];
  let delivered = 0;
  let stoppedBy: string | null = null;
  const lines = new LineFinder(parts.folder);
  try {
    for (const letter of letters) {
      if (stoppedBy === null && clock.monotonic() > endsAt) stoppedBy = 'there was no more time: ask again';
      const result: LetterResult | null = stoppedBy === null ? await sendLetter(parts, lines, letter) : null;
      if (result?.kind === 'taken' && result.refused === undefined) delivered += 1;
      if (result?.kind === 'later') stoppedBy = result.reason;
      const refusal = result?.kind === 'refused' ? result.reason : reasonIn(result);
      if (refusal !== null)
        kept.push({ ...letter, reason: refusal, at: new Date(clock.now()).toISOString() });
      else if (result === null || result.kind === 'later') kept.push(letter);
    }
  } finally {
    await lines.close();
  }
  await dead.replace(kept);
  return { delivered, remaining: kept.length, stoppedBy };
}

type LetterResult = SendResult | { readonly kind: 'gone' };

function reasonIn(result: LetterResult | null): string | null {
  return result?.kind === 'taken' ? (result.refused?.[0]?.reason ?? null) : null;
}

async function sendLetter(parts: Parts, lines: LineFinder, letter: DeadLetter): Promise<LetterResult> {
  try {
    const line = await lines.find(letter);
    if (line === null) return { kind: 'gone' };
    const prepared = parts.prepare(line, letter.stream);
    if (prepared.kind === 'broken') return { kind: 'refused', reason: letter.reason };
    if (prepared.kind === 'filtered') return { kind: 'gone' };
    return await parts.sink.send([prepared.one], parts.signal);
  } catch (error) {
    return { kind: 'later', reason: failureCode(error) };
  }
}

/** Finds events whose numbers only grow within a stream, each stream after the other. */
class LineFinder {
  readonly #folder: string;
  #stream = '';
  #reader: StreamReader | null = null;

  constructor(folder: string) {
    this.#folder = folder;
  }

  async find({ stream, seq }: DeadLetter) {
    if (stream !== this.#stream) await this.close();
    this.#stream = stream;
    this.#reader ??= new StreamReader(join(this.#folder, stream), seq - 1);
    for (;;) {
      const missing = seq - this.#reader.after;
      const lines = missing < 1 ? [] : await this.#reader.read(Math.min(missing, sinkLimits.batchEventsMax));
      const last = lines.at(-1);
      if (last === undefined || last.seq > seq) return null;
      if (last.seq === seq) return last;
    }
  }

  async close(): Promise<void> {
    await this.#reader?.close();
    this.#reader = null;
  }
}
