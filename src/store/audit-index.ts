/** What events are found by, each exactly. */
export const auditFacets = [
  'actor',
  'onBehalfOf',
  'action',
  'resource',
  'resourceKind',
  'session',
  'run',
  'outcome',
  'phase',
  'rule',
  'address',
  'stream',
] as const;
export type AuditFacet = (typeof auditFacets)[number];

/** An event as the index knows it. Its line stays in the log alone. */
export type IndexedEvent = {
  readonly stream: string;
  readonly seq: number;
  /** Where its line begins in its segment, in bytes. */
  readonly offset: number;
  /** Ms of the epoch, by the writer's clock, which may jump. */
  readonly at: number;
  /** `stream` is not given again here. */
  readonly facets: Readonly<Partial<Record<Exclude<AuditFacet, 'stream'>, string>>>;
  /** What it is found by as text: each of letters, marks, digits and `_` alone. */
  readonly words: readonly string[];
};

/** How far a stream is in the index. */
export type StreamMark = {
  readonly stream: string;
  readonly seq: number;
  /** Of the line `seq`, by whoever follows the stream: to see that the log is still the one that was indexed. */
  readonly digest: string;
  /** Lines up to `seq` that are no events. */
  readonly unreadable: number;
};

export type AuditOrder = 'newest' | 'oldest';

/** Every member that is given must hold. */
export type AuditIndexQuery = {
  readonly facets: Readonly<Partial<Record<AuditFacet, string>>>;
  /** `run.` finds `run.create`; any beginning of an action may stand here. */
  readonly actionPrefix?: string;
  /** Every one of them. */
  readonly words: readonly string[];
  /** Ms of the epoch, inclusive. */
  readonly since?: number;
  /** Ms of the epoch, exclusive. */
  readonly until?: number;
  readonly order: AuditOrder;
  /** Goes on behind this number, in the direction of `order`. */
  readonly after: number | null;
  /** 1 to `auditIndexLimits.pageEventsMax`. */
  readonly limit: number;
};

export type EventPlace = {
  /** Counts events in the order in which they were added, from 1 and without gaps. */
  readonly number: number;
  readonly stream: string;
  readonly seq: number;
  readonly offset: number;
};

/**
 * Everything from where the query began up to the number `reached` was looked at; with `more` there is something behind
 * it. A page may be short, even empty, and have more.
 */
export type AuditHits = {
  readonly places: readonly EventPlace[];
  readonly reached: number;
  readonly more: boolean;
};

/**
 * Finds events of the audit log. Derived from the log: it may be thrown away and made again. One writer; what was added
 * is found at once. What a query asks for that is dear is cut into pages by time, so that no query takes long.
 *
 * Every method throws `DamagedIndex` where the index has to be made anew, and a Fault `store.unavailable` or
 * `storage.full` where it can be used again later.
 */
export type AuditIndex = {
  /** Of this making of the index; numbers of another one mean nothing here. */
  readonly generation: string;
  marks(): Promise<readonly StreamMark[]>;
  /** All or nothing: the events, in their order, and how far their streams are then. */
  add(events: readonly IndexedEvent[], marks: readonly StreamMark[]): Promise<void>;
  /** Throws Fault `request.invalid` for a beginning that more than `actionsMatchedMax` actions have. */
  find(query: AuditIndexQuery): Promise<AuditHits>;
  /** The number of an event; null where it is not here. */
  numberOf(stream: string, seq: number): Promise<number | null>;
  /** The event of a number, and the last number there is, 0 where there is none. */
  place(number: number): Promise<EventPlace | null>;
  last(): Promise<number>;
  close(): Promise<void>;
};

/** The index cannot be read, or is of another version of this program. */
export class DamagedIndex extends Error {
  constructor(message: string, cause?: unknown) {
    super(message, { cause });
    this.name = 'DamagedIndex';
  }
}
