import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { startCli } from '../support/cli-process.ts';
import { type Instance, startInstance } from '../support/instance.ts';
import { openSmallDisk, type SmallDisk } from '../support/small-disk.ts';

/**
 * G7 over HTTP, whatever keeps the log of a running server from being written: acts are refused within a second, the server
 * says that it is not ready, containment works, and with the cause gone all is well by itself and the gap is on record. full-disk.test.ts has the disk that fills up,
 * src/audit/log-faults.test.ts and audit-faults.test.ts every call that fails.
 */

const needsRoot = process.getuid?.() === 0 ? false : 'mounting a small disk needs root';
const refusedWithinMs = 1_000;
const recoveredWithinMs = 5_000;

/** What is done to the folder of all logs, `$0`, and what takes it back. */
const faults: Record<string, { harm: string; heal: string }> = {
  'a folder that may not be entered': { harm: 'chmod 000 "$0/control"', heal: 'chmod 700 "$0/control"' },
  'a folder that is another’s': {
    harm: 'stat -c %u:%g "$0/control" > "$0/owner"; chown 12345:12345 "$0/control"',
    heal: 'chown "$(cat "$0/owner")" "$0/control"',
  },
  'a folder in the place of its file': {
    harm: 'mv "$0/control/0000000000000001.jsonl" "$0/.away"; mkdir "$0/control/0000000000000001.jsonl"',
    heal: 'rmdir "$0/control/0000000000000001.jsonl"; mv "$0/.away" "$0/control/0000000000000001.jsonl"',
  },
  'a folder that was moved away': {
    harm: 'mv "$0/control" "$0/.away"',
    heal: 'mv "$0/.away" "$0/control"',
  },
  'a folder that was replaced by its copy': {
    harm: 'cp -a "$0/control" "$0/.copy"; mv "$0/control" "$0/.away"; mv "$0/.copy" "$0/control"',
    heal: 'rm -r "$0/control"; mv "$0/.away" "$0/control"',
  },
};

const folder = mkdtempSync(join(tmpdir(), 'sealwright-closed-'));
const home = join(folder, 'home');
const token = `sw_test_${randomBytes(24).toString('hex')}`;
let disk: SmallDisk;
let instance: Instance;

function onLogs(command: string): void {
  disk.run(`set -- "$0/audit"; sh -euc '${command}' "$1"`);
}

async function created(): Promise<Response> {
  const headers = { authorization: `Bearer ${token}`, 'content-type': 'application/json' };
  return await fetch(`${instance.url}/api/v1/sessions`, { method: 'POST', headers, body: '{}' });
}

/** How long it takes until every act is refused; those before it are on record. */
async function untilRefused(): Promise<Response> {
  const since = performance.now();
  let answer = await created();
  while (answer.status === 201 && performance.now() - since < refusedWithinMs) answer = await created();
  assert(performance.now() - since < refusedWithinMs, 'refused within a second');
  return answer;
}

async function untilReady(): Promise<void> {
  const since = performance.now();
  while ((await fetch(`${instance.url}/readyz`)).status !== 200) {
    assert(performance.now() - since < recoveredWithinMs, 'ready again');
    await pause(50);
  }
}

async function recorded(action: string, id?: string): Promise<number> {
  let count = 0;
  for await (const event of instance.client.audit.all({}))
    if (event.action === action && (id === undefined || (event.resource as { id?: string }).id === id))
      count += 1;
  return count;
}

describe('a log that cannot be written', { skip: needsRoot }, () => {
  before(async () => {
    mkdirSync(home);
    writeFileSync(join(home, 'bootstrap-token'), `${token}\n`);
    disk = await openSmallDisk(home, '320m');
    const start = () =>
      startInstance({ home, prefix: disk.prefix, environment: { SEALWRIGHT_BOOTSTRAP_TOKEN: token } });
    instance = await start();
  });

  after(async () => {
    await instance?.stop();
    await disk?.close();
    rmSync(folder, { recursive: true, force: true });
  });

  for (const [what, { harm, heal }] of Object.entries(faults))
    test(`${what}: acts are refused, containment works, and it recovers by itself`, async () => {
      const { client, url } = instance;
      const session = await client.sessions.create({ name: 'contained' });
      const run = await client.runs.create({ session: session.id, command: ['sleep', '600'] });
      const revoked = await client.tokens.create({ name: 'contained', scopes: ['run:read'] });
      const gaps = await recorded('audit.gap');
      assert.equal((await created()).status, 201, 'control: before it acts are taken');
      onLogs(harm);
      try {
        const answer = await untilRefused();
        assert.equal(answer.status, 503);
        assert.match(answer.headers.get('content-type') ?? '', /^application\/problem\+json/);
        assert.equal(((await answer.json()) as { code: string }).code, 'audit.unavailable');
        assert.equal((await fetch(`${url}/readyz`)).status, 503);
        assert.equal((await fetch(`${url}/healthz`)).status, 200);
        await client.runs.stop(run.id);
        assert.equal((await client.runs.wait(run.id, { timeoutSeconds: 30 })).phase, 'cancelled');
        await client.tokens.revoke(revoked.id);
        await client.sessions.close(session.id);
        assert.equal((await created()).status, 503);
      } finally {
        onLogs(heal);
      }
      await untilReady();
      assert.equal((await created()).status, 201, 'acts are taken again');
      assert((await recorded('audit.gap')) > gaps, 'the gap is on record');
      assert((await recorded('run.stop', run.id)) > 0, 'and so is what contained it');
      const verified = await startCli(home, ['audit', 'verify'], { cwd: '/', prefix: disk.prefix }).ended;
      assert.equal(verified.status, 0, verified.stdout.toString());
    });
});
