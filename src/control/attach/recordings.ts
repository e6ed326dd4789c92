import { setImmediate as turn } from 'node:timers/promises';
import type { Channel } from '../../base/channel.ts';
import type { TerminalMatch, TerminalView } from '../../contract/attach-schemas.ts';
import { absent, Fault } from '../../contract/faults.ts';
import type { TerminalInfo } from '../../contract/runner-terminals.ts';
import type { RunId, TerminalId } from '../../model/ids.ts';
import type { RunRecord, Store } from '../../store/store.ts';
import type { Caller } from '../control.ts';
import type { Gate } from '../gate.ts';
import { readableRun } from '../run-access.ts';
import { faultOfFrame } from '../runner-frames.ts';
import { LinkLost, type RunnerLink } from '../runner-link.ts';
import { timeOrNull, timeText } from '../views.ts';
import { controlAttachLimits } from './limits.ts';
import { RecordingSearch } from './recording-search.ts';
import { parseTerminals } from './terminal-frames.ts';

type Parts = { readonly store: Store; readonly gate: Gate; readonly link: RunnerLink };

/** The terminals that a run has or had, oldest first. Throws LinkLost. */
export async function terminalsOf(link: RunnerLink, run: RunId): Promise<readonly TerminalInfo[]> {
  return parseTerminals(await link.order({ order: 'terminals', run }));
}

export async function listTerminals(parts: Parts, caller: Caller, id: RunId): Promise<TerminalView[]> {
  const run = await readableRun(parts, caller, id, 'run.terminals');
  const found = await terminalsOf(parts.link, id);
  return found.map((info) => terminalView(run, info));
}

/** What is recorded of a terminal, by then. What others' terminals showed is read on the record. */
export async function openRecording(
  parts: Parts,
  caller: Caller,
  id: RunId,
  terminal: TerminalId,
): Promise<AsyncIterable<Buffer> & { cancel(): void }> {
  await readableRun(parts, caller, id, 'run.recording');
  const channel = await parts.link.stream({ purpose: 'recording', run: id, terminal });
  const first = await firstOf(channel);
  return {
    cancel: () => channel.close(),
    async *[Symbol.asyncIterator]() {
      try {
        for (let bytes = first; bytes !== null; bytes = await nextOf(channel)) yield bytes;
      } finally {
        channel.close();
      }
    },
  };
}

/** Searches, of which few go on at a time: each reads a whole recording. */
export class RecordingSearches {
  readonly #parts: Parts;
  #going = 0;

  constructor(parts: Parts) {
    this.#parts = parts;
  }

  /** Lines of a recording that hold a text, whatever its case; at most `limit`. Ends early with the signal. */
  async search(
    caller: Caller,
    id: RunId,
    terminal: TerminalId,
    { text, limit }: { readonly text: string; readonly limit: number },
    signal: AbortSignal,
  ): Promise<TerminalMatch[]> {
    await readableRun(this.#parts, caller, id, 'run.recording');
    if (this.#going >= controlAttachLimits.searchesMax) throw tooMany();
    this.#going += 1;
    try {
      const channel = await this.#parts.link.stream({ purpose: 'recording', run: id, terminal });
      return await searched(channel, new RecordingSearch(text, limit), signal);
    } finally {
      this.#going -= 1;
    }
  }
}

function tooMany(): Fault {
  return new Fault('rate.exceeded', {
    detail: 'Too many recordings are being searched. Try again in a moment.',
    extra: { retryAfterSeconds: 1 },
  });
}

const { searchPieceBytes } = controlAttachLimits;

async function searched(
  channel: Channel,
  search: RecordingSearch,
  signal: AbortSignal,
): Promise<TerminalMatch[]> {
  const stop = () => channel.close();
  signal.addEventListener('abort', stop, { once: true });
  try {
    signal.throwIfAborted();
    for (let bytes = await nextOf(channel); bytes !== null && !search.isFull; bytes = await nextOf(channel))
      for (let at = 0; at < bytes.length; at += searchPieceBytes) {
        search.push(bytes.subarray(at, at + searchPieceBytes));
        // A hostile recording costs 40 ms of this process a megabyte, and who types elsewhere waits behind it.
        await turn();
      }
    search.end();
    return search.matches;
  } finally {
    signal.removeEventListener('abort', stop);
    channel.close();
  }
}

function terminalView(run: RunRecord, info: TerminalInfo): TerminalView {
  const { id, kind, by, command, size, openedAt, endedAt, exitCode } = info;
  return {
    id,
    run: run.id,
    session: run.session,
    kind,
    actor: by,
    command: [...command],
    size,
    openedAt: timeText(openedAt),
    endedAt: timeOrNull(endedAt),
    exitCode,
    recording: { bytes: info.recordingBytes, seconds: info.recordingSeconds, complete: info.complete },
  };
}

/** The first bytes, so that a recording that is not there is known before any answer begins. */
async function firstOf(channel: Channel): Promise<Buffer | null> {
  try {
    return await nextOf(channel);
  } catch (error) {
    channel.close();
    throw error;
  }
}

async function nextOf(channel: Channel): Promise<Buffer | null> {
  try {
    const frame = await channel.read();
    if (frame === null) return null;
    if (frame.kind === 'data') return frame.bytes;
    throw faultOfFrame(frame.value) ?? new Error('an unknown word in a recording');
  } catch (error) {
    if (!(error instanceof Fault)) throw new LinkLost(String(error));
    throw error.code === 'resource.absent' ? absent('terminal') : error;
  }
}
