import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { attempt, eventId, manualClock, testSigningKeys } from '../../tests/support/audit.ts';
import { openAuditLog, type SignedAuditLog } from '../audit/log.ts';
import { buildProgram, runProgram } from './program.ts';
import { TestServer, testContext } from './test-api.ts';
import { testEnvironment } from './test-environment.ts';

const base64 = (bytes: Buffer) => bytes.toString('base64');

async function workplace(t: TestContext) {
  const environment = testEnvironment({});
  t.after(() => environment.dispose());
  const server = new TestServer();
  const sealwright = async (...words: string[]) => {
    environment.stdout.chunks.length = 0;
    environment.stderr.chunks.length = 0;
    const context = testContext(environment, server);
    const program = buildProgram(context, () => {});
    const status = await runProgram(program, ['audit', ...words], context);
    return { status, out: environment.stdout.text, err: environment.stderr.text };
  };
  const log = await openAuditLog({
    folder: join(environment.folder, 'log'),
    stream: 'control',
    clock: manualClock(),
    newId: eventId,
    signingKeys: testSigningKeys,
  });
  t.after(() => log.close());
  return { environment, server, sealwright, log };
}

/** Answers as a server with this log would. */
async function answersOf(log: SignedAuditLog): Promise<Partial<TestServer['api']['auditProofs']>> {
  const { origin, size, root, note } = await log.sign();
  const checkpoint = { size, root: base64(root), note };
  return {
    streams: async () => ({
      items: [{ stream: 'control', origin, key: log.key(), events: size, head: '', checkpoint }],
    }),
    inclusion: async (_stream, { seq }) => ({
      origin,
      index: seq - 1,
      leaf: base64(await log.tree.node(0, seq - 1)),
      size,
      root: base64(root),
      proof: (await log.tree.inclusion(seq - 1, size)).map(base64),
    }),
    consistency: async (_stream, { first }) => ({
      origin,
      first,
      firstRoot: base64(await log.tree.rootAt(first)),
      size,
      root: base64(root),
      proof: (await log.tree.consistency(first, size)).map(base64),
    }),
  };
}

test('checkpoints are printed as they are, and the key is rotated', async (t) => {
  const { server, sealwright } = await workplace(t);
  assert.equal((await sealwright('checkpoint')).out, 'note of all\n');
  assert.equal((await sealwright('checkpoint', '--stream', 'control')).out, 'note of control\n');
  assert.equal((await sealwright('rotate-key')).out, 'log+key\n');
  assert.deepEqual(server.calls, ['auditProofs.rotateKey']);
});

test('what a server proves is checked here, and a server that proves nothing is caught', async (t) => {
  const { environment, server, sealwright, log } = await workplace(t);
  const kept = await log.sign();
  for (const action of ['a', 'b', 'c']) await log.append(attempt(action));
  const { auditProofs } = server.api;
  Object.assign(auditProofs, await answersOf(log));
  assert.equal((await sealwright('keys')).out, `${log.key()}\n`);
  const proved = await sealwright('prove', 'control:3');
  assert.match(
    proved.out,
    /^event 3 of audit\..* is in its tree of 4 events\nleaf \S{44}\nroot \S{44}\nnode /,
  );
  assert.equal(JSON.parse((await sealwright('prove', 'control:3', '--json')).out).index, 2);
  assert.equal((await sealwright('prove', '3')).status, 2);

  writeFileSync(join(environment.folder, 'kept'), kept.note);
  const grown = await sealwright('consistency', 'kept');
  assert.deepEqual([grown.status, grown.err], [0, '']);
  assert.match(grown.out, /: the log of 4 events begins with the 1 that were signed\n$/);

  const { consistency, inclusion } = auditProofs;
  auditProofs.consistency = async (stream, query) => ({ ...(await consistency(stream, query)), proof: [] });
  const lying = await sealwright('consistency', 'kept');
  assert.deepEqual([lying.status, /does not begin with the 1 events/.test(lying.out)], [1, true]);
  auditProofs.inclusion = async (stream, query) => ({ ...(await inclusion(stream, query)), index: 0 });
  assert.match((await sealwright('prove', 'control:3')).err, /proves nothing/);
  auditProofs.streams = async () => ({ items: [] });
  assert.equal((await sealwright('consistency', 'kept')).status, 1, 'a log that is gone');
});
