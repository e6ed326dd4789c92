import { generateKeyPairSync, hash } from 'node:crypto';
import { closeSync, mkdirSync, openSync, writeFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { checkpointFile, signCheckpoint } from '../../src/audit/checkpoint.ts';
import { type EventId, eventParts, lineOf, type NewEvent, noHash } from '../../src/audit/event.ts';
import { introductionData, keyActions } from '../../src/audit/key-notes.ts';
import { LeafHasher } from '../../src/audit/leaf-hasher.ts';
import { TreeEdge } from '../../src/audit/merkle.ts';
import { segmentEvents, segmentPath } from '../../src/audit/segments.ts';
import { noteSigner } from '../../src/audit/signed-note.ts';

const linesPerWrite = 2_048;

/** Writes a signed stream as its writer would have, without a disk's pace: `eventOf` gives each event and its id. */
export function writeSignedLog(
  folder: string,
  {
    stream,
    events,
    eventOf,
  }: { stream: string; events: number; eventOf: (seq: number) => { id: EventId; event: NewEvent } },
): void {
  const signer = noteSigner(
    `audit.sealwright.internal/bench/${stream}`,
    generateKeyPairSync('ed25519').privateKey,
  );
  const own = join(folder, stream);
  mkdirSync(own, { recursive: true });
  const leaves = new LeafHasher();
  let prev = noHash;
  for (let first = 1; first <= events; first += segmentEvents) {
    const fd = openSync(segmentPath(own, first), 'w');
    let text = '';
    for (let seq = first; seq < first + segmentEvents && seq <= events; seq += 1) {
      const { id, event } = eventOf(seq);
      const opening: NewEvent = { ...event, action: keyActions.opened, data: introductionData(signer) };
      const line = lineOf(
        eventParts(seq === 1 ? opening : event, stream, id, Date.UTC(2026, 0, 1) + seq),
        prev,
        seq,
      );
      prev = hash('sha256', `\0${line}`, 'hex');
      leaves.append(prev);
      text += `${line}\n`;
      if (seq % linesPerWrite !== 0 && seq !== events) continue;
      writeSync(fd, text);
      text = '';
    }
    closeSync(fd);
  }
  const peaks = leaves.peaks().map(({ hash: peak }) => peak);
  const root = new TreeEdge(events, peaks).root();
  const { note } = signCheckpoint({ origin: signer.name, size: events, root, extensions: [] }, signer);
  writeFileSync(join(own, checkpointFile), note);
}
