import assert from 'node:assert/strict';
import { afterEach, beforeEach, describe, it } from 'node:test';
import fc from 'fast-check';
import { Fault } from '../contract/faults.ts';
import type { AuditIndex, AuditIndexQuery, EventPlace, IndexedEvent } from './audit-index.ts';
import { auditIndexLimits } from './limits.ts';

const minute = 60_000;

function eventOf(seq: number, change: Partial<IndexedEvent> = {}): IndexedEvent {
  return { stream: 'control', seq, offset: seq * 100, at: seq * minute, facets: {}, words: [], ...change };
}

function queryOf(change: Partial<AuditIndexQuery> = {}): AuditIndexQuery {
  return { facets: {}, words: [], order: 'newest', after: null, limit: 100, ...change };
}

function holds(event: IndexedEvent, query: AuditIndexQuery): boolean {
  const { facets, words, actionPrefix = '', since = 0, until = Number.POSITIVE_INFINITY } = query;
  const has: Record<string, string> = { ...event.facets, stream: event.stream };
  return (
    Object.entries(facets).every(([facet, value]) => has[facet] === value) &&
    words.every((word) => event.words.includes(word)) &&
    (has.action ?? '').startsWith(actionPrefix) &&
    event.at >= since &&
    event.at < until
  );
}

/** What every index of the log promises, whatever it is made of. `open` makes an empty one. */
export function auditIndexConformance(
  kind: string,
  open: () => Promise<{ index: AuditIndex; remove(): Promise<void> }>,
) {
  describe(`${kind} index of the audit log`, () => {
    let index: AuditIndex;
    let remove: () => Promise<void>;
    beforeEach(async () => {
      ({ index, remove } = await open());
    });
    afterEach(async () => {
      await index.close();
      await remove();
    });
    findingPromises(() => index);
    hostilePromises(() => index);
    pagingPromises(() => index);
    placePromises(() => index);
  });
}

type Using = () => AuditIndex;

const seqs = (places: readonly EventPlace[]) => places.map(({ seq }) => seq);

async function found(index: AuditIndex, change: Partial<AuditIndexQuery>): Promise<number[]> {
  return seqs((await index.find(queryOf(change))).places);
}

const short = <T>(of: fc.Arbitrary<T>) => fc.option(of, { nil: undefined });
const someFacets = fc
  .record({
    actor: short(fc.constantFrom('user:ann', 'user:Ann', 'user:bob')),
    action: short(fc.constantFrom('run.create', 'run.stop', 'runner.lost', 'agent.credential.create')),
    outcome: short(fc.constantFrom('denied', 'succeeded')),
  })
  .map((facets) => JSON.parse(JSON.stringify(facets)) as IndexedEvent['facets']);
const someWords = fc.uniqueArray(fc.constantFrom('alpha', 'beta', 'run_01', 'größe', '東京'), {
  maxLength: 3,
});
const someEvent = fc.record({
  stream: fc.constantFrom('control', 'runner-1'),
  at: fc.integer({ min: 0, max: 20 }),
  facets: someFacets,
  words: someWords,
});
const someQuery = fc.record({
  facets: someFacets,
  words: fc.uniqueArray(fc.constantFrom('alpha', 'beta', 'größe'), { maxLength: 2 }),
  actionPrefix: fc.constantFrom('', 'run.', 'run', 'r', 'agent.', 'agent.credential.', 'agent.c', 'x'),
  since: fc.integer({ min: 0, max: 20 }),
  until: fc.integer({ min: 0, max: 21 }),
  order: fc.constantFrom('newest' as const, 'oldest' as const),
});

function findingPromises(index: Using): void {
  it('finds what a look at every event would, in the order in which they came, whatever is asked', async () => {
    const added: IndexedEvent[] = [];
    const property = fc.asyncProperty(
      fc.array(someEvent, { maxLength: 12 }),
      someQuery,
      async (more, asked) => {
        const from = added.length;
        added.push(...more.map((event, at) => ({ ...event, seq: from + at + 1, offset: at })));
        await index().add(added.slice(from), []);
        const query = queryOf({ ...asked, limit: 1_000 });
        const expected = seqsOf(added, query);
        assert.deepEqual(await found(index(), query), expected);
      },
    );
    await fc.assert(property, { numRuns: 60 });
    assert(added.length > 60);
  });

  it('tells how far each stream is, and takes events and marks together or not at all', async () => {
    assert.deepEqual(await index().marks(), []);
    const mark = { stream: 'control', seq: 2, digest: 'ab', unreadable: 1 };
    await index().add([eventOf(1)], [mark]);
    await assert.rejects(
      index().add([eventOf(3), eventOf(4, { words: ['two words'] })], [{ ...mark, seq: 4 }]),
    );
    assert.deepEqual(await index().marks(), [mark]);
    assert.deepEqual(await found(index(), {}), [1]);
  });
}

function seqsOf(added: readonly IndexedEvent[], query: AuditIndexQuery): number[] {
  const all = added.filter((event) => holds(event, query)).map(({ seq }) => seq);
  return query.order === 'newest' ? all.reverse() : all;
}

