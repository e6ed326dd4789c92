import assert from 'node:assert/strict';
import { generateKeyPairSync } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { attempt } from '../../../tests/support/audit.ts';
import { actorOf, callerOf, TestControl, withCode } from '../../../tests/support/test-control.ts';
import { parseCheckpoint } from '../../audit/checkpoint.ts';
import type { AuditEvent } from '../../audit/event.ts';
import { noteSigner, parseVerifierKey } from '../../audit/signed-note.ts';
import { type EvidenceOptions, isEvidence, verifyEvidence } from '../../audit/verify-evidence.ts';
import type { EvidenceQuery } from '../../contract/audit-schemas.ts';
import type { RunId } from '../../model/ids.ts';
import type { Caller } from '../control.ts';

const ann = callerOf(actorOf('ann'));
const auditor = callerOf(actorOf('eve', 'all', ['audit:read']));
const narrow = callerOf(actorOf('bob', 'own', ['audit:read']));

async function linesOf(test: TestControl, caller: Caller, query: EvidenceQuery): Promise<string[]> {
  const lines: string[] = [];
  for await (const line of await test.control.auditEvidence.export(caller, query))
    lines.push(line.toString());
  return lines;
}

async function judge(test: TestControl, lines: readonly string[] | Buffer, options: EvidenceOptions = {}) {
  const path = join(test.folder, 'evidence.json');
  writeFileSync(path, Buffer.isBuffer(lines) ? lines : lines.map((line) => `${line}\n`).join(''));
  const events: AuditEvent[] = [];
  const verdict = await verifyEvidence(path, { ...options, onEvent: (event) => events.push(event) });
  return { ...verdict, found: events, path };
}

describe('a bundle of evidence', () => {
  it('proves the events of a session, and who asked for them, by itself', async () => {
    await using test = await TestControl.open();
    const session = await test.session(ann);
    await test.session(ann);
    const verdict = await judge(test, await linesOf(test, auditor, { session }));
    assert.equal(verdict.status, 'intact', JSON.stringify(verdict.problem));
    assert(await isEvidence(verdict.path));
    assert.deepEqual(
      verdict.found.map(({ action, phase, actor }) => `${actor.id} ${action} ${phase}`),
      ['user:ann session.create attempt', 'user:ann session.create outcome'],
    );
    assert.equal(verdict.request?.by, 'user:eve');
    assert.deepEqual(verdict.request?.asked, { session });
    const [stream] = verdict.streams;
    assert.equal(stream?.events, 2);
    assert.equal(stream.keys[0], test.audit.key());
    assert(parseCheckpoint(stream.checkpoint.note));
    const key = parseVerifierKey(test.audit.key())!;
    assert.equal((await judge(test, readLines(verdict.path), { keys: [key] })).status, 'intact');
    const stranger = noteSigner(key.name, generateKeyPairSync('ed25519').privateKey).key;
    const distrusted = await judge(test, readLines(verdict.path), { keys: [stranger] });
    assert.equal(distrusted.status, 'tampered');
    assert.match(distrusted.problem!.what, /not among the keys/);
  });

  it('of a time holds everything in between, and says so, also while the log goes on', async () => {
    await using test = await TestControl.open();
    await test.session(ann);
    const taken = await test.control.auditEvidence.export(auditor, { since: '2000-01-01T00:00:00.000Z' });
    const lines: string[] = [];
    for await (const line of taken) {
      lines.push(line.toString());
      if (lines.length < 20) await test.audit.append(attempt('meanwhile'));
    }
    const verdict = await judge(test, lines);
    assert.equal(verdict.status, 'intact', JSON.stringify(verdict.problem));
    const { isWhole, first, last, events } = verdict.streams[0]!;
    assert.deepEqual({ isWhole, first, events }, { isWhole: true, first: 1, events: last });
    assert(!verdict.found.some(({ action }) => action === 'meanwhile'));
    const without = lines.filter((line) => !line.includes(`\\"seq\\":3,`));
    assert.equal(without.length, lines.length - 1);
    assert.equal((await judge(test, without)).status, 'tampered');
  });

  it('is signed by keys that were rotated, and held against a checkpoint of its own', async () => {
    await using test = await TestControl.open();
    const old = test.audit.key();
    const session = await test.session(ann);
    await test.control.auditProofs.rotateKey(callerOf(actorOf('root', 'all', ['*'])));
    await test.session(ann);
    const lines = await linesOf(test, auditor, { session });
    const keys = [parseVerifierKey(old)!];
    const verdict = await judge(test, lines, { keys });
    assert.equal(verdict.status, 'intact', JSON.stringify(verdict.problem));
    assert.deepEqual(verdict.streams[0]?.keys, [old, test.audit.key()]);
    const own = parseCheckpoint(verdict.streams[0]!.checkpoint.note)!;
    assert.equal((await judge(test, lines, { kept: [own] })).status, 'intact');
    assert.equal(
      (await judge(test, lines, { kept: [{ ...own, root: Buffer.alloc(32) }] })).status,
      'tampered',
    );
    assert.equal((await judge(test, lines, { kept: [{ ...own, size: 1 }] })).status, 'unreadable');
    const unrotated = lines.filter((line) => !line.includes('audit.key.rotated'));
    assert.equal((await judge(test, unrotated)).status, 'tampered');
  });

  it('is on the record, with the hash of what was given out, and does not happen where it cannot be', async () => {
    await using test = await TestControl.open();
    await test.session(ann);
    await linesOf(test, auditor, { since: '2000-01-01T00:00:00.000Z' });
    await test.control.audit.list(auditor, {});
    const { items } = await test.control.audit.list(auditor, { action: 'audit.export', order: 'oldest' });
    assert.deepEqual(items[0]?.data, { evidence: true, since: '2000-01-01T00:00:00.000Z' });
    assert.match(JSON.stringify(items[1]?.data), /"sha256":"[0-9a-f]{64}"/);
    test.auditFails = true;
    await assert.rejects(
      linesOf(test, auditor, { since: '2000-01-01T00:00:00.000Z' }),
      withCode('audit.unavailable'),
    );
  });

  it('of a run has the hashes of its files, which the log vouches for, and the events of every stream', async () => {
    await using test = await TestControl.open();
    const run = (await test.run(ann, await test.session(ann))).id as RunId;
    await test.runner.until(() => test.runner.live.has(run));
    const info = { name: 'diff', mediaType: 'text/x-diff', bytes: 5, sha256: 'a'.repeat(64) };
    test.runner.artifacts.set(run, [{ info, bytes: Buffer.from('12345') }]);
    test.runner.running(run);
    test.runner.finish(run);
    await test.finished(ann, run);
    const lines = await linesOf(test, auditor, { run });
    const verdict = await judge(test, lines);
    assert.equal(verdict.status, 'intact', JSON.stringify(verdict.problem));
    assert.deepEqual(verdict.artifacts, [{ run, ...info }]);
    const forged = lines.map((line) => line.replace('a'.repeat(64), 'b'.repeat(64)));
    assert.match((await judge(test, forged)).problem!.what, /not those that the log says/);
    const all = await judge(test, await linesOf(test, auditor, { since: '2000-01-01T00:00:00.000Z' }));
    assert.equal(all.status, 'intact', JSON.stringify(all.problem));
    assert.deepEqual(
      all.streams.map(({ stream }) => stream).sort(),
      ['control', test.runner.record.stream].sort(),
    );
    assert(all.streams.every(({ isWhole }) => isWhole));
  });

  it('needs its scope and a question, and shows small reach only its own acts', async () => {
    await using test = await TestControl.open();
    const session = await test.session(ann);
    await assert.rejects(linesOf(test, ann, { session }), withCode('access.denied'));
    await assert.rejects(linesOf(test, auditor, {}), withCode('request.invalid'));
    const both = { session, run: 'run_01kamcq5r8v0x4m2e7hj9n3tzb' } as const;
    await assert.rejects(linesOf(test, auditor, both), withCode('request.invalid'));
    const foreign = await judge(test, await linesOf(test, narrow, { session }));
    assert.equal(foreign.status, 'intact', JSON.stringify(foreign.problem));
    assert.deepEqual(foreign.found, []);
    assert.equal(foreign.request?.asked.actor, 'user:bob');
    const own = await judge(test, await linesOf(test, narrow, { since: '2000-01-01T00:00:00.000Z' }));
    assert.deepEqual(new Set(own.found.map(({ actor }) => actor.id)), new Set(['user:bob']));
  });
});

