import assert from 'node:assert/strict';
import { hash } from 'node:crypto';
import { appendFileSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import fc from 'fast-check';
import { attempt, chainOf, eventId, segmentOf, temporaryFolder } from '../../tests/support/audit.ts';
import { Fault } from '../contract/faults.ts';
import { type AuditEvent, eventParts, lineOf, type NewEvent, noHash } from './event.ts';
import { readLimits } from './limits.ts';
import { type EventPage, type ReadRequest, readEvents } from './read.ts';

const folder = temporaryFolder();
after(() => folder[Symbol.dispose]());
let folders = 0;

/** A folder of its own with these streams. */
function folderWith(streams: Record<string, readonly string[]>): string {
  folders += 1;
  const path = join(folder.path, `${folders}`);
  mkdirSync(path);
  for (const [stream, lines] of Object.entries(streams)) {
    mkdirSync(join(path, stream));
    writeFileSync(segmentOf(path, stream), lines.map((line) => `${line}\n`).join(''));
  }
  return path;
}

/** Every page from the first to the last. */
async function readAll(request: ReadRequest): Promise<{ items: AuditEvent[]; pages: EventPage[] }> {
  const pages: EventPage[] = [];
  let after: string | null = null;
  do {
    const page: EventPage = await readEvents(after === null ? request : { ...request, after });
    pages.push(page);
    after = page.nextCursor;
  } while (after !== null);
  return { items: pages.flatMap(({ items }) => items), pages };
}

function names(count: number): NewEvent[] {
  return Array.from({ length: count }, (_, index) =>
    attempt(`e.${index}`, { data: { pad: 'é'.repeat(index % 400) } }),
  );
}

const actionsOf = (items: readonly AuditEvent[]) => items.map(({ action }) => action);

describe('paging', () => {
  const path = folderWith({ control: chainOf('control', names(700)) });
  const all = names(700).map(({ action }) => action);

  for (const limit of [1, 7, 100, 1000]) {
    test(`in pages of ${limit}, each event comes once, in either order`, async () => {
      const oldest = await readAll({ folder: path, limit, order: 'oldest' });
      assert.deepEqual(actionsOf(oldest.items), all);
      assert.equal(oldest.pages.length, Math.ceil(700 / limit));
      const newest = await readAll({ folder: path, limit });
      assert.deepEqual(actionsOf(newest.items), all.toReversed());
      assert.equal(newest.pages.length, Math.ceil(700 / limit));
    });
  }

  test('events written between two pages disturb neither order', async () => {
    const lines = chainOf('control', names(20));
    const growing = folderWith({ control: lines.slice(0, 10) });
    const file = segmentOf(growing);
    const newest = await readEvents({ folder: growing, limit: 6 });
    const oldest = await readEvents({ folder: growing, limit: 6, order: 'oldest' });
    appendFileSync(
      file,
      lines
        .slice(10)
        .map((line) => `${line}\n`)
        .join(''),
    );
    const older = await readAll({ folder: growing, limit: 6, after: newest.nextCursor! });
    assert.deepEqual(actionsOf([...newest.items, ...older.items]), all.slice(0, 10).toReversed());
    const newer = await readAll({ folder: growing, limit: 6, order: 'oldest', after: oldest.nextCursor! });
    assert.deepEqual(actionsOf([...oldest.items, ...newer.items]), all.slice(0, 20));
  });

  test('a missing folder, a missing stream and a name that is none have no events', async () => {
    const nothing = { items: [], nextCursor: null, unreadable: 0 };
    assert.deepEqual(await readEvents({ folder: join(path, 'absent'), limit: 1 }), nothing);
    assert.deepEqual(await readEvents({ folder: path, stream: 'runner', limit: 1 }), nothing);
    assert.deepEqual(await readEvents({ folder: path, stream: '../control', limit: 1 }), nothing);
  });

  test('a page that matches nothing reads a bounded part, and its cursor goes on', async () => {
    const wide = chainOf(
      'control',
      names(400).map((event) => ({ ...event, data: { pad: Array(5).fill('x'.repeat(1000)) } })),
    );
    const many = folderWith({ control: [] });
    const block = Buffer.from(wide.map((line) => `${line}\n`).join(''));
    const copies = Math.ceil((2.5 * readLimits.scanBytesMax) / block.length);
    for (let copy = 0; copy < copies; copy += 1) appendFileSync(segmentOf(many), block);
    for (const order of ['newest', 'oldest'] as const) {
      const { items, pages } = await readAll({ folder: many, limit: 5, order, filter: { action: 'absent' } });
      assert.deepEqual(items, []);
      assert.equal(pages.length, 3);
    }
  });
});

describe('damage', () => {
  const lines = chainOf('control', names(30));

  test('a torn last line is passed over without a word', async () => {
    const path = folderWith({ control: lines.slice(0, 29) });
    appendFileSync(segmentOf(path), lines[29]!.slice(0, 100));
    for (const order of ['newest', 'oldest'] as const) {
      const page = await readEvents({ folder: path, limit: 1000, order });
      assert.equal(page.items.length, 29);
      assert.equal(page.unreadable, 0);
      assert.equal(page.nextCursor, null);
    }
  });

  test('lines that are no events are counted, whatever they are, and the rest is read', async () => {
    const shapes = [
      '',
      'null',
      '[]',
      '{}',
      'x',
      '\0',
      '{"action":1}',
      lines[3]!.replace('"kind":"user"', '"kind":5'),
    ];
    const huge = 'x'.repeat(3 * readLimits.blockBytes);
    const path = folderWith({ control: [...lines.slice(0, 9), ...shapes, huge, ...lines.slice(9)] });
    for (const order of ['newest', 'oldest'] as const) {
      const { items, pages } = await readAll({ folder: path, limit: 8, order });
      const unreadable = pages.reduce((sum, page) => sum + page.unreadable, 0);
      assert.equal(items.length, 30);
      assert.ok(unreadable >= shapes.length + 1 && unreadable <= shapes.length + 5, `${unreadable}`);
    }
  });

  test('a cursor that no page gave is refused, and one that points elsewhere harms nobody', async () => {
    const path = folderWith({ control: lines });
    const { nextCursor } = await readEvents({ folder: path, limit: 3 });
    const of = (value: unknown) => Buffer.from(JSON.stringify(value)).toString('base64url');
    const refused = [
      '',
      'x',
      of(null),
      of([]),
      of({ order: 'newest' }),
      of({ order: 'newest', offsets: { control: -1 } }),
      of({ order: 'newest', offsets: { control: 1.5 } }),
      of({ order: 'newest', offsets: { control: '1' } }),
      of({ order: 'newest', offsets: { '../x': 1 } }),
      of({ order: 'newest', offsets: { control: 1 }, pad: 'x'.repeat(readLimits.cursorCharactersMax) }),
    ];
    const isInvalid = (error: unknown) => error instanceof Fault && error.code === 'request.invalid';
    for (const after of refused)
      await assert.rejects(readEvents({ folder: path, limit: 1, after }), isInvalid);
    await assert.rejects(
      readEvents({ folder: path, limit: 1, order: 'oldest', after: nextCursor! }),
      isInvalid,
    );
    await fc.assert(
      fc.asyncProperty(fc.maxSafeNat(), fc.constantFrom('newest', 'oldest'), async (offset, order) => {
        const after = of({ order, offsets: { control: offset % 20_000 } });
        const { items } = await readAll({
          folder: path,
          limit: 10,
          order: order as 'newest' | 'oldest',
          after,
        });
        assert.ok(items.length <= 30);
      }),
      { numRuns: 100 },
    );
  });
});

describe('filters', () => {
  const events: NewEvent[] = [
    attempt('run.create', { actor: { id: 'user:bob', kind: 'user' } }),
    { ...attempt('run.create'), phase: 'outcome', outcome: 'failed', of: eventId() },
    attempt('run.stop', { resource: { kind: 'run', id: 'run_2' } }),
    attempt('runner.start', { resource: { kind: 'cluster' } }),
    {
      ...attempt('token.create'),
      phase: 'attempt',
      outcome: 'denied',
      decision: { allow: false, rule: 'x' },
    },
  ];
  const path = folderWith({ control: chainOf('control', events) });
  const start = Date.UTC(2026, 0, 1);
  const cases: [filter: ReadRequest['filter'], seqs: number[]][] = [
    [{}, [1, 2, 3, 4, 5]],
    [{ action: 'run.' }, [1, 2, 3]],
    [{ action: 'run' }, [1, 2, 3, 4]],
    [{ actor: 'user:bob' }, [1]],
    [{ actor: 'user:bo' }, []],
    [{ resource: 'run_2' }, [3]],
    [{ outcome: 'failed' }, [2]],
    [{ outcome: 'denied' }, [5]],
    [{ since: start + 2 }, [3, 4, 5]],
    [{ until: start + 2 }, [1, 2]],
    [{ since: start + 1, until: start + 3, action: 'run.s' }, [3]],
  ];
  for (const [filter, seqs] of cases) {
    test(`${JSON.stringify(filter)} finds ${seqs.join(', ') || 'nothing'}`, async () => {
      const { items } = await readAll({ folder: path, limit: 2, order: 'oldest', filter: filter! });
      assert.deepEqual(
        items.map(({ seq }) => seq),
        seqs,
      );
    });
  }
});

describe('several streams', () => {
  /** A stream whose events happen at the given times. */
  function timed(stream: string, times: readonly number[]): string[] {
    let prev = noHash;
    return times.map((at, index) => {
      const line = lineOf(eventParts(attempt(`${stream}.${at}`), stream, eventId(), at), prev, index + 1);
      prev = hash('sha256', line, 'hex');
      return line;
    });
  }

  test('are merged by time in pages, each keeping its own order', async () => {
    const path = folderWith({
      control: timed('control', [1, 4, 5, 9]),
      runner: timed('runner', [2, 3, 7, 6]),
      empty: [],
    });
    const merged = [
      'control.1',
      'runner.2',
      'runner.3',
      'control.4',
      'control.5',
      'runner.7',
      'runner.6',
      'control.9',
    ];
    for (const limit of [1, 3, 8]) {
      const oldest = await readAll({ folder: path, limit, order: 'oldest' });
      assert.deepEqual(actionsOf(oldest.items), merged);
      const newest = await readAll({ folder: path, limit });
      assert.deepEqual(new Set(actionsOf(newest.items)), new Set(merged));
      assert.equal(newest.items.length, merged.length);
    }
    const { items } = await readAll({ folder: path, stream: 'runner', limit: 2 });
    assert.deepEqual(actionsOf(items), ['runner.6', 'runner.7', 'runner.3', 'runner.2']);
  });

  test('one that appears between two pages is newer than what came, and is not mixed in', async () => {
    const path = folderWith({ control: timed('control', [1, 2, 3]) });
    const first = await readEvents({ folder: path, limit: 1 });
    mkdirSync(join(path, 'runner'));
    writeFileSync(segmentOf(path, 'runner'), `${timed('runner', [4])[0]}\n`);
    const rest = await readAll({ folder: path, limit: 5, after: first.nextCursor! });
    assert.deepEqual(actionsOf(rest.items), ['control.2', 'control.1']);
  });
});
