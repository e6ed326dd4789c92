import assert from 'node:assert/strict';
import { appendFile, mkdir, readdir, rm, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { AuditFolder, foundLines } from '../../../tests/support/audit-folder.ts';
import { withCode } from '../../../tests/support/test-control.ts';
import { segmentEvents, segmentPath } from '../../audit/segments.ts';
import { searchLimits } from './limits.ts';
import type { AuditSearch, EventFilter } from './search-types.ts';

let log: AuditFolder;
let search: AuditSearch;
beforeEach(async () => {
  log = await AuditFolder.make();
});
afterEach(async () => {
  await search.close();
  await log.remove();
});

const seqsOf = (lines: readonly string[]) => lines.map((line) => JSON.parse(line).seq as number);

async function found(filter: EventFilter): Promise<number[]> {
  return seqsOf(await foundLines(search, filter));
}

describe('searching the log', () => {
  it('finds by each member that an event has, and joins them', async () => {
    await log.write([
      { actor: { id: 'agent:bot', kind: 'agent', onBehalfOf: 'user:ann' } },
      { action: 'session.close', resource: { kind: 'session', id: 'ses_2' }, outcome: 'denied' },
      {
        decision: { allow: true, rule: 'team:web' },
        request: { id: 'req_1', address: '10.0.0.7', userAgent: null },
      },
      { phase: 'note', outcome: 'failed', resource: { kind: 'run', id: 'run_2', session: 'ses_2' } },
    ] as never);
    search = await log.open();
    const cases: [EventFilter, number[]][] = [
      [{ actor: 'agent:bot' }, [1]],
      [{ onBehalfOf: 'user:ann' }, [1]],
      [{ action: 'session.' }, [2]],
      [{ resource: 'ses_2' }, [2]],
      [{ resourceKind: 'run' }, [1, 3, 4]],
      [{ session: 'ses_2' }, [2, 4]],
      [{ run: 'run_2' }, [4]],
      [{ outcome: 'denied' }, [2]],
      [{ phase: 'note' }, [4]],
      [{ rule: 'team:web' }, [3]],
      [{ address: '10.0.0.7' }, [3]],
      [{ stream: 'control' }, [1, 2, 3, 4]],
      [{ stream: 'runner-1' }, []],
      [{ session: 'ses_2', outcome: 'failed' }, [4]],
      [{ since: Date.parse('2026-01-01T00:00:02Z'), until: Date.parse('2026-01-01T00:00:04Z') }, [2, 3]],
    ];
    for (const [filter, expected] of cases)
      assert.deepEqual(await found(filter), expected, JSON.stringify(filter));
  });

  it('finds whole words of everything an event says, whatever their capitals', async () => {
    await log.write([
      { data: { host: 'API.Example.com', list: [{ größe: 'ＦＵＬＬ' }], port: 8443 } },
      { request: { id: 'req_abc', address: null, userAgent: 'curl/8.1' } },
    ]);
    search = await log.open();
    const cases: [string, number[]][] = [
      ['api.example.com', [1]],
      ['example CURL', []],
      ['Grösse', []],
      ['GRÖSSE', []],
      ['GRÖßE', [1]],
      ['full', [1]],
      ['8443', [1]],
      ['req_abc', [2]],
      ['curl', [2]],
      ['cur', []],
      ['ann', [1, 2]],
    ];
    for (const [text, expected] of cases) assert.deepEqual(await found({ text }), expected, text);
  });

  it('takes text that means something to a database for words, and finds nothing by none', async () => {
    await log.write([{ data: { text: 'near not or x' } }]);
    search = await log.open();
    for (const text of ['NEAR(not, or)', '"or" NOT *', 'x', "x'; not"])
      assert.deepEqual(await found({ text }), [1], text);
    for (const text of ['', '   ', '"', '*', '(((', '\0', '😀', '\ud800', 'x*y', 'terms:zzz', '-ann^2'])
      assert.deepEqual(await found({ text }), [], text);
  });

  it('answers with the very bytes of the log', async () => {
    const lines = await log.write([{ data: { text: '\u001b[2J é "quoted" \\ ' } }, {}]);
    search = await log.open();
    assert.deepEqual(await foundLines(search), lines);
  });
});

describe('following the log', () => {
  it('answers with what was written before the question', async () => {
    search = await log.open();
    for (let count = 1; count <= 5; count += 1) {
      await log.write([{}]);
      assert.equal((await found({})).length, count);
    }
  });

  it('sees nothing behind the last durable event', async () => {
    search = await log.open(new Map([['control', 1]]));
    await log.write([{}, {}]);
    assert.deepEqual(await found({}), [1]);
    search.advanced('control', 2);
    assert.deepEqual(await found({}), [1, 2]);
  });

  it('joins streams by the times of their events, and finds a stream that is new', async () => {
    await log.write([{}, {}], 'control');
    await log.write([{}], 'runner-1', Date.parse('2026-01-01T00:00:01.500Z'));
    search = await log.open();
    const names = async () => (await foundLines(search)).map((line) => JSON.parse(line).stream);
    assert.deepEqual(await names(), ['control', 'runner-1', 'control']);
    await log.write([{}], 'runner-2');
    assert.deepEqual(await names(), ['control', 'runner-1', 'control', 'runner-2']);
  });

  it('counts lines that are no events, and goes on behind them', async () => {
    const [line = ''] = await log.write([{}]);
    await log.writeRaw([
      'no event',
      '',
      '{"a":1}',
      line,
      line.replace('"seq":1', '"seq":6').replace('control', 'x'),
    ]);
    await log.write([{}]);
    search = await log.open();
    assert.deepEqual(await found({}), [1, 7]);
    assert.deepEqual(await search.counts(), { events: 2, unreadable: 5 });
  });

  it('takes lines that somebody made to break who reads them for no events', async () => {
    const [line = ''] = await log.write([{ data: { a: 1 } }]);
    const hostile = (from: string, to: string) => line.replace('"seq":1,', '"seq":2,').replace(from, to);
    const deep = `${'['.repeat(7_800)}${']'.repeat(7_800)}`;
    const lines = [
      hostile('"a":1', `"a":${deep}`),
      hostile('"run.create"', 'null'),
      hostile('{"id":"user:ann","kind":"user"}', '{"id":["user:ann"],"kind":{}}'),
      hostile(/"at":"[^"]*"/.exec(line)![0], '"at":"the day after"'),
      hostile(/"at":"[^"]*"/.exec(line)![0], '"at":"-000001-01-01T00:00:00Z"'),
      hostile('"data":', '"data":[],"__proto__":'),
    ].map((each, at) => each.replace('"seq":2,', `"seq":${at + 2},`));
    await log.writeRaw(lines);
    await log.write([{}]);
    search = await log.open();
    assert.deepEqual(await found({}), [1, lines.length + 2]);
    assert.deepEqual(await search.counts(), { events: 2, unreadable: lines.length });
  });

  it('finds an event whose members are of other types than they should be by those that are not', async () => {
    const [line = ''] = await log.write([{}]);
    await log.writeRaw([
      line
        .replace('"seq":1,', '"seq":2,')
        .replace('"session":"ses_1"', '"session":["ses_1"]')
        .replace('"id":"run_1"', '"id":7'),
    ]);
    search = await log.open();
    assert.deepEqual(await found({ session: 'ses_1' }), [1]);
    assert.deepEqual(await found({ resourceKind: 'run' }), [1, 2]);
  });

  it('that has more streams than it can follow leaves none out in silence', async () => {
    for (let stream = 0; stream <= searchLimits.streamsMax; stream += 1)
      await mkdir(join(log.folder, `s${stream}`));
    search = await log.open();
    await assert.rejects(found({}), withCode('audit.index-behind'));
  });

  it('waits for the rest of a line that is not whole', async () => {
    await log.write([{}]);
    const path = segmentPath(join(log.folder, 'control'), 1);
    search = await log.open();
    await appendFile(path, '{"torn');
    assert.deepEqual(await found({}), [1]);
  });

  it('goes on where it stopped when it is opened again, and tells whoever listens', async () => {
    await log.write([{}, {}]);
    search = await log.open();
    assert.deepEqual(await found({}), [1, 2]);
    await search.close();
    await log.write([{}]);
    search = await log.open();
    const told = new Promise<void>((resolve) => search.onIndexed(resolve));
    assert.deepEqual(await found({}), [1, 2, 3]);
    await told;
  });

  it('leaves out an event whose line was changed meanwhile', async () => {
    await log.write([{}, {}]);
    search = await log.open();
    assert.deepEqual(await found({}), [1, 2]);
    const path = segmentPath(join(log.folder, 'control'), 1);
    await writeFile(path, 'x'.repeat(100));
    assert.deepEqual(await found({}), []);
  });
});

describe('making the index anew', () => {
  it('happens by itself where it is missing, damaged or of another log', async () => {
    const lines = await log.write([{}, {}, {}]);
    search = await log.open();
    assert.deepEqual(await foundLines(search), lines);
    const damages = [
      () => rm(log.file),
      () => writeFile(log.file, 'no database '.repeat(1_000)),
      () => truncate(log.file, 5_000),
    ];
    for (const damage of damages) {
      await search.close();
      await damage();
      search = await log.open();
      assert.deepEqual(await retried(() => foundLines(search)), lines);
    }
    await search.close();
    await rm(join(log.folder, 'control'), { recursive: true });
    search = await log.open();
    assert.deepEqual(await retried(() => foundLines(search)), []);
  });

  it('is asked for while the old one answers, and keeps what a cursor names', async () => {
    await log.write(Array.from({ length: 3_000 }, () => ({})));
    search = await log.open();
    const page = await search.find({ filter: {}, order: 'oldest', after: null, limit: 10 });
    const making = search.rebuild();
    assert.equal(
      (await search.find({ filter: {}, order: 'newest', after: null, limit: 1 })).events.length,
      1,
    );
    await log.write([{}]);
    assert.deepEqual(await making, { events: 3_001, unreadable: 0 });
    const rest = await search.find({ filter: {}, order: 'oldest', after: page.next, limit: 2 });
    assert.deepEqual(seqsOf(rest.events.map(({ line }) => line.toString())), [11, 12]);
    assert(!(await readdir(join(log.folder, '..'))).some((name) => name.includes('next')));
  });

  it('forgets what was dropped with its segment, which is found no more even before', async () => {
    await log.writeRaw(Array.from({ length: segmentEvents - 1 }, () => 'x'));
    await log.write([{}, {}, {}]);
    search = await log.open();
    assert.deepEqual(await retried(() => found({})), [segmentEvents, segmentEvents + 1, segmentEvents + 2]);
    await rm(segmentPath(join(log.folder, 'control'), 1));
    assert.deepEqual(await found({}), [segmentEvents + 1, segmentEvents + 2]);
    assert.deepEqual(await search.rebuild(), { events: 2, unreadable: 0 });
    assert.deepEqual(await found({}), [segmentEvents + 1, segmentEvents + 2]);
  });

  it('once more while it is under way is the same making', async () => {
    await log.write([{}]);
    search = await log.open();
    const [one, other] = await Promise.all([search.rebuild(), search.rebuild()]);
    assert.equal(one, other);
  });
});

describe('cursors', () => {
  it('that no answer held are refused', async () => {
    await log.write([{}]);
    search = await log.open();
    const known = (await search.find({ filter: {}, order: 'oldest', after: null, limit: 1 })).events[0]!
      .cursor;
    const foreign = known.replace(/^..../, 'AAAA');
    const unknown = Buffer.from(`${'0'.repeat(36)} 1 control 99`).toString('base64url');
    const long = 'A'.repeat(searchLimits.cursorCharactersMax + 1);
    for (const after of ['', 'x', foreign, unknown, long, '%00', 'é'])
      await assert.rejects(
        search.find({ filter: {}, order: 'oldest', after, limit: 1 }),
        withCode('request.invalid'),
        after,
      );
  });
});

/** A question to an index that turned out to be damaged is to be asked again. */
async function retried<T>(act: () => Promise<T>): Promise<T> {
  return await act().catch(async (error: unknown) => {
    withCode('audit.index-behind')(error);
    return await act();
  });
}
