import assert from 'node:assert/strict';
import { after, describe, test } from 'node:test';
import { LogFolder, makeSignedStreams } from '../support/signed-streams.ts';
import { allCases, type TamperCase } from '../support/tamper-cases.ts';

/**
 * G8: any change to the log is found. Here each way that we could think of, on two streams that record each other;
 * g8-mutations.test.ts has those of chance and g8-segments.test.ts those of long logs.
 */
const streams = await makeSignedStreams();
const folder = new LogFolder();
after(() => folder[Symbol.dispose]());

test('control: untouched, at every moment, the log is intact, whatever is held', async () => {
  const { older, signed, growing, kept, keys } = streams;
  const trusted = Object.values(keys);
  for (const files of [older, signed, growing])
    assert.equal((await folder.verdict(files, { keys: trusted })).status, 'intact');
  for (const files of [signed, growing]) {
    const { status, streams: found } = await folder.verdict(files, { kept, keys: trusted });
    assert.equal(status, 'intact');
    assert.deepEqual(
      found.map(({ events }) => events),
      files === signed ? [36, 36] : [42, 36],
    );
  }
});

function finds({ what, files, held, stream, seq, passesWithout = false }: TamperCase): void {
  test(what, async () => {
    const found = await folder.verdict(files, held);
    assert.notDeepEqual(files, streams.signed);
    assert.equal(found.status, 'tampered', JSON.stringify(found));
    const verdict = found.streams.find(({ status }) => status === 'tampered')!;
    assert.match(`${verdict.path} ${verdict.problem?.what}`, new RegExp(stream));
    if (seq !== undefined) assert.equal(verdict.problem?.seq, seq, verdict.problem?.what);
    assert.notEqual(verdict.problem?.what ?? '', '');
    if (held !== undefined)
      assert.equal((await folder.verdict(files)).status === 'intact', passesWithout, 'by what is held alone');
  });
}

for (const [of, cases] of Object.entries(allCases(streams)))
  describe(`tampered ${of} are found`, () => cases.forEach(finds));
