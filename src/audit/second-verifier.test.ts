import assert from 'node:assert/strict';
import { generateKeyPairSync } from 'node:crypto';
import {
  appendFileSync,
  cpSync,
  mkdirSync,
  readFileSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import {
  attempt,
  chainOf,
  eventId,
  manualClock,
  segmentOf,
  temporaryFolder,
  testSigningKeys,
} from '../../tests/support/audit.ts';
import { verifyWithPython, withoutPython } from '../../tests/support/python-verifier.ts';
import { parseCheckpoints } from './checkpoint.ts';
import { type NewEvent, noHash } from './event.ts';
import { auditLimits } from './limits.ts';
import { linkTo } from './line-hash.ts';
import { openAuditLog, type SignedAuditLog } from './log.ts';
import { leafHash, TreeEdge } from './merkle.ts';
import { segmentEvents } from './segments.ts';
import { noteSigner, parseVerifierKey } from './signed-note.ts';
import { signTombstone } from './tombstone.ts';
import { exitCodeOf, verifyStreams } from './verify.ts';

const folder = temporaryFolder();
after(() => folder[Symbol.dispose]());
let made = 0;

function place(name = 'control'): string {
  made += 1;
  const path = join(folder.path, String(made));
  mkdirSync(path);
  return join(path, name);
}

/** Both verifiers on each path by itself: the same status, and the same event where both blame one. */
async function agree(
  paths: readonly string[],
  expected: 'intact' | 'tampered' | 'unreadable' | 'either',
): Promise<void> {
  const found = verifyWithPython(paths).streams;
  for (const path of paths) {
    const { status, problem } = (await verifyStreams([path])).streams[0]!;
    const other = found.find((stream) => stream.path === path)!;
    const both = `${path}: ${JSON.stringify(problem)} and ${JSON.stringify(other)}`;
    assert.equal(other.status, status, both);
    if (expected !== 'either') assert.equal(status, expected, both);
    if (problem?.seq !== undefined && other.seq != null) assert.equal(other.seq, problem.seq, both);
    if (status !== 'intact') keep(path);
  }
}

/** Nothing is left of what agreed. */
function keep(path: string): void {
  if (path.startsWith(folder.path)) rmSync(path, { recursive: true, force: true });
}

function fileOf(content: string | Buffer | readonly string[]): string {
  const path = place('control.jsonl');
  const isText = typeof content === 'string' || Buffer.isBuffer(content);
  writeFileSync(path, isText ? content : content.map((line) => `${line}\n`).join(''));
  return path;
}

function rechained(lines: readonly string[]): string[] {
  let prev = noHash;
  return lines.map((line) => {
    const linked = line.replace(/"prev":"[0-9a-f]{64}"/, `"prev":"${prev}"`);
    prev = linkTo(Buffer.from(linked), 2);
    return linked;
  });
}

function samples(tag: string): NewEvent[] {
  return Array.from({ length: 30 }, (_, n) =>
    attempt(`${tag}.${n}`, { data: { n, list: [true, null, 'ü\n'] } }),
  );
}

const lines = chainOf('control', samples('run'));
const other = chainOf('control', samples('other'));
const foreign = chainOf('runner', samples('run'));

test('the verifier in Python is one file of at most 150 lines, with nothing but the standard library', () => {
  const text = readFileSync(join(import.meta.dirname, '../../docs/reference/audit-verify.py'), 'utf8');
  assert(text.split('\n').length - 1 <= 150);
  const imports = text.match(/^ *(?:import|from) .*$/gm);
  assert.deepEqual(imports, ['import argparse, base64, decimal, functools, hashlib, json, os, re, sys']);
});

const misspelled = [
  '1.0',
  '-0',
  '1e21',
  '1E+21',
  '1e-07',
  '0.0000001',
  '10e1',
  '+1',
  '01',
  'NaN',
  'Infinity',
  '1e999',
  '.5',
  '1000000000000000000000',
  '"\\u007f"',
  '"\\/"',
  '"\\u000a"',
  '"\\ud800"',
  '{"b":1,"a":2}',
  '{"a":1,"a":2}',
  '{"\ufb33":2,"\u{1f600}":1}',
  `${'['.repeat(255)}${']'.repeat(255)}`,
  `${'['.repeat(4000)}${']'.repeat(4000)}`,
  `9${'0'.repeat(5000)}`,
  ' 9',
  "'9'",
  'nul',
];

const shapes: [string, string][] = [
  ['"v":2}', '"v":2,"v":2}'],
  ['"v":2}', '"v":3}'],
  ['"v":2}', '"v":true}'],
  ['"v":2}', '"v":2,"w":1}'],
  ['"seq":10', '"seq":10.5'],
  ['"seq":10', '"seq":"10"'],
  ['"seq":10', '"seq":9007199254740992'],
  ['"phase":"attempt"', '"phase":null'],
  ['"outcome":"allowed",', ''],
  ['"decision":{', '"decision":[{'],
  ['"action":"run.9"', '"action":"run\\u002e9"'],
];

describe('the verifier in Python judges single files as ours does', { skip: withoutPython }, () => {
  test('untouched ones, of both versions, torn or not', async () => {
    await agree(
      [
        fileOf(lines),
        fileOf(chainOf('control', samples('old'), 1)),
        fileOf(lines.slice(0, 9)),
        fileOf(`${lines[0]}\n{"a`),
      ],
      'intact',
    );
    await agree([fileOf(''), fileOf('{"a'), join(folder.path, 'absent'), '/dev/zero'], 'unreadable');
  });

  test('lines that are missing, moved, repeated, foreign or changed', async () => {
    const cases: (string | Buffer | string[])[] = [
      lines.slice(1),
      lines.toSpliced(9, 3),
      lines.toSpliced(9, 0, lines[8]!),
      lines.toSpliced(9, 2, lines[10]!, lines[9]!),
      lines.toSpliced(9, 0, other[9]!),
      lines.toSpliced(9, 1, other[9]!),
      lines.toSpliced(9, 0, foreign[9]!),
      lines.toSpliced(9, 0, ''),
      [...lines.slice(0, 20), ...other.slice(20)],
      [...lines, ...other],
      [...chainOf('control', samples('old')), ...chainOf('control', samples('old'), 1)],
      lines.map((line) => `${line}\r`),
      lines.map((line) => line).concat(''),
      `\ufeff${lines.join('\n')}\n`,
      Buffer.concat([Buffer.from(`${lines.join('\n')}\n`), Buffer.from([0xff, 0x0a])]),
      `${lines.join('\n')}\n${'x'.repeat(auditLimits.lineBytesMax)}`,
      `${lines.join('\n')}\n${'x'.repeat(auditLimits.lineBytesMax)}\n`,
      ...lines.slice(0, 29).map((line, at) => lines.with(at, line.replace('"run_1"', '"run_2"'))),
      ...lines.slice(0, 29).map((line, at) => lines.with(at, line.replace(/"prev":"./, '"prev":"g'))),
    ];
    await agree(cases.map(fileOf), 'tampered');
  });

  test('spellings: numbers, names, escapes, nesting and types, with every hash made anew', async () => {
    const respelled = (from: string, to: string) =>
      fileOf(rechained(lines.with(9, lines[9]!.replace(from, to))));
    const number = (text: string) => respelled('"n":9', `"n":${text}`);
    const right = [
      '0',
      '-1',
      '1e+21',
      '100000000000000000000',
      '1e-7',
      '0.000001',
      '1.5e+300',
      '0.1',
      '5e-324',
      '9007199254740993',
    ];
    const same = [
      'true',
      '"\u007f\u2028"',
      '"\\u0001"',
      '{"\ufb33":1}',
      '{"\u{1f600}":1,"\ufb33":2}',
      `${'['.repeat(254)}${']'.repeat(254)}`,
    ];
    await agree(
      [...right.map(number), ...same.map(number)].filter((path) => !path.includes('none')),
      'either',
    );
    await agree(misspelled.map(number), 'tampered');
    await agree(
      shapes.map(([from, to]) => respelled(from, to)),
      'tampered',
    );
  });

  test('of six hundred random changes, the same ones', async () => {
    const content = Buffer.from(`${lines.join('\n')}\n`);
    let state = 1;
    const random = (below: number) => {
      state = (state * 48_271) % 2_147_483_647;
      return state % below;
    };
    const changed = Array.from({ length: 600 }, (_, index) => {
      const bytes = Buffer.from(content);
      const at = random(bytes.length);
      if (index % 3 === 0)
        return Buffer.concat([bytes.subarray(0, at), bytes.subarray(at + 1 + random(300))]);
      if (index % 3 === 1)
        return Buffer.concat([bytes.subarray(0, at), Buffer.from([random(256)]), bytes.subarray(at)]);
      bytes[at]! ^= 1 + random(255);
      return bytes;
    });
    await agree(changed.map(fileOf), 'either');
  });
});

describe('the verifier in Python judges signed streams as ours does', { skip: withoutPython }, () => {
  const next = generateKeyPairSync('ed25519').privateKey;
  const source = temporaryFolder();
  after(() => source[Symbol.dispose]());
  let keys: string[] = [];
  let first = '';
  let kept = '';

  async function openIn(path: string, signingKeys = [...testSigningKeys, next]): Promise<SignedAuditLog> {
    return await openAuditLog({
      folder: path,
      stream: 'control',
      clock: manualClock(),
      newId: eventId,
      signingKeys,
    });
  }

  before(async () => {
    const log = await openIn(source.path);
    keys = [log.key()];
    first = log.checkpoint().note;
    for (const event of samples('first')) await log.append(event);
    kept = (await log.sign()).note;
    await log.rotateKey(next);
    keys.push(log.key());
    for (const event of samples('second')) await log.append(event);
    await log.close();
  });

  /** A copy of the signed stream that somebody has changed. */
  function copied(change: (stream: string) => void = () => undefined): string {
    const stream = place();
    cpSync(join(source.path, 'control'), stream, { recursive: true });
    change(stream);
    return stream;
  }

  const segment = (stream: string) => join(stream, '0000000000000001.jsonl');
  const edit = (file: string, from: string | RegExp, to: string) => {
    const text = readFileSync(file, 'utf8');
    assert.notEqual(text.replace(from, to), text);
    writeFileSync(file, text.replace(from, to));
  };

  test('untouched, torn, and verified from the folder above', async () => {
    await agree([copied(), copied((stream) => appendFileSync(segment(stream), '{"torn'))], 'intact');
    const above = join(copied(), '..');
    assert.equal(verifyWithPython([above]).code, 0);
    assert.equal(exitCodeOf(await verifyStreams([above])), 0);
    const twice = [copied(), copied()];
    assert.equal(verifyWithPython(twice).code, 1, 'one log is in one folder');
    assert.equal(exitCodeOf(await verifyStreams(twice)), 1);
  });

  test('with another checkpoint, key, event or file', async () => {
    const note = (stream: string) => join(stream, 'checkpoint');
    const cut = (stream: string, left: number) => {
      const all = readFileSync(segment(stream), 'utf8').split('\n');
      writeFileSync(segment(stream), `${all.slice(0, left).join('\n')}\n`);
    };
    const changes: ((stream: string) => void)[] = [
      (stream) => rmSync(note(stream)),
      (stream) => truncateSync(note(stream), 40),
      (stream) => writeFileSync(note(stream), ''),
      (stream) => writeFileSync(note(stream), kept.replace('— audit', '— other')),
      (stream) => edit(note(stream), '\n62\n', '\n61\n'),
      (stream) => edit(note(stream), /(?<=\n62\n)./, '!'),
      (stream) => edit(note(stream), /\n$/, ''),
      (stream) => edit(note(stream), 'audit.sealwright', 'audit.sealwrighT'),
      (stream) => edit(note(stream), '\n\n', '\nmore\n\n'),
      (stream) => edit(note(stream), /[A-Za-z0-9+/](?=[A-Za-z0-9+/]{8}==?\n$)/, 'a'),
      (stream) => cut(stream, 10),
      (stream) => cut(stream, 61),
      (stream) => edit(segment(stream), 'second.29', 'second.28'),
      (stream) => edit(segment(stream), 'first.3', 'first.4'),
      (stream) => edit(segment(stream), '"audit.opened"', '"audit.opened2"'),
      (stream) => rmSync(segment(stream)),
      (stream) => writeFileSync(segment(stream), ''),
      (stream) => writeFileSync(join(stream, 'dropped'), kept),
      (stream) => writeFileSync(join(stream, 'dropped'), ''),
      (stream) => cpSync(segment(stream), join(stream, '0000000000065537.jsonl')),
      (stream) => cpSync(segment(stream), join(stream, '0000000000131073.jsonl')),
      (stream) => cpSync(segment(stream), join(stream, '0000000000000002.jsonl')),
    ];
    await agree(changes.map(copied), 'tampered');
    const older = [kept, first].map((text) => copied((stream) => writeFileSync(note(stream), text)));
    await agree(older, 'intact');
  });

  test('where the whole stream was made anew around another key', async () => {
    const forged = (change: (lines: string[]) => string[]) =>
      copied((stream) => {
        const all = readFileSync(segment(stream), 'utf8').split('\n').slice(0, -1);
        writeFileSync(segment(stream), `${rechained(change(all)).join('\n')}\n`);
      });
    const rotation = (text: string) => text.includes('"audit.key.rotated"');
    const changed = [
      forged((all) =>
        all.map((line) => (rotation(line) ? line.replace(/"signature":"./, '"signature":"!') : line)),
      ),
      forged((all) =>
        all.map((line) => (rotation(line) ? line.replace('key.rotated', 'key.introduced') : line)),
      ),
      forged((all) => all.map((line) => line.replace(keys[0]!, keys[1]!))),
      forged((all) => all.map((line) => line.replace('first.7', 'first.8'))),
    ];
    await agree(changed, 'tampered');
  });

  test('held against keys and kept checkpoints', async () => {
    const stream = copied();
    const stranger = noteSigner(keys[0]!.split('+')[0]!, generateKeyPairSync('ed25519').privateKey).key.text;
    for (const [key, code] of [
      [keys[0], 0],
      [keys[1], 0],
      [stranger, 1],
    ] as const) {
      assert.equal(verifyWithPython(['--key', key!, stream]).code, code);
      assert.equal(exitCodeOf(await verifyStreams([stream], { keys: [parseVerifierKey(key!)!] })), code);
    }
    const rootLine = kept.split('\n')[2]!;
    const notes: [string, number][] = [
      [first, 0],
      [`${first}${kept}`, 0],
      [`${first}\n${kept}`, 0],
      [kept.replace(rootLine, `${'A'.repeat(43)}=`), 1],
      [kept.replaceAll('/control', '/runner'), 1],
    ];
    for (const [text, code] of notes) {
      const file = fileOf(text);
      assert.equal(verifyWithPython(['--since-checkpoint', file, stream]).code, code, text);
      assert.equal(exitCodeOf(await verifyStreams([stream], { kept: parseCheckpoints(text)! })), code, text);
    }
    for (const wrong of ['nothing', `${kept}rest`, '']) {
      assert.equal(verifyWithPython(['--since-checkpoint', fileOf(wrong), stream]).code, 2, wrong);
      assert.equal(parseCheckpoints(wrong), null);
    }
    assert.equal(verifyWithPython(['--key', 'none', stream]).code, 2);
    assert.equal(verifyWithPython(['--key', fileOf(''), stream]).code, 1, 'no key is not every key');
  });

  test('held against what another stream recorded', async () => {
    const size = Number(kept.split('\n')[1]);
    const origin = kept.split('\n')[0]!;
    const root = kept.split('\n')[2]!;
    const other = `${'B'.repeat(43)}=`;
    for (const [claim, status] of [
      [{ origin, size, root }, 'intact'],
      [{ origin, size, root: other }, 'tampered'],
      [{ origin, size: 1_000, root }, 'tampered'],
      [{ origin: 'elsewhere', size, root: other }, 'tampered'],
    ] as const) {
      const stream = copied();
      const beat = attempt('audit.heartbeat', { data: { checkpoints: [claim] } });
      const observer = join(stream, '..', 'observer.jsonl');
      writeFileSync(observer, `${chainOf('observer', [beat], 1)[0]}\n`);
      const ours = await verifyStreams([join(stream, '..')]);
      const theirs = verifyWithPython([join(stream, '..')]);
      assert.equal(ours.status, status);
      assert.equal(theirs.code, exitCodeOf(ours), JSON.stringify([claim, ours, theirs]));
    }
  });

  test('of several segments, with events that were dropped', async () => {
    using large = temporaryFolder();
    const log = await openIn(large.path);
    for (let at = 0; at < segmentEvents + 100; at += 1_000)
      await Promise.all(Array.from({ length: 1_000 }, () => log.append(attempt('run.create'))));
    await log.close();
    const whole = readFileSync(segmentOf(large.path), 'utf8').split('\n').slice(0, -1);
    const edge = new TreeEdge();
    for (const line of whole) edge.append(leafHash(Buffer.from(line)));
    const signer = noteSigner(log.checkpoint().origin, testSigningKeys[0]!);
    const tombstone = {
      origin: signer.name,
      size: segmentEvents,
      before: linkTo(Buffer.from(whole.at(-1)!), 2),
      peaks: edge.peaks.map(({ hash }) => hash),
      key: signer.key,
      at: Date.UTC(2026, 5, 1),
    };
    const second = (stream: string) => join(stream, '0000000000065537.jsonl');
    const withTombstone = (text: string, change: (stream: string) => void = () => undefined) => {
      const stream = place();
      cpSync(join(large.path, 'control'), stream, { recursive: true });
      rmSync(segment(stream));
      writeFileSync(join(stream, 'dropped'), text);
      change(stream);
      return stream;
    };
    const right = signTombstone(tombstone, signer);
    const stranger = noteSigner(signer.name, next);
    const left = withTombstone(right, (stream) => cpSync(segmentOf(large.path), segment(stream)));
    await agree([join(large.path, 'control'), withTombstone(right), left], 'intact');
    await agree(
      [
        withTombstone(right.replace('dropped ', 'Dropped ')),
        withTombstone(signTombstone({ ...tombstone, before: 'f'.repeat(64) }, signer)),
        withTombstone(signTombstone({ ...tombstone, key: stranger.key }, signer)),
        withTombstone(signTombstone(tombstone, stranger)),
        withTombstone(right, (stream) => rmSync(join(stream, 'dropped'))),
        withTombstone(right, (stream) => edit(second(stream), '"run_1"', '"run_2"')),
      ],
      'tampered',
    );
    const cut = join(place(), '..');
    cpSync(large.path, cut, { recursive: true });
    truncateSync(segment(join(cut, 'control')), Buffer.byteLength(`${whole.slice(0, -2).join('\n')}\n`));
    const extended = join(place(), '..');
    cpSync(large.path, extended, { recursive: true });
    const stray = readFileSync(second(join(extended, 'control')), 'utf8').split('\n')[0]!;
    appendFileSync(segment(join(extended, 'control')), `${stray}\n`);
    await agree([join(cut, 'control'), join(extended, 'control')], 'tampered');
  });
});
