import assert from 'node:assert/strict';
import { generateKeyPairSync } from 'node:crypto';
import {
  appendFileSync,
  cpSync,
  existsSync,
  readFileSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import {
  attempt,
  chainOf,
  eventId,
  eventsIn,
  faultyDisk,
  manualClock,
  segmentOf,
  temporaryFolder,
  testSigningKeys,
} from '../../tests/support/audit.ts';
import { Fault } from '../contract/faults.ts';
import { parseCheckpoint } from './checkpoint.ts';
import { auditLimits } from './limits.ts';
import { type AuditLogOptions, openAuditLog, type SignedAuditLog } from './log.ts';
import { leafHash } from './merkle.ts';
import { verifyConsistency, verifyInclusion } from './merkle-verify.ts';
import { hashesPath } from './segment-hashes.ts';
import { segmentEvents } from './segments.ts';
import { parseVerifierKey, signedBy } from './signed-note.ts';
import { type VerifyOptions, verifyStreams } from './verify.ts';

function openIn(folder: string, setup: Partial<AuditLogOptions> = {}): Promise<SignedAuditLog> {
  return openAuditLog({
    folder,
    stream: 'control',
    clock: manualClock(),
    newId: eventId,
    signingKeys: testSigningKeys,
    ...setup,
  });
}

async function append(log: SignedAuditLog, count: number): Promise<void> {
  for (let left = count; left > 0; left -= 1_000)
    await Promise.all(Array.from({ length: Math.min(left, 1_000) }, () => log.append(attempt('run.create'))));
}

async function verdictOf(folder: string, options: VerifyOptions = {}) {
  const { streams } = await verifyStreams([join(folder, 'control')], options);
  return streams[0]!;
}

function isUnavailable(message: RegExp): (error: unknown) => boolean {
  return (error) =>
    error instanceof Fault && error.code === 'audit.unavailable' && message.test(error.message);
}

describe('checkpoints', () => {
  test('are there from the beginning, are signed by the key that the stream names, and again when it is closed', async () => {
    using folder = temporaryFolder();
    const log = await openIn(folder.path);
    const first = log.checkpoint();
    assert.equal(first.size, 1);
    assert.match(first.origin, /^audit\.sealwright\.internal\/evt_[0-9a-z]+\/control$/);
    await log.append(attempt('run.create'));
    assert.equal(log.checkpoint().size, 1, 'not at every event');
    const text = () => readFileSync(join(folder.path, 'control', 'checkpoint'), 'utf8');
    assert.equal(text(), first.note);
    await log.close();
    const last = parseCheckpoint(text());
    assert.equal(last?.size, 2);
    const key = parseVerifierKey(eventsIn(segmentOf(folder.path))[0]!.data!.key as string);
    assert.equal(signedBy(last!.note, [key!])?.text, log.key());
    const again = await openIn(folder.path);
    assert.equal(again.checkpoint().origin, first.origin);
    await again.close();
  });

  test('follow after checkpointEventsMax events, and after checkpointEveryMs where there are fewer', async (t) => {
    t.mock.timers.enable({ apis: ['setTimeout'] });
    using folder = temporaryFolder();
    const log = await openIn(folder.path);
    const sizes: number[] = [];
    let told = Promise.withResolvers<void>();
    log.onCheckpoint(({ size }) => {
      sizes.push(size);
      told.resolve();
    });
    await append(log, auditLimits.checkpointEventsMax);
    await told.promise;
    assert.deepEqual(sizes, [auditLimits.checkpointEventsMax + 1]);
    told = Promise.withResolvers<void>();
    await append(log, 1);
    t.mock.timers.tick(auditLimits.checkpointEveryMs - 1);
    assert.equal(sizes.length, 1);
    t.mock.timers.tick(1);
    await told.promise;
    assert.deepEqual(sizes.at(-1), auditLimits.checkpointEventsMax + 2);
    t.mock.timers.reset();
    await log.close();
  });

  test('that cannot be written make the log refuse, until they can', async () => {
    using folder = temporaryFolder();
    const disk = faultyDisk();
    const clock = manualClock();
    const log = await openIn(folder.path, { disk, clock });
    disk.judge = (call) => (call === 'open' ? { code: 'ENOSPC' } : 'pass');
    await append(log, auditLimits.checkpointEventsMax);
    while (log.health().ok) await new Promise((resolve) => setImmediate(resolve));
    await assert.rejects(log.append(attempt('refused')), isUnavailable(/ENOSPC/));
    disk.judge = () => 'pass';
    clock.advance(auditLimits.recoveryEveryMs);
    await log.append(attempt('after'));
    assert.deepEqual(log.health(), { ok: true });
    const own = eventsIn(segmentOf(folder.path)).map(({ action }) => action);
    assert.deepEqual(own.slice(-2), ['audit.gap', 'after']);
    await log.close();
    assert.equal((await verdictOf(folder.path)).status, 'intact');
  });

  test('of what was signed already are not written again, but by another key', async () => {
    using folder = temporaryFolder();
    const log = await openIn(folder.path);
    await log.append(attempt('run.create'));
    const signed = await log.sign();
    let written = 0;
    log.onCheckpoint(() => {
      written += 1;
    });
    assert.equal((await log.sign()).note, signed.note);
    assert.equal(written, 0);
    await log.rotateKey(generateKeyPairSync('ed25519').privateKey);
    assert.equal(written, 1);
    await log.close();
    assert.equal((await verdictOf(folder.path)).status, 'intact');
  });

  test('that are asked for while others are written come one after the other', async () => {
    using folder = temporaryFolder();
    const log = await openIn(folder.path);
    const sizes: number[] = [];
    log.onCheckpoint(({ size }) => sizes.push(size));
    const text = () => readFileSync(join(folder.path, 'control', 'checkpoint'), 'utf8');
    for (let round = 0; round < 20; round += 1) {
      const written = append(log, auditLimits.checkpointEventsMax);
      const signed = await Promise.all([log.sign(), written.then(() => log.sign()), log.sign()]);
      assert.equal(signed[1]!.size, log.head().seq);
      assert.equal(text(), log.checkpoint().note);
    }
    assert.deepEqual(log.health(), { ok: true });
    assert.deepEqual(
      sizes,
      sizes.toSorted((a, b) => a - b),
    );
    await log.close();
    assert.equal((await verdictOf(folder.path)).status, 'intact');
  });

  test('prove every event, and every earlier checkpoint', async () => {
    using folder = temporaryFolder();
    const log = await openIn(folder.path);
    const first = log.checkpoint();
    await append(log, 300);
    const { size, root } = await log.sign();
    const lines = readFileSync(segmentOf(folder.path), 'utf8').split('\n');
    for (const index of [0, 1, 150, size - 1]) {
      const leaf = leafHash(Buffer.from(lines[index]!));
      assert(verifyInclusion(leaf, index, size, await log.tree.inclusion(index, size), root));
    }
    const proof = await log.tree.consistency(first.size, size);
    assert(verifyConsistency(first.size, size, proof, first.root, root));
    await log.close();
  });
});

describe('a stream that is not what was signed does not open', () => {
  const tamper: [what: string, act: (folder: string) => void, reason: RegExp][] = [
    ['was cut', (folder) => cutLines(segmentOf(folder), 2), /cut or rolled back/],
    [
      'has another event',
      (folder) => replaceIn(segmentOf(folder), '"run_1"', '"run_2"'),
      /does not hold what its newest checkpoint says|damaged|does not continue/,
    ],
    ['has no checkpoint', (folder) => rmSync(join(folder, 'control', 'checkpoint')), /is missing/],
    ['has half a checkpoint', (folder) => truncateSync(join(folder, 'control', 'checkpoint'), 60), /damaged/],
    [
      'has a checkpoint of another size',
      (folder) => replaceIn(join(folder, 'control', 'checkpoint'), '\n5\n', '\n4\n'),
      /not signed by the key/,
    ],
  ];
  for (const [what, act, reason] of tamper) {
    test(`because it ${what}`, async () => {
      using folder = temporaryFolder();
      const log = await openIn(folder.path);
      await append(log, 4);
      await log.close();
      act(folder.path);
      await assert.rejects(openIn(folder.path), isUnavailable(reason));
      const files = readFileSync(segmentOf(folder.path), 'utf8');
      await assert.rejects(openIn(folder.path), isUnavailable(reason));
      assert.equal(readFileSync(segmentOf(folder.path), 'utf8'), files, 'and is left as it is');
      assert.equal((await verdictOf(folder.path)).status, 'tampered');
    });
  }

  test('because this server has another key', async () => {
    using folder = temporaryFolder();
    await (await openIn(folder.path)).close();
    const signingKeys = [generateKeyPairSync('ed25519').privateKey];
    await assert.rejects(openIn(folder.path, { signingKeys }), isUnavailable(/not signed by the key/));
    await (await openIn(folder.path, { signingKeys: [...signingKeys, ...testSigningKeys] })).close();
  });
});

describe('a stream that was rolled back with its checkpoint does not open', () => {
  async function rolledBack(act: (stream: string, older: string) => void, reason: RegExp): Promise<void> {
    using folder = temporaryFolder();
    const keptCheckpoint = join(folder.path, 'audit.checkpoint');
    const [audit, older] = [join(folder.path, 'audit'), join(folder.path, 'older')];
    const log = await openIn(audit, { keptCheckpoint });
    await append(log, 3);
    await log.close();
    cpSync(join(audit, 'control'), older, { recursive: true });
    const later = await openIn(audit, { keptCheckpoint });
    await append(later, 5);
    await later.close();
    await (await openIn(audit, { keptCheckpoint })).close();
    act(join(audit, 'control'), older);
    await assert.rejects(openIn(audit, { keptCheckpoint }), isUnavailable(reason));
  }
  const restore = (stream: string, older: string) => {
    rmSync(stream, { recursive: true });
    cpSync(older, stream, { recursive: true });
  };

  test('because an older copy was put in its place', () => rolledBack(restore, /cut or rolled back/));

  test('because it was cut to its first line and lost its checkpoint', () =>
    rolledBack((stream) => {
      rmSync(join(stream, 'checkpoint'));
      const first = join(stream, '0000000000000001.jsonl');
      writeFileSync(first, `${readFileSync(first, 'utf8').split('\n')[0]}\n`);
    }, /not the log that this server signed last|cut or rolled back/));

  test('because it is gone', () =>
    rolledBack((stream) => rmSync(stream, { recursive: true }), /not the log that this server signed last/));

  test('but one of before a crash between the two copies does', async () => {
    using folder = temporaryFolder();
    const keptCheckpoint = join(folder.path, 'audit.checkpoint');
    const log = await openIn(folder.path, { keptCheckpoint });
    const kept = readFileSync(keptCheckpoint);
    await append(log, 3);
    await log.close();
    writeFileSync(keptCheckpoint, kept);
    const again = await openIn(folder.path, { keptCheckpoint });
    await again.close();
    assert(!readFileSync(keptCheckpoint).equals(kept), 'and is brought up to date');
  });
});

describe('keys', () => {
  const next = generateKeyPairSync('ed25519').privateKey;

  test('are rotated in the stream, signed by the one before, so that either is trusted', async () => {
    using folder = temporaryFolder();
    const log = await openIn(folder.path);
    const before = log.key();
    await append(log, 3);
    await log.rotateKey(next);
    const after = log.key();
    await append(log, 3);
    await log.close();
    const again = await openIn(folder.path, { signingKeys: [...testSigningKeys, next] });
    assert.equal(again.key(), after);
    await again.close();
    await assert.rejects(openIn(folder.path), isUnavailable(/not signed by the key/));
    const trusting = (text: string) => verdictOf(folder.path, { keys: [parseVerifierKey(text)!] });
    assert.equal((await trusting(before)).status, 'intact');
    assert.equal((await trusting(after)).status, 'intact');
    const stranger = generateKeyPairSync('ed25519').privateKey;
    using elsewhere = temporaryFolder();
    const other = await openIn(elsewhere.path, { signingKeys: [stranger] });
    const verdict = await trusting(other.key());
    await other.close();
    assert.equal(verdict.status, 'tampered');
    assert.match(verdict.problem!.what, /not among the keys that were given/);
  });

  test('that are rotated at the same time, while others sign, follow each other', async () => {
    using folder = temporaryFolder();
    const log = await openIn(folder.path);
    const keys = Array.from({ length: 4 }, () => generateKeyPairSync('ed25519').privateKey);
    for (let round = 0; round < 5; round += 1) {
      await Promise.all([
        append(log, 100),
        ...keys.map((one) => log.rotateKey(one)),
        log.sign(),
        append(log, auditLimits.checkpointEventsMax),
        log.sign(),
      ]);
      const verdict = await verdictOf(folder.path);
      assert.equal(verdict.status, 'intact', verdict.problem?.what);
      assert.equal(verdict.key, log.key());
    }
    await log.close();
    assert.equal((await verdictOf(folder.path)).status, 'intact');
  });

  test('that were rotated right before a crash are in force after it', async () => {
    using folder = temporaryFolder();
    const log = await openIn(folder.path);
    await append(log, 3);
    const signed = readFileSync(join(folder.path, 'control', 'checkpoint'));
    await log.rotateKey(next);
    const after = log.key();
    await log.close();
    writeFileSync(join(folder.path, 'control', 'checkpoint'), signed);
    const again = await openIn(folder.path, { signingKeys: [...testSigningKeys, next] });
    assert.equal(again.key(), after);
    await again.close();
    assert.equal((await verdictOf(folder.path)).status, 'intact');
  });
});

describe('segments', () => {
  test('follow each other without a seam, are proved over, and verified by several threads alike', async () => {
    using folder = temporaryFolder();
    const log = await openIn(folder.path);
    await append(log, segmentEvents + 2_500);
    const { size, root } = await log.sign();
    assert.equal(size, segmentEvents + 2_501);
    const second = segmentOf(folder.path, 'control', segmentEvents + 1);
    assert.equal(eventsIn(second)[0]!.seq, segmentEvents + 1);
    await log.close();
    assert(existsSync(hashesPath(segmentOf(folder.path))));
    for (const threads of [1, 2]) {
      const verdict = await verdictOf(folder.path, { threads });
      assert.equal(verdict.status, 'intact');
      assert.equal(verdict.events, size);
      assert.equal(verdict.checkpoint?.root, root.toString('base64'));
    }
    const again = await openIn(folder.path);
    for (const index of [0, 70, segmentEvents - 1, segmentEvents, size - 1]) {
      const file = segmentOf(folder.path, 'control', index < segmentEvents ? 1 : segmentEvents + 1);
      const line = readFileSync(file, 'utf8').split('\n')[index % segmentEvents]!;
      const proof = await again.tree.inclusion(index, size);
      assert(verifyInclusion(leafHash(Buffer.from(line)), index, size, proof, root));
    }
    await again.close();
    rmSync(hashesPath(segmentOf(folder.path)));
    const rebuilt = await openIn(folder.path);
    assert(existsSync(hashesPath(segmentOf(folder.path))), 'what is derived is made anew');
    await rebuilt.close();
    const derived = readFileSync(hashesPath(segmentOf(folder.path)));
    derived[derived.length - 1]! ^= 1;
    writeFileSync(hashesPath(segmentOf(folder.path)), derived);
    await (await openIn(folder.path)).close();
    await segmentTampering(folder.path, second);
  });

  async function segmentTampering(folder: string, second: string): Promise<void> {
    using copy = temporaryFolder();
    const first = segmentOf(copy.path);
    const acts: [act: () => void, what: RegExp][] = [
      [() => rmSync(first), /events 1 to 65536 are missing/],
      [
        () => rmSync(segmentOf(copy.path, 'control', segmentEvents + 1)),
        /are missing: the checkpoint covers/,
      ],
      [() => cutLines(first, 3), /events 65534 to 65536 are missing/],
      [() => appendFileSync(first, readFileSync(second, 'utf8').split('\n')[0]!), /missing|longer|event/],
      [() => replaceIn(segmentOf(copy.path, 'control', segmentEvents + 1), '"prev":"', '"prev":"0'), /./],
      [
        () => cpSync(first, segmentOf(copy.path, 'control', segmentEvents + 1)),
        /event 1 stands here|not continue/,
      ],
    ];
    for (const [act, what] of acts) {
      rmSync(join(copy.path, 'control'), { recursive: true, force: true });
      cpSync(join(folder, 'control'), join(copy.path, 'control'), { recursive: true });
      act();
      const verdict = await verdictOf(copy.path, { threads: 2 });
      assert.equal(verdict.status, 'tampered', String(what));
      assert.match(verdict.problem!.what, what);
    }
  }
});

describe('a stream from before there were segments', () => {
  test('goes on as segments, byte for byte, and is signed from then on', async () => {
    using folder = temporaryFolder();
    const old = chainOf(
      'control',
      Array.from({ length: segmentEvents + 40 }, () => attempt('old')),
      1,
    );
    const content = old.map((line) => `${line}\n`).join('');
    writeFileSync(join(folder.path, 'control.jsonl'), `${content}{"torn`);
    const log = await openIn(folder.path);
    await log.append(attempt('new'));
    await log.close();
    assert(!existsSync(join(folder.path, 'control.jsonl')));
    const second = segmentOf(folder.path, 'control', segmentEvents + 1);
    const kept = readFileSync(segmentOf(folder.path), 'utf8') + readFileSync(second, 'utf8');
    assert(kept.startsWith(content));
    const added = eventsIn(second).slice(40);
    assert.deepEqual(
      added.map(({ action }) => action),
      ['audit.key.introduced', 'audit.recovered', 'new'],
    );
    const verdict = await verdictOf(folder.path);
    assert.equal(verdict.status, 'intact', JSON.stringify(verdict));
    assert.equal(verdict.events, old.length + 3);
    replaceIn(segmentOf(folder.path), '"old"', '"Old"');
    assert.equal((await verdictOf(folder.path)).status, 'tampered');
  });

  test('of which the file was taken over loses it where it is that, and is refused where it is another', async () => {
    using folder = temporaryFolder();
    const flat = join(folder.path, 'control.jsonl');
    const old = chainOf('control', [attempt('old'), attempt('old')], 1).map((line) => `${line}\n`);
    writeFileSync(flat, old.join(''));
    await (await openIn(folder.path)).close();
    writeFileSync(flat, old.join(''));
    await (await openIn(folder.path)).close();
    assert(!existsSync(flat), 'a crash had left it');
    for (const other of [`${old.join('')}more\n`, old[0]!.replace('"old"', '"odd"')]) {
      writeFileSync(flat, other);
      await assert.rejects(openIn(folder.path), isUnavailable(/holds other events/));
      assert.equal(readFileSync(flat, 'utf8'), other);
    }
  });

  test('goes on where its writer died before it signed the first checkpoint, and only there', async () => {
    using folder = temporaryFolder();
    const old = chainOf(
      'control',
      Array.from({ length: 5 }, () => attempt('old')),
      1,
    );
    writeFileSync(join(folder.path, 'control.jsonl'), `${old.map((line) => `${line}\n`).join('')}{"torn`);
    await (await openIn(folder.path)).close();
    rmSync(join(folder.path, 'control', 'checkpoint'));
    const again = await openIn(folder.path);
    assert.deepEqual(
      eventsIn(segmentOf(folder.path)).map(({ action }) => action),
      [...old.map(() => 'old'), 'audit.key.introduced', 'audit.recovered'],
    );
    await again.append(attempt('new'));
    await again.close();
    assert.equal((await verdictOf(folder.path)).status, 'intact');
    rmSync(join(folder.path, 'control', 'checkpoint'));
    await assert.rejects(openIn(folder.path), isUnavailable(/is missing/));
  });
});

function cutLines(path: string, lines: number): void {
  const kept = readFileSync(path, 'utf8')
    .split('\n')
    .slice(0, -1 - lines);
  writeFileSync(path, kept.map((line) => `${line}\n`).join(''));
}

function replaceIn(path: string, from: string, to: string): void {
  const text = readFileSync(path, 'utf8');
  assert(text.includes(from));
  writeFileSync(path, text.replace(from, to));
}
