import { hash } from 'node:crypto';
import { join } from 'node:path';
import { type StreamLine, StreamReader } from '../../audit/stream-reader.ts';
import type { IndexedEvent, StreamMark } from '../../store/audit-index.ts';
import { indexedEvent } from './indexed-event.ts';
import { searchLimits } from './limits.ts';

type Next = { readonly line: StreamLine; readonly event: IndexedEvent | null };

/** One stream on its way into the index: lines that were read and have not been taken. */
export class FollowedStream {
  readonly stream: string;
  readonly #reader: StreamReader;
  #waiting: Next[] = [];
  #taken: StreamLine | null = null;
  #mark: StreamMark;

  /** Goes on behind `mark`. */
  constructor(folder: string, mark: StreamMark) {
    this.stream = mark.stream;
    this.#mark = mark;
    this.#reader = new StreamReader(join(folder, mark.stream), mark.seq);
  }

  /** The next line, which `take` passes; null where none follows up to the event `head`. */
  async next(head: number): Promise<Next | null> {
    if (this.#waiting.length === 0) {
      const limit = Math.min(searchLimits.stepEventsMax, head - this.#reader.after);
      const lines = limit <= 0 ? [] : await this.#reader.read(limit);
      this.#waiting = lines.map((line) => ({ line, event: indexedEvent(this.stream, line) })).reverse();
    }
    return this.#waiting.at(-1) ?? null;
  }

  take(): void {
    const { line, event } = this.#waiting.pop()!;
    this.#taken = line;
    const unreadable = this.#mark.unreadable + (event === null ? 1 : 0);
    this.#mark = { ...this.#mark, seq: line.seq, unreadable };
  }

  /** How far it was taken; null where that is where it was before. */
  mark(): StreamMark | null {
    if (this.#taken === null) return null;
    this.#mark = { ...this.#mark, digest: digestOf(this.#taken.bytes) };
    this.#taken = null;
    return this.#mark;
  }

  get taken(): number {
    return this.#mark.seq;
  }

  async close(): Promise<void> {
    await this.#reader.close();
  }
}

function digestOf(bytes: Buffer): string {
  return hash('sha256', bytes, 'hex');
}

/** Whether the log still has the line that the index had last, or has dropped it. */
export async function stillHas(folder: string, { stream, seq, digest }: StreamMark): Promise<boolean> {
  if (seq === 0) return true;
  const reader = new StreamReader(join(folder, stream), seq - 1);
  try {
    const [line] = await reader.read(1);
    return line !== undefined && (line.seq > seq || digestOf(line.bytes) === digest);
  } finally {
    await reader.close();
  }
}
