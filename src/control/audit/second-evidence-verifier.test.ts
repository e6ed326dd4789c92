import assert from 'node:assert/strict';
import { generateKeyPairSync } from 'node:crypto';
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { temporaryFolder } from '../../../tests/support/audit.ts';
import { verifyEvidenceWithPython, withoutPython } from '../../../tests/support/python-verifier.ts';
import { actorOf, callerOf, TestControl } from '../../../tests/support/test-control.ts';
import { parseCheckpoint } from '../../audit/checkpoint.ts';
import { noteSigner, parseVerifierKey } from '../../audit/signed-note.ts';
import { type EvidenceVerdict, verifyEvidence } from '../../audit/verify-evidence.ts';
import type { EvidenceQuery } from '../../contract/audit-schemas.ts';
import type { RunId } from '../../model/ids.ts';

const ann = callerOf(actorOf('ann'));
const auditor = callerOf(actorOf('eve', 'all', ['audit:read']));
const since = '2000-01-01T00:00:00.000Z';
const folder = temporaryFolder();
after(() => folder[Symbol.dispose]());
let made = 0;

function fileOf(content: string | Buffer | readonly string[]): string {
  made += 1;
  const path = join(folder.path, `${made}.json`);
  const isText = typeof content === 'string' || Buffer.isBuffer(content);
  writeFileSync(path, isText ? content : content.map((line) => `${line}\n`).join(''));
  return path;
}

/** Both verifiers on each bundle: the same status, and the same event where both blame one. */
async function agree(
  contents: readonly (string | Buffer | readonly string[])[],
  expected: EvidenceVerdict['status'] | 'either',
): Promise<void> {
  const paths = contents.map(fileOf);
  const found = verifyEvidenceWithPython(paths).streams;
  assert.equal(found.length, paths.length);
  for (const [index, path] of paths.entries()) {
    const { status, problem } = await verifyEvidence(path);
    const other = found[index]!;
    const both = `${path}: ${JSON.stringify(problem)} and ${JSON.stringify(other)}`;
    assert.equal(other.status, status, both);
    if (expected !== 'either') assert.equal(status, expected, both);
    if (problem?.seq !== undefined && other.seq != null) assert.equal(other.seq, problem.seq, both);
    rmSync(path);
  }
}

test('the verifier of evidence in Python has at most 150 lines, with nothing but the standard library', () => {
  const path = join(import.meta.dirname, '../../../docs/reference/audit-verify-evidence.py');
  const text = readFileSync(path, 'utf8');
  assert(text.split('\n').length - 1 <= 150);
  const imports = text.match(/^ *(?:import|from) .*$/gm);
  assert.deepEqual(imports, ['import argparse, hashlib, importlib.util, json, os, sys']);
});