function hostilePromises(index: Using): void {
  it('takes any text as a value and as an operator of nothing', async () => {
    const hostile = [
      '" OR "',
      "'; drop table events; --",
      'NEAR(a b)',
      '*',
      '\0',
      '',
      '\ud83d\ude00',
      'a AND b',
      'İ',
    ];
    await index().add(
      hostile.map((actor, at) => eventOf(at + 1, { facets: { actor } })),
      [],
    );
    for (const [at, actor] of hostile.entries())
      assert.deepEqual(await found(index(), { facets: { actor } }), [at + 1], JSON.stringify(actor));
    assert.deepEqual(await found(index(), { facets: { rule: '"' } }), []);
    assert.deepEqual(await found(index(), { actionPrefix: '" OR "' }), []);
  });

  it('takes a word that means something to the text search for a word', async () => {
    await index().add([eventOf(1, { words: ['not'] }), eventOf(2, { words: ['and', 'not', 'or'] })], []);
    assert.deepEqual(await found(index(), { words: ['and', 'not', 'or'] }), [2]);
    assert.deepEqual(await found(index(), { words: ['not'] }), [2, 1]);
  });

  it('joins as many words, and as many actions that begin so, as may be asked for', async () => {
    const { actionsMatchedMax } = auditIndexLimits;
    const words = Array.from({ length: 256 }, (_, at) => `word${at}`);
    const actions = Array.from({ length: actionsMatchedMax }, (_, at) => `x${at}`);
    await index().add(
      actions.map((action, at) =>
        eventOf(at + 1, { facets: { action }, words: words.slice(at === 7 ? 0 : 1) }),
      ),
      [],
    );
    assert.deepEqual(await found(index(), { actionPrefix: 'x', words, limit: 1_000 }), [8]);
  });

  it('refuses a beginning that very many actions have, but not one that ends in a dot', async () => {
    const actions = Array.from({ length: auditIndexLimits.actionsMatchedMax + 1 }, (_, at) => `run.x${at}`);
    await index().add(
      actions.map((action, at) => eventOf(at + 1, { facets: { action } })),
      [],
    );
    const most = await found(index(), { actionPrefix: 'run.x2', limit: 1_000 });
    assert.equal(most.length, actions.filter((action) => action.startsWith('run.x2')).length);
    const asked = index().find(queryOf({ actionPrefix: 'run' }));
    await assert.rejects(asked, (error) => error instanceof Fault && error.code === 'request.invalid');
    assert.equal((await found(index(), { actionPrefix: 'run.', limit: 1_000 })).length, actions.length);
  });
}

function pagingPromises(index: Using): void {
  it('goes on where a page ended, however many events came meanwhile', async () => {
    await index().add(
      [1, 2, 3, 4, 5].map((seq) => eventOf(seq)),
      [],
    );
    const first = await index().find(queryOf({ limit: 2 }));
    await index().add([eventOf(6)], []);
    const second = await index().find(queryOf({ limit: 2, after: first.reached }));
    const third = await index().find(queryOf({ limit: 2, after: second.reached }));
    assert.deepEqual(
      [first, second, third].map(({ places }) => seqs(places)),
      [[5, 4], [3, 2], [1]],
    );
    assert.deepEqual([third.reached, third.more], [1, false]);
    const none = await index().find(queryOf({ order: 'oldest', facets: { actor: 'user:ann' } }));
    assert.deepEqual(none, { places: [], reached: 6, more: false });
    assert.deepEqual(await found(index(), { order: 'oldest', after: 4 }), [5, 6]);
  });

  it('bounds a query by time although the clock jumped', async () => {
    const { spanEvents } = auditIndexLimits;
    const events = Array.from({ length: 3 * spanEvents }, (_, at) => eventOf(at + 1, { at: at + 1 }));
    events.push(eventOf(events.length + 1, { at: 2 }));
    await index().add(events, []);
    assert.deepEqual(await found(index(), { since: 2, until: 4 }), [events.length, 3, 2]);
    assert.deepEqual(await found(index(), { since: 3 * spanEvents }), [3 * spanEvents]);
    assert.deepEqual(await found(index(), { since: 4 * spanEvents }), []);
    assert.deepEqual(await found(index(), { until: 1 }), []);
  });
}

function placePromises(index: Using): void {
  it('knows events by their number, and the number of each', async () => {
    const { spanEvents } = auditIndexLimits;
    const events = Array.from({ length: 2 * spanEvents }, (_, at) => [
      eventOf(at + 1),
      eventOf(at + 1, { stream: 'runner-1' }),
    ]).flat();
    await index().add(events, []);
    assert.equal(await index().last(), events.length);
    for (const number of [1, 2, spanEvents, 2 * spanEvents + 1, events.length]) {
      const { stream, seq, offset } = events[number - 1]!;
      assert.deepEqual(await index().place(number), { number, stream, seq, offset });
      assert.equal(await index().numberOf(stream, seq), number);
    }
    assert.equal(await index().place(events.length + 1), null);
    assert.equal(await index().numberOf('control', 3 * spanEvents), null);
    assert.equal(await index().numberOf('runner-2', 1), null);
  });
}
