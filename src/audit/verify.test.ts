import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { chmodSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import fc from 'fast-check';
import { attempt, chainOf, temporaryFolder } from '../../tests/support/audit.ts';
import { type AuditEvent, type EventId, type NewEvent, noHash } from './event.ts';
import { auditLimits, verifyLimits } from './limits.ts';
import { linkTo } from './line-hash.ts';
import { exitCodeOf, type StreamVerdict, verifyStreams } from './verify.ts';

const request = { id: 'req_1', address: '127.0.0.1', userAgent: 'curl/8 "ü" \u0007' };

function sampleEvents(count: number, tag = 'run'): NewEvent[] {
  return Array.from({ length: count }, (_, index): NewEvent => {
    const event = attempt(`${tag}.${index}`, { request, data: { n: index, list: [true, null, 'ü\n'] } });
    return index % 3 === 0
      ? event
      : { ...event, phase: 'outcome', outcome: 'failed', of: `evt_${index}` as EventId };
  });
}

const folder = temporaryFolder();
after(() => folder[Symbol.dispose]());
const path = join(folder.path, 'control.jsonl');

async function judge(content: string | Buffer): Promise<StreamVerdict> {
  writeFileSync(path, content);
  return (await verifyStreams([path])).streams[0]!;
}

function fileOf(lines: readonly string[]): string {
  return lines.map((line) => `${line}\n`).join('');
}

/** The same lines with hashes made anew, as somebody would who can write the whole file. */
function rechained(lines: readonly string[], encoding: 'utf8' | 'latin1' = 'utf8'): string[] {
  let prev = noHash;
  return lines.map((line) => {
    const linked = line.replace(/"prev":"[0-9a-f]{64}"/, `"prev":"${prev}"`);
    prev = linkTo(Buffer.from(linked, encoding), 2);
    return linked;
  });
}

const lines = chainOf('control', sampleEvents(40));
const other = chainOf('control', sampleEvents(40, 'other'));
const foreign = chainOf('runner', sampleEvents(40));

describe('an untouched log', () => {
  test('is intact, and the verdict says where it stands', async () => {
    assert.deepEqual(await judge(fileOf(lines)), {
      path,
      status: 'intact',
      stream: 'control',
      events: 40,
      lastSeq: 40,
      head: linkTo(Buffer.from(lines[39]!), 2),
    });
  });

  test('is intact however its lines fall into blocks', async () => {
    const wide = sampleEvents(1200).map((event, index) => ({
      ...event,
      data: { x: 'é'.repeat((index * 37) % 1000) },
    }));
    const content = fileOf(chainOf('control', wide));
    assert.ok(Buffer.byteLength(content) > verifyLimits.blockBytes);
    const progress: number[] = [];
    writeFileSync(path, content);
    const verdict = await verifyStreams([path], { onProgress: ({ bytes }) => progress.push(bytes) });
    assert.equal(verdict.status, 'intact');
    assert.equal(verdict.streams[0]?.events, 1200);
    assert.ok(progress.length >= 2);
    assert.equal(progress.at(-1), Buffer.byteLength(content));
  });

  test('with a torn last line is intact, and the torn bytes are told', async () => {
    for (const torn of [1, 100, lines[39]!.length]) {
      const verdict = await judge(fileOf(lines.slice(0, 39)) + lines[39]!.slice(0, torn));
      assert.equal(verdict.status, 'intact');
      assert.equal(verdict.events, 39);
      assert.equal(verdict.torn, Buffer.byteLength(lines[39]!.slice(0, torn)));
    }
  });
});

describe('a tampered log', () => {
  async function tampered(content: string | Buffer, seq: number, what: RegExp): Promise<void> {
    const { status, problem } = await judge(content);
    assert.equal(status, 'tampered');
    assert.equal(problem?.seq, seq);
    assert.match(problem?.what ?? '', what);
  }

  test('names the event that was changed, whichever field', async () => {
    const event = JSON.parse(lines[9]!) as AuditEvent;
    for (const field of Object.keys(event)) {
      const at = lines[9]!.indexOf(`"${field}":`) + field.length + 3;
      const offset = /[a-z0-9]/.exec(lines[9]!.slice(at))!.index + at;
      const flipped = lines[9]![offset] === '1' ? '2' : '1';
      const line = `${lines[9]!.slice(0, offset)}${flipped}${lines[9]!.slice(offset + 1)}`;
      await tampered(fileOf(lines.with(9, line)), 10, /./);
    }
  });

  test('missing lines are told from moved, repeated and inserted ones', async () => {
    await tampered(fileOf(lines.slice(1)), 1, /events 1 to 1 are missing/);
    await tampered(fileOf(lines.toSpliced(9, 3)), 10, /events 10 to 12 are missing/);
    await tampered(fileOf(lines.toSpliced(9, 0, lines[8]!)), 10, /event 9 stands here again/);
    await tampered(fileOf(lines.toSpliced(9, 2, lines[10]!, lines[9]!)), 10, /missing or out of order/);
    await tampered(fileOf(lines.toSpliced(9, 0, other[9]!)), 10, /changed/);
    await tampered(fileOf(lines.toSpliced(9, 0, foreign[9]!)), 10, /stream "runner"/);
    await tampered(fileOf(lines.toSpliced(9, 1, other[9]!)), 10, /changed, or put here/);
    await tampered(fileOf(lines.toSpliced(9, 0, '')), 10, /not JSON/);
  });

  test('two logs spliced together do not pass for one', async () => {
    await tampered(fileOf([...lines.slice(0, 20), ...other.slice(20)]), 20, /changed/);
    await tampered(fileOf([...lines, ...other]), 41, /event 1 stands here again/);
    await tampered(fileOf([...lines, ...foreign]), 41, /stream "runner"/);
  });

  test('line endings, byte order marks, white space and NULs are found', async () => {
    await tampered(fileOf(lines).replaceAll('\n', '\r\n'), 1, /not in canonical spelling/);
    await tampered(fileOf(lines.with(9, `${lines[9]}\r`)), 10, /canonical/);
    await tampered(`\ufeff${fileOf(lines)}`, 1, /./);
    await tampered(`${fileOf(lines)}\n`, 41, /not JSON/);
    await tampered(`${fileOf(lines)}\0\0\0\n`, 41, /not JSON/);
    await tampered(Buffer.concat([Buffer.from(fileOf(lines)), Buffer.from([0xff, 0x0a])]), 41, /UTF-8/);
  });

  test('bytes behind the last line that are longer than any torn line are found', async () => {
    const tail = 'x'.repeat(auditLimits.lineBytesMax);
    await tampered(fileOf(lines) + tail, 41, /longer than any event/);
    await tampered(`${fileOf(lines)}${tail}\n`, 41, /longer than any event/);
  });

  test('other spellings of the same JSON are found even where every hash was made anew', async () => {
    const respell = (from: string, to: string) => lines.with(9, lines[9]!.replace(from, to));
    const respelled = [
      respell('"seq":10', '"seq":10.0'),
      respell('"seq":10', '"seq":1e1'),
      respell('"seq":10', '"seq": 10'),
      respell('"v":2}', '"v":2,"v":2}'),
      respell('"action":"run.9"', '"action":"run.8","action":"run.9"'),
      respell('"action":"run.9"', '"action":"run\\u002e9"'),
      respell('"action":"run.9"', '"action":"run.\\u0039"'),
      respell('"phase":"attempt"', '"phase":"attempt","outcome":"allowed"'),
      respell('"ü\\n"', '"\\u00fc\\n"'),
      respell('"ü\\n"', '"ü\\u000a"'),
      respell('"n":9', '"n":9,"n":9'),
      respell('"list":[true,null,"ü\\n"],"n":9', '"n":9,"list":[true,null,"ü\\n"]'),
      respell('"n":9', '"n":-0'),
      respell('"n":9', '"n":9,"o":"\\ud800"'),
      respell('"v":2}', '"v":2,"w":1}'),
      respell('"v":2}', '"v":3}'),
    ];
    for (const changed of respelled) {
      assert.notEqual(changed[9], lines[9]);
      await tampered(fileOf(rechained(changed)), 10, /not in canonical spelling|not an event|not JSON/);
    }
    const harmless = await judge(fileOf(rechained(respell('"n":9', '"n":8'))));
    assert.equal(harmless.status, 'intact', 'control: the hashes of these logs are right');
  });

  test('bytes that are no UTF-8 and events over their bound are found even where every hash was made anew', async () => {
    const bytes = (line: string) => Buffer.from(line, 'latin1');
    const plain = Array.from({ length: 20 }, (_, index) => attempt(`run.${index}`, { data: { pad: '' } }));
    const made = chainOf('control', plain);
    const broken = rechained(made.with(9, made[9]!.replace('run.9', 'run\u00ff')), 'latin1');
    await tampered(Buffer.concat(broken.map((line) => bytes(`${line}\n`))), 10, /UTF-8/);
    const pad = (length: number) => `"pad":"${'x'.repeat(length)}"`;
    const wide = rechained(made.with(9, made[9]!.replace(pad(0), pad(auditLimits.lineBytesMax))));
    await tampered(fileOf(wide), 10, /longer than any event/);
    const harmless = await judge(fileOf(rechained(made.with(9, made[9]!.replace(pad(0), pad(1000))))));
    assert.equal(harmless.status, 'intact', 'control');
  });

  test('of two thousand random changes before the last line, none is accepted', async () => {
    const content = Buffer.from(fileOf(lines));
    const lastLine = content.lastIndexOf(0x0a, content.length - 2) + 1;
    const anyBytes = fc.uint8Array({ maxLength: 8 });
    const offset = fc.integer({ min: 0, max: lastLine - 1 });
    const change = fc.oneof(
      fc.record({ at: offset, flip: fc.integer({ min: 1, max: 255 }) }),
      fc.record({ at: offset, remove: fc.integer({ min: 0, max: 40 }), insert: anyBytes }),
      fc.record({ line: fc.nat(38), moveTo: fc.nat(38) }),
      fc.record({ line: fc.nat(38), drop: fc.integer({ min: 1, max: 5 }) }),
      fc.record({
        line: fc.nat(38),
        from: fc.constantFrom(lines, other, foreign),
        pick: fc.nat(39),
        replace: fc.boolean(),
      }),
    );
    let changes = 0;
    await fc.assert(
      fc.asyncProperty(change, async (mutation) => {
        const bytes = mutate(content, mutation);
        if (bytes.equals(content)) return;
        changes += 1;
        assert.equal((await judge(bytes)).status, 'tampered');
      }),
      { numRuns: 2_600 },
    );
    assert.ok(changes >= 2_000, `${changes} changes`);
  });

  type Mutation =
    | { at: number; flip: number }
    | { at: number; remove: number; insert: Uint8Array }
    | { line: number; moveTo: number }
    | { line: number; drop: number }
    | { line: number; from: readonly string[]; pick: number; replace: boolean };

  function mutate(content: Buffer, mutation: Mutation): Buffer {
    if ('flip' in mutation) {
      const bytes = Buffer.from(content);
      bytes[mutation.at]! ^= mutation.flip;
      return bytes;
    }
    if ('insert' in mutation) {
      const { at, remove, insert } = mutation;
      return Buffer.concat([content.subarray(0, at), insert, content.subarray(at + remove)]);
    }
    const { line } = mutation;
    if ('moveTo' in mutation) {
      return Buffer.from(fileOf(lines.toSpliced(line, 1).toSpliced(mutation.moveTo, 0, lines[line]!)));
    }
    // The last line stays, or this would be a truncation.
    if ('drop' in mutation)
      return Buffer.from(fileOf(lines.toSpliced(line, Math.min(mutation.drop, 39 - line))));
    return Buffer.from(
      fileOf(lines.toSpliced(line, mutation.replace ? 1 : 0, mutation.from[mutation.pick]!)),
    );
  }
});

describe('known limits of a chain without checkpoints: these pass, and must not be relied on', () => {
  test('a cut at the end, a replaced last line and a suffix made anew are not found', async () => {
    const changedLast = lines.with(39, lines[39]!.replace('run.39', 'run.00'));
    for (const passing of [
      lines.slice(0, 20),
      changedLast,
      [...lines.slice(0, 20), ...rechained(lines).slice(20)],
    ]) {
      assert.equal((await judge(fileOf(passing))).status, 'intact');
    }
  });

  test('the head tells them apart from what was noted before', async () => {
    const { head } = await judge(fileOf(lines));
    assert.notEqual((await judge(fileOf(lines.slice(0, 39)))).head, head);
    assert.notEqual((await judge(fileOf(lines.with(39, lines[39]!.replace('run.39', 'run.00'))))).head, head);
  });
});

describe('what cannot be judged is unreadable', () => {
  async function unreadable(paths: string[], what: RegExp): Promise<void> {
    const verdict = await verifyStreams(paths);
    assert.equal(verdict.status, 'unreadable');
    assert.match(verdict.streams[0]?.problem?.what ?? '', what);
    assert.equal(exitCodeOf(verdict), 2);
  }

  test('a missing path, an empty file, a file with a torn line alone, no path at all', async () => {
    await unreadable([join(folder.path, 'absent.jsonl')], /ENOENT/);
    writeFileSync(path, '');
    await unreadable([path], /no event/);
    writeFileSync(path, '{"action":');
    await unreadable([path], /no event/);
    assert.equal((await verifyStreams([])).status, 'unreadable');
  });

  test('a folder without logs, a device, a named pipe', async () => {
    const empty = join(folder.path, 'empty');
    mkdirSync(empty);
    await unreadable([empty], /no segment/);
    await unreadable(['/dev/zero'], /not a regular file/);
    const pipe = join(folder.path, 'pipe');
    execFileSync('mkfifo', [pipe]);
    await unreadable([pipe], /not a regular file/);
  });

  const root = process.getuid?.() === 0 ? 'root may read every file' : false;
  test('a file that may not be read', { skip: root }, async () => {
    writeFileSync(path, fileOf(lines));
    chmodSync(path, 0);
    await unreadable([path], /EACCES/);
    chmodSync(path, 0o600);
  });
});

describe('several streams', () => {
  test('a folder stands for its logs, which must be named for their streams', async () => {
    const logs = join(folder.path, 'logs');
    mkdirSync(logs);
    const old = (stream: string) => fileOf(chainOf(stream, sampleEvents(40), 1));
    writeFileSync(join(logs, 'control.jsonl'), old('control'));
    writeFileSync(join(logs, 'runner.jsonl'), old('runner'));
    writeFileSync(join(logs, 'control.lock'), '');
    const verdict = await verifyStreams([logs]);
    assert.equal(exitCodeOf(verdict), 0);
    assert.deepEqual(
      verdict.streams.map(({ stream, events }) => [stream, events]),
      [
        ['control', 40],
        ['runner', 40],
      ],
    );
    writeFileSync(join(logs, 'runner.jsonl'), old('control'));
    const swapped = await verifyStreams([logs]);
    assert.equal(exitCodeOf(swapped), 1);
    assert.match(swapped.streams[1]?.problem?.what ?? '', /stream "control", not "runner"/);
  });

  test('a log of today is no single file in a folder of logs: its checkpoint would be missing', async () => {
    const logs = join(folder.path, 'single');
    mkdirSync(logs);
    writeFileSync(join(logs, 'control.jsonl'), fileOf(lines));
    const verdict = await verifyStreams([logs]);
    assert.equal(exitCodeOf(verdict), 1);
    assert.match(verdict.streams[0]?.problem?.what ?? '', /lies here as a single file/);
  });

  test('tampering outweighs what could not be read', async () => {
    writeFileSync(path, fileOf(lines.toSpliced(3, 1)));
    const verdict = await verifyStreams([join(folder.path, 'absent.jsonl'), path]);
    assert.equal(verdict.status, 'tampered');
    assert.equal(exitCodeOf(verdict), 1);
  });
});
