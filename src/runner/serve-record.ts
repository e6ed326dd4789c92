import { StreamReader } from '../audit/stream-reader.ts';
import type { Channel } from '../base/channel.ts';
import type { AuditNote, AuditOffer } from '../contract/runner.ts';
import { parseReceipt, parseWish } from './control-frames.ts';
import { runnerLimits } from './limits.ts';
import type { RunnerRecord } from './record.ts';

/** What of the record is handed over. */
export type HandedRecord = Pick<RunnerRecord, 'place' | 'folder' | 'checkpoint' | 'changed' | 'received'>;

const newline = Buffer.from('\n');

/** Hands the runner's own stream over, from where control stands on, for as long as the connection lasts. */
export async function serveRecord(record: HandedRecord, channel: Channel): Promise<void> {
  await channel.sendJson(record.place satisfies AuditOffer);
  const wish = await channel.read();
  if (wish?.kind !== 'json') return;
  const reader = new StreamReader(record.folder, parseWish(wish.value).after);
  const gone = new AbortController();
  void channel.closed.then(() => gone.abort());
  void receive(channel, record)
    .catch(() => undefined)
    .finally(() => gone.abort());
  try {
    for (let signed = ''; !gone.signal.aborted; ) {
      const changed = record.changed(gone.signal);
      const { size, note } = record.checkpoint;
      if (size === reader.after && note !== signed) {
        await channel.sendJson({ checkpoint: note } satisfies AuditNote);
        signed = note;
        continue;
      }
      // Lines up to what was signed, then the note: so control has its tree of just that size.
      const end = size > reader.after ? size : record.place.seq;
      if (!(await sendLines(reader, end, channel))) await changed;
    }
  } finally {
    await reader.close();
  }
}

/** Never ahead of what the disk has: a line that a crash takes back must not be with control. */
async function sendLines(reader: StreamReader, end: number, channel: Channel): Promise<boolean> {
  const limit = Math.min(end - reader.after, runnerLimits.recordLinesPerFrame);
  if (limit <= 0) return false;
  const lines = await reader.read(limit);
  if (lines.length === 0) throw new Error('lines of the record that were durable are not there');
  await channel.sendData(Buffer.concat(lines.flatMap(({ bytes }) => [bytes, newline])));
  return true;
}

async function receive(channel: Channel, record: HandedRecord): Promise<void> {
  for (let frame = await channel.read(); frame?.kind === 'json'; frame = await channel.read())
    record.received(parseReceipt(frame.value).acknowledged);
}
