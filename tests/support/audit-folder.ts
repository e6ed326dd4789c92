import { appendFile, mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { eventParts, lineOf, type NewEvent, noHash } from '../../src/audit/event.ts';
import { firstOfSegment, segmentPath } from '../../src/audit/segments.ts';
import { openAuditSearch } from '../../src/control/audit/search.ts';
import type { AuditSearch, EventFilter } from '../../src/control/audit/search-types.ts';
import { newId } from '../../src/model/ids.ts';
import { openSqliteAuditIndex } from '../../src/store/sqlite/audit-index.ts';

const nothing = () => undefined;
export const silentLogger = { debug: nothing, info: nothing, warn: nothing, error: nothing };

export const someEvent: NewEvent = {
  action: 'run.create',
  phase: 'attempt',
  outcome: 'allowed',
  actor: { id: 'user:ann', kind: 'user' },
  resource: { kind: 'run', id: 'run_1', session: 'ses_1' },
  decision: { allow: true, rule: 'scope:run:write' },
};

/** A folder of streams that a test writes line by line, and the index over it. */
export class AuditFolder {
  readonly folder: string;
  readonly file: string;
  readonly #next = new Map<string, number>();
  #now = Date.parse('2026-01-01T00:00:00Z');

  private constructor(root: string) {
    this.folder = join(root, 'audit');
    this.file = join(root, 'audit-index.sqlite');
  }

  static async make(): Promise<AuditFolder> {
    const root = await mkdtemp(join(tmpdir(), 'sealwright-search-'));
    const made = new AuditFolder(root);
    await mkdir(made.folder);
    return made;
  }

  /** Writes events a second apart, or at `at`; gives their lines. */
  async write(events: readonly Partial<NewEvent>[], stream = 'control', at?: number): Promise<string[]> {
    const lines = events.map((change) => {
      this.#now = at ?? this.#now + 1000;
      const event = { ...someEvent, ...change } as NewEvent;
      const parts = eventParts(event, stream, newId('event', this.#now), this.#now);
      return lineOf(parts, noHash, this.#take(stream));
    });
    await this.#append(stream, lines);
    return lines;
  }

  /** Writes lines that may be anything, and counts them. */
  async writeRaw(lines: readonly string[], stream = 'control'): Promise<void> {
    for (const _ of lines) this.#take(stream);
    await this.#append(stream, lines);
  }

  #take(stream: string): number {
    const seq = this.#next.get(stream) ?? 1;
    this.#next.set(stream, seq + 1);
    return seq;
  }

  async #append(stream: string, lines: readonly string[]): Promise<void> {
    await mkdir(join(this.folder, stream), { recursive: true });
    let seq = this.#next.get(stream)! - lines.length;
    const bySegment = Map.groupBy(lines, () => firstOfSegment(seq++));
    for (const [first, some] of bySegment)
      await appendFile(
        segmentPath(join(this.folder, stream), first),
        some.map((line) => `${line}\n`).join(''),
      );
  }

  async open(heads: ReadonlyMap<string, number> = new Map()): Promise<AuditSearch> {
    return await openAuditSearch({
      folder: this.folder,
      file: this.file,
      open: (file) => openSqliteAuditIndex({ file }),
      heads,
      logger: silentLogger,
    });
  }

  async remove(): Promise<void> {
    await rm(join(this.folder, '..'), { recursive: true, force: true });
  }
}

/** The lines that a search finds, oldest first, all pages. */
export async function foundLines(search: AuditSearch, filter: EventFilter = {}): Promise<string[]> {
  const lines: string[] = [];
  let after: string | null = null;
  for (;;) {
    const page = await search.find({ filter, order: 'oldest', after, limit: 100 });
    lines.push(...page.events.map(({ line }) => line.toString()));
    if (!page.more) return lines;
    after = page.next;
  }
}
