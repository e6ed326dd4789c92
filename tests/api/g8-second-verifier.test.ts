import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import type { UnverifiedCheckpoint } from '../../src/audit/checkpoint.ts';
import type { VerifyOptions } from '../../src/audit/verify.ts';
import { temporaryFolder } from '../support/audit.ts';
import { verifyWithPython, withoutPython } from '../support/python-verifier.ts';
import { LogFolder, makeSignedStreams } from '../support/signed-streams.ts';
import { allCases } from '../support/tamper-cases.ts';

/** G8, by the second verifier, which shares nothing with ours: it finds whatever g8-tampering.test.ts has ours find. */

const streams = await makeSignedStreams();
const folder = new LogFolder();
const beside = temporaryFolder();
after(() => {
  folder[Symbol.dispose]();
  beside[Symbol.dispose]();
});

function judged({ keys, kept }: VerifyOptions = {}): number {
  const options = (keys ?? []).flatMap(({ text }) => ['--key', text]);
  if (kept !== undefined) {
    const file = join(beside.path, 'kept');
    writeFileSync(file, kept.map(noteOf).join(''));
    options.push('--since-checkpoint', file);
  }
  return verifyWithPython([...options, folder.path]).code;
}

function noteOf({ note }: UnverifiedCheckpoint): string {
  const { name, id, bytes } = note.signatures[0]!;
  return `${note.text}\n— ${name} ${Buffer.concat([Buffer.from(id, 'hex'), bytes]).toString('base64')}\n`;
}

describe('the verifier in Python', { skip: withoutPython }, () => {
  test('control: finds nothing where nothing was changed', () => {
    const { older, signed, growing, keys, kept } = streams;
    for (const files of [older, signed, growing]) {
      folder.hold(files);
      assert.equal(judged({ keys: Object.values(keys) }), 0);
    }
    assert.equal(judged({ kept, keys: Object.values(keys) }), 0);
  });

  for (const [of, cases] of Object.entries(allCases(streams)))
    test(`finds tampered ${of}`, () => {
      for (const { what, files, held } of cases) {
        folder.hold(files);
        assert.equal(judged(held), 1, what);
      }
    });
});