function readLines(path: string): string[] {
  return readFileSync(path, 'utf8').split('\n').slice(0, -1);
}

describe('a bundle that was changed does not verify', () => {
  it('whatever byte of it, and wherever lines are dropped, moved or taken from another', async () => {
    await using test = await TestControl.open();
    const session = await test.session(ann);
    const lines = await linesOf(test, auditor, { session });
    const content = Buffer.from(lines.map((line) => `${line}\n`).join(''));
    assert.equal((await judge(test, content)).status, 'intact', 'control');
    for (let at = 0; at < content.length; at += 3) {
      const flipped = Buffer.from(content);
      flipped[at]! ^= 1 << (at % 7);
      assert.notEqual(
        (await judge(test, flipped)).status,
        'intact',
        `byte ${at}: ${content.toString('utf8', at - 20, at + 20)}`,
      );
    }
    for (let at = 0; at < content.length; at += 97)
      assert.notEqual((await judge(test, content.subarray(0, at))).status, 'intact', `cut at ${at}`);
    for (let at = 0; at < lines.length; at += 1) {
      assert.notEqual((await judge(test, lines.toSpliced(at, 1))).status, 'intact', `without line ${at}`);
      assert.notEqual(
        (await judge(test, lines.toSpliced(at, 0, lines[at]!))).status,
        'intact',
        `line ${at} twice`,
      );
      const moved = lines.toSpliced(at, 1).toSpliced((at + 1) % lines.length, 0, lines[at]!);
      assert.notEqual((await judge(test, moved)).status, 'intact', `line ${at} moved`);
    }
    await using elsewhere = await TestControl.open();
    await elsewhere.session(ann);
    const others = await linesOf(elsewhere, auditor, { session });
    const stream = (all: readonly string[]) => all.findIndex((line) => line.startsWith('{"checkpoint"'));
    assert.notEqual((await judge(test, lines.with(stream(lines), others[stream(others)]!))).status, 'intact');
  });

  it('and nothing else is taken for one', async () => {
    await using test = await TestControl.open();
    const path = join(test.folder, 'other');
    for (const text of ['', '{}\n', '{"sealwright-evidence":2}\n', '{"sealwright-evidence":1}']) {
      writeFileSync(path, text);
      assert.equal(await isEvidence(path), false, text);
      assert.notEqual((await verifyEvidence(path)).status, 'intact', text);
    }
    assert.equal(await isEvidence('/dev/zero'), false);
    assert.equal((await verifyEvidence(join(test.folder, 'absent'))).status, 'unreadable');
    writeFileSync(path, `{"sealwright-evidence":1}\n${'x'.repeat(10_000_000)}`);
    assert.equal((await verifyEvidence(path)).status, 'tampered');
  });
});
