import assert from 'node:assert/strict';
import { generateKeyPairSync } from 'node:crypto';
import { appendFileSync, cpSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import {
  attempt,
  eventId,
  manualClock,
  segmentOf,
  temporaryFolder,
  testSigningKeys,
} from '../../tests/support/audit.ts';
import { verifyWithPython, withoutPython } from '../../tests/support/python-verifier.ts';
import type { JsonObject } from '../base/canonical-json.ts';
import { parseCheckpoint } from './checkpoint.ts';
import { makeTombstone } from './drop.ts';
import { eventParts, lineOf } from './event.ts';
import { openAuditLog, type SignedAuditLog } from './log.ts';
import { Mirror } from './mirror.ts';
import { dropOldEvents, type RetentionParts } from './retention.ts';
import { segmentEvents } from './segments.ts';
import { verifyStreams } from './verify.ts';

const dayMs = 24 * 3600 * 1000;
const runner = 'runner-aaaaaa';

async function append(log: SignedAuditLog, count: number): Promise<void> {
  for (let left = count; left > 0; left -= 1_000)
    await Promise.all(Array.from({ length: Math.min(left, 1_000) }, () => log.append(attempt('run.create'))));
}

/** Records another stream, as a heartbeat does. */
async function beat(log: SignedAuditLog, other: JsonObject): Promise<void> {
  await log.append({ ...attempt('audit.heartbeat', { data: { checkpoints: [other] } }) });
}

function claimOf(log: SignedAuditLog): JsonObject {
  const { origin, size, root } = log.checkpoint();
  return { stream: log.stream, origin, size, root: root.toString('base64') };
}

/** What the runner has and the mirror has not, then its checkpoint. */
async function handOver(there: string, log: SignedAuditLog, mirror: Mirror): Promise<void> {
  const { note } = await log.sign();
  for (let { seq } = mirror.head; seq < log.head().seq; { seq } = mirror.head) {
    const first = seq - (seq % segmentEvents) + 1;
    const lines = readFileSync(segmentOf(there, runner, first), 'utf8')
      .trimEnd()
      .split('\n');
    const some = lines.slice(seq - first + 1, seq - first + 1 + 10_000);
    await mirror.append(mirror.check(Buffer.from(some.map((line) => `${line}\n`).join(''))));
  }
  await mirror.keep(note);
}

test('streams that record each other verify together once old events of both were dropped, and go on', async () => {
  using folder = temporaryFolder();
  const clock = manualClock();
  const [audit, there, archive] = ['audit', 'there', 'archive'].map((name) => join(folder.path, name));
  mkdirSync(archive!);
  const options = { clock, newId: eventId };
  const control = await openAuditLog({
    ...options,
    folder: audit!,
    stream: 'control',
    signingKeys: testSigningKeys,
  });
  const { privateKey } = generateKeyPairSync('ed25519');
  const far = await openAuditLog({ ...options, folder: there!, stream: runner, signingKeys: [privateKey] });
  let mirror = await Mirror.open({ folder: audit!, stream: runner });
  await append(control, segmentEvents);
  await append(far, segmentEvents);
  await handOver(there!, far, mirror);
  clock.advance(31 * dayMs);
  await control.sign();
  await beat(far, claimOf(control));
  await beat(control, mirror.claim as unknown as JsonObject);
  await handOver(there!, far, mirror);
  await control.sign();
  const parts: RetentionParts = {
    clock,
    archive: archive!,
    keptMs: 30 * dayMs,
    streams: () => [
      { stream: 'control', folder: join(audit!, 'control'), tree: control.tree },
      { stream: runner, folder: join(audit!, runner), tree: mirror.tree },
    ],
    signer: () => control.signer(),
    sentThrough: async () => null,
    record: async ({ stream, from, through }) => {
      await control.append(attempt('audit.dropped', { data: { stream, from, through } }));
    },
  };
  await dropOldEvents(parts);
  const keys = [control.signer().key, far.signer().key];
  for (const asked of [{}, { keys }]) {
    const verdict = await verifyStreams([audit!], asked);
    assert.deepEqual(
      verdict.streams.map(({ dropped, problem }) => [dropped, problem?.what]),
      [
        [segmentEvents, undefined],
        [segmentEvents, undefined],
      ],
    );
  }
  await mirror.close();
  mirror = await Mirror.open({ folder: audit!, stream: runner });
  assert.equal(mirror.key, far.key());
  await append(far, 3);
  await handOver(there!, far, mirror);
  assert.equal((await verifyStreams([audit!], { keys })).status, 'intact');
  const texts = keys.flatMap(({ text }) => ['--key', text]);
  if (withoutPython === false) assert.equal(verifyWithPython([...texts, audit!]).code, 0);
  const noteOf = () => readFileSync(join(audit!, runner, 'dropped'), 'utf8');
  const signedFirst = noteOf();
  await control.rotateKey(generateKeyPairSync('ed25519').privateKey);
  await dropOldEvents(parts);
  assert.notEqual(noteOf(), signedFirst, 'signed again by the key in force');
  assert.equal((await verifyStreams([audit!], { keys })).status, 'intact');
  for (const one of [mirror, far, control]) await one.close();
});

test('nobody drops events by a key of their own that a line behind the newest checkpoint records', async () => {
  using folder = temporaryFolder();
  const options = { clock: manualClock(), newId: eventId, folder: folder.path };
  const control = await openAuditLog({ ...options, stream: 'control', signingKeys: testSigningKeys });
  await append(control, segmentEvents + 10);
  const kept = [parseCheckpoint((await control.sign()).note)!];
  const { privateKey } = generateKeyPairSync('ed25519');
  const foreign = await openAuditLog({ ...options, stream: runner, signingKeys: [privateKey] });
  await append(foreign, 1);
  await foreign.sign();
  assert.equal((await verifyStreams([folder.path], { kept })).status, 'intact');
  const own = join(folder.path, 'control');
  const parts = { folder: own, tree: control.tree, through: segmentEvents, at: 0 };
  const { seq, hash } = control.head();
  const claim = attempt('audit.heartbeat', { data: { checkpoints: [claimOf(foreign)] } });
  const line = lineOf(eventParts(claim, 'control', eventId(), 0), hash, seq + 1);
  const notes = [await makeTombstone({ ...parts, signer: foreign.signer() })];
  notes.push(await makeTombstone({ ...parts, signer: control.signer() }));
  const verdicts: string[] = [];
  for (const note of notes) {
    using copy = temporaryFolder();
    cpSync(folder.path, copy.path, { recursive: true });
    appendFileSync(segmentOf(copy.path, 'control', segmentEvents + 1), `${line}\n`);
    writeFileSync(join(copy.path, 'control', 'dropped'), note);
    rmSync(segmentOf(copy.path));
    verdicts.push((await verifyStreams([copy.path], { kept })).status);
  }
  assert.deepEqual(verdicts, ['tampered', 'intact']);
  await foreign.close();
  await control.close();
});
