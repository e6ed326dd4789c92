import assert from 'node:assert/strict';
import { mkdir, rm, writeFile } from 'node:fs/promises';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { AuditFolder, foundLines, silentLogger } from '../../tests/support/audit-folder.ts';
import { withCode } from '../../tests/support/test-control.ts';
import { openSearchThread } from '../control/audit/search-thread.ts';
import type { AuditSearch } from '../control/audit/search-types.ts';

const program = new URL('./audit-search.ts', import.meta.url);

describe('the thread that searches', () => {
  let log: AuditFolder;
  let search: AuditSearch;
  const open = (heads: ReadonlyMap<string, number>) =>
    openSearchThread({
      program,
      folder: log.folder,
      file: log.file,
      heads,
      logger: silentLogger,
    });

  beforeEach(async () => {
    log = await AuditFolder.make();
  });
  afterEach(async () => {
    await search.close();
    await log.remove();
  });

  it('finds what was written up to the head it was told of, and tells when more came', async () => {
    const lines = await log.write([{}, { data: { text: 'é' } }, {}]);
    search = open(new Map([['control', 2]]));
    assert.deepEqual(await foundLines(search), lines.slice(0, 2));
    const told = new Promise<void>((resolve) => search.onIndexed(resolve));
    search.advanced('control', 3);
    await told;
    assert.deepEqual(await foundLines(search), lines);
    assert.deepEqual(await search.rebuild(), { events: 3, unreadable: 0 });
    assert.deepEqual(await search.counts(), { events: 3, unreadable: 0 });
  });

  it('passes faults on as they are', async () => {
    search = open(new Map());
    const asked = search.find({ filter: {}, order: 'oldest', after: 'x', limit: 1 });
    await assert.rejects(asked, withCode('request.invalid'));
  });

  it('that cannot start says that nothing can be searched, and starts once it can', async () => {
    const lines = await log.write([{}]);
    // A folder of the index that is a file.
    await writeFile(`${log.file}.d`, '');
    search = openSearchThread({
      program,
      folder: log.folder,
      file: `${log.file}.d/index.sqlite`,
      heads: new Map(),
      logger: silentLogger,
    });
    await assert.rejects(foundLines(search), withCode('audit.index-behind'));
    await rm(`${log.file}.d`);
    await mkdir(`${log.file}.d`);
    let found: string[] | null = null;
    while (found === null) {
      await nextTurn();
      found = await foundLines(search).catch(() => null);
    }
    assert.deepEqual(found, lines);
  });
});
