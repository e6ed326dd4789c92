import { isUtf8 } from 'node:buffer';
import { hash } from 'node:crypto';
import { noHash } from './event.ts';
import { auditLimits } from './limits.ts';
import { type LineFacts, type LineFlaw, readLine } from './line.ts';
import { LineScanner, NextLine } from './scan.ts';

/** The first thing found wrong. `line` counts from 1; `seq` is the event concerned, where one is known. */
export type Problem = { readonly seq?: number; readonly line: number; readonly what: string };

const newline = 0x0a;

/** A line that does not continue the one before it; the next line tells which of the two was changed. */
type Suspect = { readonly line: number; readonly seq: number; readonly hash: string };

/** Follows a chain line by line up to the first problem. */
export class ChainCheck {
  #stream: string | null;
  #next: NextLine | null = null;
  #line = 0;
  #seq = 0;
  #head = noHash;
  #torn = 0;
  #suspect: Suspect | null = null;
  #problem: Problem | null = null;

  constructor(expectedStream: string | null) {
    this.#stream = expectedStream;
  }

  /** Null before the first line. */
  get stream(): string | null {
    return this.#stream;
  }

  /** Lines seen. */
  get line(): number {
    return this.#line;
  }

  /** Lines of the unbroken chain, and the hash of the last of them. */
  get seq(): number {
    return this.#seq;
  }

  get head(): string {
    return this.#head;
  }

  get tornBytes(): number {
    return this.#torn;
  }

  get problem(): Problem | null {
    return this.#problem;
  }

  /** Takes the whole lines `block[0, end)`; `scanMarginBytes` of the block follow them. */
  takeLines(block: Buffer, end: number): void {
    const scanner = isUtf8(block.subarray(0, end)) ? new LineScanner(block) : null;
    for (let start = 0; start < end && this.#problem === null; ) {
      this.#line += 1;
      let after = scanner === null ? -1 : this.#endOfOrdinary(scanner, start);
      if (after > 0) {
        this.#advance(hash('sha256', block.subarray(start, after - 1), 'hex'));
      } else {
        after = block.indexOf(newline, start) + 1;
        const line = block.subarray(start, after - 1);
        this.#take(readLine(line), line);
      }
      start = after;
    }
  }

  #endOfOrdinary(scanner: LineScanner, start: number): number {
    if (this.#next === null || this.#suspect !== null) return -1;
    const after = scanner.endOfNextLine(start, this.#next);
    return after - start > auditLimits.lineBytesMax ? -1 : after;
  }

  takeOverlong(): void {
    this.#line += 1;
    this.#take({ flaw: 'the line is longer than any event' }, Buffer.alloc(0));
  }

  /** `tornBytes` follow the last newline. */
  finish(tornBytes: number): void {
    if (this.#problem !== null) return;
    if (this.#suspect !== null) this.#blameBefore(this.#suspect);
    else this.#torn = tornBytes;
  }

  #take(line: LineFacts | LineFlaw, bytes: Buffer): void {
    const due = this.#seq + 1;
    if (this.#suspect !== null) this.#settle(this.#suspect, line);
    else if ('flaw' in line) this.#problem = { seq: due, line: this.#line, what: line.flaw };
    else this.#place(line, due, bytes);
  }

  #place(line: LineFacts, due: number, bytes: Buffer): void {
    this.#stream ??= line.stream;
    this.#next ??= new NextLine(this.#stream);
    const what = this.#misplaced(line, due);
    const digest = hash('sha256', bytes, 'hex');
    if (what !== null) {
      this.#problem = { seq: due, line: this.#line, what };
    } else if (line.prev !== this.#head) {
      this.#suspect = { line: this.#line, seq: due, hash: digest };
    } else {
      this.#advance(digest);
    }
  }

  #advance(digest: string): void {
    this.#seq += 1;
    this.#head = digest;
    this.#next?.advance(digest);
  }

  /** What is wrong with a line's place, judged by its own words; null where only its `prev` can tell. */
  #misplaced(line: LineFacts, due: number): string | null {
    if (line.stream !== this.#stream) {
      return `the line belongs to stream ${JSON.stringify(line.stream)}, not ${JSON.stringify(this.#stream)}`;
    }
    const follows = line.prev === this.#head;
    if (line.seq !== due) {
      if (follows) return `the sequence number was changed to ${line.seq}`;
      return line.seq > due
        ? `events ${due} to ${line.seq - 1} are missing or out of order: ${line.seq} stands here`
        : `event ${line.seq} stands here again, in place of ${due}`;
    }
    return due === 1 && !follows ? 'the first event claims an event before it' : null;
  }

  /** A line that the next one vouches for was not changed: then it was the one before it. */
  #settle(suspect: Suspect, next: LineFacts | LineFlaw): void {
    if ('flaw' in next || next.prev === suspect.hash) {
      this.#blameBefore(suspect);
      return;
    }
    const what = 'the event was changed, or put here from elsewhere: neither neighbour is linked to it';
    this.#problem = { seq: suspect.seq, line: suspect.line, what };
  }

  #blameBefore(suspect: Suspect): void {
    this.#problem = {
      seq: suspect.seq - 1,
      line: suspect.line - 1,
      what: `the event was changed: event ${suspect.seq} records another hash of it`,
    };
  }
}
