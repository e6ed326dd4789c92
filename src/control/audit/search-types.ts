import type { AuditFacet, AuditOrder } from '../../store/audit-index.ts';

/** Every member that is given must hold. */
export type EventFilter = Readonly<Partial<Record<Exclude<AuditFacet, 'action'>, string>>> & {
  /** A beginning: `run.` finds `run.create`. */
  readonly action?: string;
  /** Ms of the epoch, inclusive. */
  readonly since?: number;
  /** Ms of the epoch, exclusive. */
  readonly until?: number;
  /** Every word of it must occur, in any order; whole words, without regard to capitals. */
  readonly text?: string;
};

export type EventSearch = {
  readonly filter: EventFilter;
  /** By when they were recorded: in the order of each stream, and of several by their times as far as they were known. */
  readonly order: AuditOrder;
  /** `cursor` of an event or `next` of a page. Untrusted: any text may be given. */
  readonly after: string | null;
  readonly limit: number;
};

export type FoundEvent = {
  /** The line as the log has it, without its newline. */
  readonly line: Buffer;
  /** Goes on behind this event, in either order, also after the index was made anew. */
  readonly cursor: string;
};

export type EventPage = {
  readonly events: readonly FoundEvent[];
  /** Where everything was looked at up to; null while there is nothing at all. */
  readonly next: string | null;
  /** A page may be short, even empty, and have more. */
  readonly more: boolean;
};

/** `unreadable` counts lines of the log that are no events: damage, which verifying the log explains. */
export type IndexCounts = { readonly events: number; readonly unreadable: number };

/** Finds events of the log. What is asked is answered from all that the log held when it was asked. */
export type AuditSearch = {
  /**
   * Throws Fault `request.invalid` for a cursor that is none, and `audit.index-behind` where the index does not hold
   * all of the log yet and does not within `catchUpMs`.
   */
  find(search: EventSearch): Promise<EventPage>;
  counts(): Promise<IndexCounts>;
  /** The last durable event of a stream that this process writes: nothing behind it counts. */
  advanced(stream: string, seq: number): void;
  /** Called after events came into the index. Gives what ends that. */
  onIndexed(listener: () => void): () => void;
  /** Makes the index anew from the log while the old one answers; one at a time. */
  rebuild(): Promise<IndexCounts>;
  close(): Promise<void>;
};
