import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { homeAt } from '../../src/main/home.ts';
import type { SessionId } from '../../src/model/ids.ts';
import { startCli } from '../support/cli-process.ts';
import { remains, untilNone } from '../support/host-traces.ts';
import { type Instance, startInstance } from '../support/instance.ts';
import { openSmallDisk, type SmallDisk } from '../support/small-disk.ts';

/** A disk that fills up under a server that runs: what cannot be kept is refused, and room makes all well again. */

const needsRoot = process.getuid?.() === 0 ? false : 'mounting a small disk needs root';

describe('on a disk that fills up', { skip: needsRoot }, () => {
  const folder = mkdtempSync(join(tmpdir(), 'sealwright-full-'));
  const home = join(folder, 'home');
  let disk: SmallDisk;
  let instance: Instance;
  let session: SessionId;

  before(async () => {
    mkdirSync(home);
    // The disk is seen by the server alone, so the token that the test knows lies below it too.
    const token = `sw_test_${randomBytes(24).toString('hex')}`;
    writeFileSync(join(home, 'bootstrap-token'), `${token}\n`);
    disk = await openSmallDisk(home, '320m');
    const environment = { SEALWRIGHT_BOOTSTRAP_TOKEN: token };
    instance = await startInstance({ home, prefix: disk.prefix, environment });
    session = (await instance.client.sessions.create({})).id as SessionId;
  });

  after(async () => {
    await instance.stop();
    await disk.close();
    assert.deepEqual(await untilNone(() => remains(home), 2_000), []);
    assert(!existsSync(join('/run/sealwright', homeAt(home).instance)));
    rmSync(folder, { recursive: true, force: true });
  });

  async function runs(...command: string[]): Promise<string> {
    const { client } = instance;
    const { id } = await client.runs.create({ session, command, limits: { outputBytes: 1 << 30 } });
    const { phase, cause, reason } = await client.runs.wait(id, { timeoutSeconds: 20 });
    return [phase, cause, reason].filter(Boolean).join(', ');
  }

  const outcome = (call: Promise<unknown>) =>
    call.then(
      () => 'done',
      ({ status, code }: { status: number; code: string }) => `${status} ${code}`,
    );

  it('an upload that does not fit is answered 507, and its room is free again', async () => {
    const zeros = async function* () {
      for (let mib = 0; mib < 512; mib += 1) yield Buffer.alloc(1 << 20);
    };
    assert.equal(await outcome(instance.client.uploads.store(zeros())), '507 storage.full');
    assert.equal(await runs('true'), 'succeeded');
  });

  it('output that does not fit ends its run, which says so, and the next one works', async () => {
    const why = "failed, limit-disk, The disk of the runner's machine is full: the output could not be kept.";
    assert.equal(await runs('head', '-c', '1G', '/dev/zero'), why);
    assert.equal(await runs('true'), 'succeeded');
  });

  it('changes are refused with 503 or 507, reading and stopping work, and all is well with room', async () => {
    const { client, url } = instance;
    const own = (await client.sessions.create({})).id;
    const live = await client.runs.create({ session: own, command: ['sleep', '60'] });
    disk.run('head -c 1G /dev/zero > "$0/ballast" 2>&- || true');
    const changes: string[] = [];
    for (let turn = 0; turn < 5; turn += 1) {
      changes.push(await outcome(client.sessions.create({})));
      changes.push(await outcome(client.runs.create({ session, command: ['true'] })));
      changes.push(await outcome(client.tokens.create({ name: 'full', scopes: ['run:read'] })));
    }
    for (const change of changes)
      assert.match(change, /^(done|503 audit\.unavailable|503 store\.unavailable|507 storage\.full)$/);
    assert.notEqual(changes.at(-1), 'done');
    assert.equal((await fetch(`${url}/healthz`)).status, 200);
    assert.equal((await client.readiness()).ready, false);
    assert.match((await client.runs.get(live.id)).phase, /starting|running/);
    assert.equal(await outcome(client.runs.stop(live.id)), 'done');
    disk.run('rm "$0/ballast"');
    const { phase, signal } = await client.runs.wait(live.id, { timeoutSeconds: 30 });
    assert.deepEqual([phase, signal], ['cancelled', 'SIGTERM']);
    // The log tries again once a second; until then changes are answered 503 with Retry-After.
    const soon = performance.now() + 3_000;
    while (!(await client.readiness()).ready && performance.now() < soon) await pause(50);
    assert.equal((await client.readiness()).ready, true);
    assert.equal(await runs('true'), 'succeeded');
    await assertVerifies();
  });

  it('what a sandbox reaches for and cannot be recorded is refused within a second, and goes on with room', async (t) => {
    const { client } = instance;
    const seconds: number[] = [];
    // Each request says how long the one before it took.
    const service = createServer((request, response) => {
      seconds.push(Number(request.url?.split('/')[1]));
      response.end('yes');
    });
    t.after(() => {
      service.close();
      service.closeAllConnections();
    });
    service.listen(0, '127.0.0.1');
    await once(service, 'listening');
    const { port } = service.address() as AddressInfo;
    await client.policies.put('service', {
      document: { rules: [{ cidr: '127.0.0.1/32', protocol: 'http', ports: [port] }] },
    });
    const ask = `curl -sS -o /dev/null --max-time 9 -w '%{time_total}' "http://127.0.0.1:${port}/$t" 2>/dev/null`;
    const command = ['/bin/sh', '-c', `t=0; while :; do t=$(${ask}); sleep 0.02; done`];
    const own = (await client.sessions.create({})).id;
    const live = await client.runs.create({ session: own, command, egress: ['service'] });
    const reaches = async (count: number) => {
      const [before, late] = [seconds.length, performance.now() + 20_000];
      while (seconds.length < before + count && performance.now() < late) await pause(20);
      assert(seconds.length >= before + count, 'it is let through');
    };
    await reaches(3);
    disk.run('head -c 1G /dev/zero > "$0/ballast" 2>&- || true');
    // What fits the last block of the record is still let through.
    for (let before = -1; before !== seconds.length; await pause(500)) before = seconds.length;
    const { checks } = await client.readiness();
    assert.deepEqual(checks.runner, { ok: false, detail: 'the runner cannot write its record' });
    await pause(1_000);
    const refused = seconds.length;
    disk.run('rm "$0/ballast"');
    await reaches(3);
    assert(seconds[refused]! < 1, `a refusal took ${seconds[refused]} s`);
    await client.runs.stop(live.id);
    await client.runs.wait(live.id, { timeoutSeconds: 30 });
    const counted = async () => (await client.runs.egress(live.id, { limit: 1 })).counts;
    assert.equal((await counted())?.allowed, seconds.length);
    // Denials that could not be written are written late, as events that are owed.
    for (const late = performance.now() + 10_000; ((await counted())?.denied ?? 0) === 0; await pause(50))
      assert(performance.now() < late, 'what was refused is on the record too');
    await assertVerifies();
  });

  async function assertVerifies(): Promise<void> {
    const { prefix } = disk;
    const verified = await startCli(home, ['audit', 'verify'], { cwd: '/', prefix }).ended;
    assert.equal(verified.status, 0, verified.stdout.toString());
  }
});
