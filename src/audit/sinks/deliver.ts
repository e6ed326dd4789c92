import { failureCode } from './reason.ts';
import type { Outgoing, SendResult, Sink } from './sink.ts';

/** What came of a batch: its first `settled` events were taken or, as `refused` says, never will be. */
export type Delivery = {
  readonly settled: number;
  readonly refused: readonly { readonly one: Outgoing; readonly reason: string }[];
  /** Why the others were not settled. */
  readonly later: (SendResult & { kind: 'later' }) | null;
};

/**
 * Sends a batch; where the receiver refuses it as a whole, halves of it, until the events that it refuses stand alone.
 * Their order stays. An event may be sent more than once.
 */
export async function deliver(
  sink: Sink,
  batch: readonly Outgoing[],
  signal: AbortSignal,
): Promise<Delivery> {
  const result = await sendSafely(sink, batch, signal);
  if (result.kind === 'later') return { settled: 0, refused: [], later: result };
  if (result.kind === 'taken') {
    const refused = (result.refused ?? []).map(({ index, reason }) => ({ one: batch[index]!, reason }));
    return { settled: batch.length, refused, later: null };
  }
  if (batch.length === 1)
    return { settled: 1, refused: [{ one: batch[0]!, reason: result.reason }], later: null };
  const half = Math.ceil(batch.length / 2);
  const first = await deliver(sink, batch.slice(0, half), signal);
  if (first.later !== null) return first;
  const second = await deliver(sink, batch.slice(half), signal);
  return {
    settled: half + second.settled,
    refused: [...first.refused, ...second.refused],
    later: second.later,
  };
}

async function sendSafely(sink: Sink, batch: readonly Outgoing[], signal: AbortSignal): Promise<SendResult> {
  try {
    return await sink.send(batch, signal);
  } catch (error) {
    return { kind: 'later', reason: failureCode(error) };
  }
}
