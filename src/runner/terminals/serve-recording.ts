import type { Channel } from '../../base/channel.ts';
import { absent } from '../../contract/faults.ts';
import type { TerminalPurpose } from '../../contract/runner-terminals.ts';
import type { Recordings } from './recording/recordings.ts';

/** Sends what is recorded of a terminal, as fast as control reads. Throws Fault where there is no such recording. */
export async function serveRecording(
  recordings: Recordings,
  channel: Channel,
  { run, terminal }: TerminalPurpose & { purpose: 'recording' },
): Promise<void> {
  const recording = recordings.read(run, terminal);
  if (recording === null) throw absent('terminal');
  for (const lines of recording) await channel.sendData(lines);
  channel.end();
  await channel.closed;
}