describe('the verifier of evidence in Python judges as ours does', { skip: withoutPython }, () => {
  let session: readonly string[] = [];
  let whole: readonly string[] = [];
  let elsewhere: readonly string[] = [];
  let ofRun: readonly string[] = [];
  let keys: string[] = [];

  before(async () => {
    await using control = await TestControl.open();
    keys = [control.audit.key()];
    const id = await control.session(ann);
    await control.control.auditProofs.rotateKey(callerOf(actorOf('root', 'all', ['*'])));
    keys.push(control.audit.key());
    await control.session(ann);
    session = await linesOf(control, { session: id });
    ofRun = await linesOf(control, { run: await finishedRun(control) });
    whole = await linesOf(control, { since });
    await using other = await TestControl.open();
    await other.session(ann);
    elsewhere = await linesOf(other, { since });
  });

  test('control: untouched ones, of a session, a run with files, and a time', async () => {
    assert(ofRun.some((line) => line.startsWith('{"artifact"')));
    await agree([session, ofRun, whole, elsewhere], 'intact');
  });

  test('bytes that are flipped, and bundles that are cut', async () => {
    const content = Buffer.from(session.map((line) => `${line}\n`).join(''));
    const flips = Array.from({ length: Math.floor(content.length / 29) }, (_, index) => {
      const flipped = Buffer.from(content);
      flipped[index * 29]! ^= 1 << (index % 7);
      return flipped;
    });
    const cuts = Array.from({ length: Math.floor(content.length / 97) }, (_, index) =>
      content.subarray(0, index * 97),
    );
    await agree([...flips, ...cuts], 'tampered');
  });

  test('lines that are dropped, there twice, moved, or of another log', async () => {
    for (const lines of [session, ofRun, whole]) {
      const changed = lines.flatMap((line, at) => [
        lines.toSpliced(at, 1),
        lines.toSpliced(at, 0, line),
        lines.toSpliced(at, 1).toSpliced((at + 1) % lines.length, 0, line),
      ]);
      await agree(changed, 'tampered');
    }
    const exchanged = whole.map((_, at) => whole.with(at, elsewhere[at] ?? elsewhere.at(-1)!));
    await agree(exchanged, 'either');
    await agree([whole.with(1, elsewhere[1]!), [...whole, ...elsewhere]], 'tampered');
  });

  test('other spellings, members, types, purposes and files', async () => {
    const replaced = (from: string | RegExp, to: string, lines = ofRun) => {
      const changed = lines.map((line) => line.replace(from, to));
      assert.notDeepEqual(changed, lines, `${from}`);
      return changed;
    };
    const end = /^\{"end".*/;
    const wrong = [
      replaced(end, '{"end":{"events":true}}'),
      replaced(end, '{"end":{"events":NaN}}'),
      replaced(end, '{"end":{}}'),
      replaced(end, '[]'),
      replaced(end, '{"end": {"events":1}}'),
      replaced('"bytes":5', '"bytes":true'),
      replaced('"bytes":5', '"bytes":6'),
      replaced('"bytes":5', '"bytes":5.0'),
      replaced('"bytes":5,', ''),
      replaced('"mediaType"', '"more":1,"mediaType"'),
      replaced('"for":"request"', '"for":"answer"'),
      replaced('"for":"answer"', '"for":"key"'),
      replaced('"for":"answer"', '"for":"request"'),
      replaced('"for":"answer"', '"for":"more"'),
      replaced('"proof":["', '"proof":["!'),
      replaced('"proof":["', '"proof":["","'),
      replaced(/,"proof":\[.*\]/, ',"proof":null'),
      replaced(/,"proof":\[.*\]/, ',"proof":[]'),
      replaced(/,"proof":\[.*\]/, ''),
      replaced('"stream":"control"}', '"stream":"control","tombstone":null}'),
      replaced('"stream":"control"}', '"stream":"control","tombstone":""}'),
      replaced('"stream":"control"}', '"stream":"runner"}'),
      replaced('"stream":"control"}', '"stream":"\\ud800"}'),
      replaced('"artifact"', '"artifact\ufffd"'),
      ofRun.filter((line) => !line.startsWith('{"artifact"')),
      ofRun.slice(0, -1),
      [...ofRun, ''],
      [...ofRun, ofRun.at(-1)!],
      session.filter((line) => !line.includes('audit.key.rotated')),
    ];
    await agree(wrong, 'tampered');
    const header = '{"sealwright-evidence":1}\n';
    await agree(['', '{}\n', header, header.slice(0, -1), `${header}${'x'.repeat(1_000_000)}`], 'tampered');
    assert.equal(verifyEvidenceWithPython([join(folder.path, 'absent')]).code, 2);
    assert.equal((await verifyEvidence(join(folder.path, 'absent'))).status, 'unreadable');
  });

  test('of five hundred random changes, the same ones', async () => {
    const content = Buffer.from(ofRun.map((line) => `${line}\n`).join(''));
    let state = 1;
    const random = (below: number) => {
      state = (state * 48_271) % 2_147_483_647;
      return state % below;
    };
    const changed = Array.from({ length: 500 }, (_, index) => {
      const bytes = Buffer.from(content);
      const at = random(bytes.length);
      if (index % 3 === 0)
        return Buffer.concat([bytes.subarray(0, at), bytes.subarray(at + 1 + random(300))]);
      if (index % 3 === 1)
        return Buffer.concat([bytes.subarray(0, at), Buffer.from([random(256)]), bytes.subarray(at)]);
      bytes[at]! ^= 1 + random(255);
      return bytes;
    });
    await agree(changed, 'tampered');
  });

  test('held against keys that were rotated, and against kept checkpoints', async () => {
    const path = fileOf(session);
    const stranger = noteSigner(keys[0]!.split('+')[0]!, generateKeyPairSync('ed25519').privateKey).key.text;
    for (const [key, status] of [
      [keys[0]!, 'intact'],
      [keys[1]!, 'intact'],
      [stranger, 'tampered'],
    ] as const) {
      assert.equal(verifyEvidenceWithPython(['--key', key, path]).streams[0]!.status, status, key);
      assert.equal((await verifyEvidence(path, { keys: [parseVerifierKey(key)!] })).status, status, key);
    }
    assert.equal(verifyEvidenceWithPython(['--key', 'none', path]).code, 2);
    const own = (await verifyEvidence(path)).streams[0]!.checkpoint;
    const otherRoot = own.note.replace(own.root, `${'A'.repeat(43)}=`);
    const otherSize = own.note.replace(`\n${own.size}\n`, '\n1\n');
    for (const [text, status] of [
      [own.note, 'intact'],
      [otherRoot, 'tampered'],
      [otherSize, 'unreadable'],
      [own.note.replace('/control', '/other'), 'tampered'],
      [otherSize + otherRoot, 'tampered'],
      [otherRoot + otherSize, 'tampered'],
    ] as const) {
      const kept = (text.match(/(?:[^\n]+\n)+\n— [^\n]+\n/g) ?? []).map((note) => parseCheckpoint(note)!);
      const args = ['--since-checkpoint', fileOf(text), path];
      assert.equal(verifyEvidenceWithPython(args).streams[0]!.status, status, text);
      assert.equal((await verifyEvidence(path, { kept })).status, status, text);
    }
  });
});

async function linesOf(test: TestControl, query: EvidenceQuery): Promise<string[]> {
  const lines: string[] = [];
  for await (const line of await test.control.auditEvidence.export(auditor, query))
    lines.push(line.toString());
  return lines;
}

/** One that left a file. */
async function finishedRun(test: TestControl): Promise<RunId> {
  const run = (await test.run(ann, await test.session(ann))).id as RunId;
  await test.runner.until(() => test.runner.live.has(run));
  const info = { name: 'diff', mediaType: 'text/x-diff', bytes: 5, sha256: 'a'.repeat(64) };
  test.runner.artifacts.set(run, [{ info, bytes: Buffer.from('12345') }]);
  test.runner.running(run);
  test.runner.finish(run);
  await test.finished(ann, run);
  return run;
}
