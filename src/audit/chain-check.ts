import { isUtf8 } from 'node:buffer';
import { hash } from 'node:crypto';
import { LeafHasher } from './leaf-hasher.ts';
import { auditLimits } from './limits.ts';
import { type LineFacts, type LineFlaw, readLine } from './line.ts';
import { linkTo } from './line-hash.ts';
import { LineScanner, NextLine } from './scan.ts';
import { beginning } from './tail.ts';

/** The first thing found wrong. `line` counts from 1 in its segment; `seq` is the event concerned, where one is known. */
export type Problem = { readonly seq?: number; readonly line: number; readonly what: string };

const newline = 0x0a;

/** A line that does not continue the one before it; the next line tells which of the two was changed. */
type Suspect = { readonly line: number; readonly seq: number; readonly leaf: string; readonly plain: string };

/** What the segment's first line says it follows, by the rule of its version. */
export type Follows = { readonly prev: string; readonly version: 1 | 2 };

/** Blocks begin behind so many bytes: the hash of a line is over a zero byte and the line. */
export const blockMarginBytes = 1;

/**
 * Follows the chain of one segment line by line up to the first problem, and grows the tree over its lines. What its first
 * line follows is taken on trust, and given back for whoever has the segment before.
 */
export class ChainCheck {
  readonly #leaves = new LeafHasher();
  readonly #first: number;
  #stream: string | null;
  #next: NextLine | null = null;
  #follows: Follows | null = null;
  #line = 0;
  #seq: number;
  /** What the next line must say it follows, by its version; a line of version 1 never follows one of version 2. */
  #leaf = beginning.hash;
  #plain = beginning.hash;
  #torn = 0;
  #suspect: Suspect | null = null;
  #problem: Problem | null = null;

  /** `first` is the sequence number of the segment's first line. */
  constructor(first: number, expectedStream: string | null) {
    this.#first = first;
    this.#seq = first - 1;
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

  /** The last event of the unbroken chain, its hash as a leaf and, where it is of version 1, as a line. */
  get seq(): number {
    return this.#seq;
  }

  get leaf(): string {
    return this.#leaf;
  }

  get plain(): string {
    return this.#plain;
  }

  /** Null before the first line. */
  get follows(): Follows | null {
    return this.#follows;
  }

  get leaves(): LeafHasher {
    return this.#leaves;
  }

  get tornBytes(): number {
    return this.#torn;
  }

  get problem(): Problem | null {
    return this.#problem;
  }

  /**
   * Takes whole lines of `block` from `blockMarginBytes` up to `end`; `scanMarginBytes` of the block follow them. Stops
   * before the line that would make the tree larger than `until` leaves, and answers where it stopped. Writes into the block.
   */
  takeLines(block: Buffer, from: number, end: number, until: number): number {
    const scanner = isUtf8(block.subarray(from, end)) ? new LineScanner(block) : null;
    let start = from;
    while (start < end && this.#problem === null && this.#leaves.size < until) {
      this.#line += 1;
      let after = scanner === null ? -1 : this.#endOfOrdinary(scanner, start);
      if (after > 0) {
        block[start - 1] = 0;
        this.#advance(hash('sha256', block.subarray(start - 1, after - 1), 'hex'));
      } else {
        after = block.indexOf(newline, start) + 1;
        const line = block.subarray(start, after - 1);
        this.#take(readLine(line), line);
      }
      start = after;
    }
    return start;
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
    this.#next ??= new NextLine(this.#stream, due);
    const isFirst = due === this.#first && this.#follows === null;
    if (isFirst) this.#follow(line);
    const what = this.#misplaced(line, due);
    const leaf = linkTo(bytes, 2);
    const plain = line.v === 1 ? linkTo(bytes, 1) : '';
    if (what !== null) {
      this.#problem = { seq: due, line: this.#line, what };
    } else if (!this.#continues(line)) {
      this.#suspect = { line: this.#line, seq: due, leaf, plain };
    } else {
      this.#advance(leaf, plain);
    }
  }

  /** Only the first event of all says itself what it follows. */
  #follow({ prev, v }: LineFacts): void {
    this.#follows = { prev, version: v };
    if (this.#first === 1) return;
    this.#leaf = prev;
    this.#plain = prev;
  }

  #continues({ prev, v }: LineFacts): boolean {
    return prev === (v === 1 ? this.#plain : this.#leaf);
  }

  #advance(leaf: string, plain = ''): void {
    this.#seq += 1;
    this.#leaf = leaf;
    this.#plain = plain;
    this.#leaves.append(leaf);
    this.#next?.advance(leaf);
  }

  /** What is wrong with a line's place, judged by its own words; null where only its `prev` can tell. */
  #misplaced(line: LineFacts, due: number): string | null {
    if (line.stream !== this.#stream) {
      return `the line belongs to stream ${JSON.stringify(line.stream)}, not ${JSON.stringify(this.#stream)}`;
    }
    const follows = this.#continues(line);
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
    if ('flaw' in next || next.prev === (next.v === 1 ? suspect.plain : suspect.leaf)) {
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
