import assert from 'node:assert/strict';
import { after, beforeEach, test } from 'node:test';
import { openPlainStand, openTlogStand, type TlogStand } from '../../../tests/support/witness-stands.ts';
import { pushNewest, WitnessWorld } from '../../../tests/support/witness-world.ts';
import { parseCheckpoint } from '../checkpoint.ts';
import { cosignatureBy } from '../cosignature.ts';
import type { SignedAuditLog } from '../log.ts';
import { parseVerifierKey, signedBy } from '../signed-note.ts';
import type { PushResult } from './witness.ts';

let world: WitnessWorld;
let stand: TlogStand;
let log: SignedAuditLog;
const opened: { close(): Promise<void> }[] = [];

beforeEach(async () => {
  world = new WitnessWorld();
  stand = await openTlogStand();
  opened.push(world, stand);
  log = await world.log();
});
after(async () => {
  for (const one of opened) await one.close();
});

const reasonOf = (result: PushResult) => ('reason' in result ? result.reason : result.kind);

test('what comes back is the checkpoint with both signatures', async () => {
  const result = await pushNewest(await world.witness(stand.settings), log);
  assert(result.kind === 'kept' && result.cosigned !== undefined);
  const read = parseCheckpoint(result.cosigned);
  assert.equal(read?.size, log.checkpoint().size);
  assert(signedBy(read!.note, [parseVerifierKey(log.key())!]) !== null);
  assert.equal(cosignatureBy(read!.note, stand.key)?.at, 1_767_225_600);
});

test('a witness that forgot everything, or was never asked, is told from the beginning on', async () => {
  const witness = await world.witness(stand.settings);
  for (const forget of [false, true, false]) {
    await world.grow(log, 3);
    if (forget) stand.forget();
    assert.equal((await pushNewest(witness, log)).kind, 'kept');
  }
});

test('a signature that is not its own on this very checkpoint is no cosignature', async () => {
  const witness = await world.witness(stand.settings);
  const own = /— \S+ \S+\n/;
  for (const [what, spoil] of Object.entries<(line: string) => string>({
    nothing: () => '',
    'another name': (line) => line.replace('w1', 'w2'),
    'a changed signature': (line) => line.replace(/.{6}\n$/, 'AAAA==\n'),
    'the log’s own signature': () => own.exec(log.checkpoint().note)![0],
    'a page': () => '<html>ok</html>\n',
    'another note': (line) => `\nnote\n\n${line}`,
  })) {
    stand.spoil = spoil;
    assert.equal(reasonOf(await pushNewest(witness, log)), 'its answer has no cosignature by its key', what);
  }
  stand.spoil = (line) => `${line.replace('w1', 'w2')}${line}`;
  assert.equal(
    (await pushNewest(witness, log)).kind,
    'kept',
    'the control: beside one of a key that is not known',
  );
});

test('a log that the witness does not know, and a key, are told as such and with what to do', async () => {
  const witness = await world.witness(stand.settings);
  stand.logs.set('another.example/log', parseVerifierKey(log.key())!);
  assert.match(reasonOf(await pushNewest(witness, log)), /^it answered 404 .*audit keys.*unknown log$/);
  const other = await world.log('other');
  stand.logs.set(log.checkpoint().origin, parseVerifierKey(other.key())!);
  assert.match(reasonOf(await pushNewest(witness, log)), /^it answered 403 .*audit keys/);
  stand.logs.set(log.checkpoint().origin, parseVerifierKey(log.key())!);
  assert.equal((await pushNewest(witness, log)).kind, 'kept');
});

test('a size that the witness names counts only where it is one', async () => {
  const { size } = log.checkpoint();
  const cases: [string, PushResult['kind']][] = [
    ['', 'later'],
    ['many', 'later'],
    ['01\n', 'later'],
    ['-1\n', 'later'],
    ['1', 'later'],
    ['9999999999999999999999\n', 'later'],
    ['0\n', 'later'],
    [`${size + 1}\n`, 'conflict'],
    [`${size}\n`, 'conflict'],
  ];
  for (const [body, kind] of cases) {
    const plain = await openPlainStand({
      status: 409,
      body,
      headers: { 'content-type': 'text/x.tlog.size' },
    });
    opened.push(plain);
    const witness = await world.witness({ url: `tlog+${plain.url}`, key: stand.key.text });
    assert.equal((await pushNewest(witness, log)).kind, kind, JSON.stringify(body));
  }
});

test('an answer that a proof is wrong is no contradiction where none was asked for', async () => {
  const plain = await openPlainStand({ status: 422, body: 'no\x1b[2J' });
  opened.push(plain);
  const witness = await world.witness({ url: `tlog+${plain.url}`, key: stand.key.text });
  assert.equal(reasonOf(await pushNewest(witness, log)), 'it answered 422: no [2J');
});
