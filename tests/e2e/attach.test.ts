import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import type { Client } from '../../src/client/client.ts';
import type { TerminalView } from '../../src/contract/attach-schemas.ts';
import { type Attached, attach, otherActor, terminalRun } from '../support/attached.ts';
import { cli, type Instance, startInstance } from '../support/instance.ts';
import { MortalServer, printedSeed } from '../support/mortal-server.ts';
import { openSmallDisk } from '../support/small-disk.ts';
import { sh } from '../support/workload.ts';

/** Live terminals with every process in its place (issue: take the wheel of a live run, together, and replay it). */

const random = printedSeed();
const asRoot = process.getuid?.() === 0;

/** Says `n0.`, `n1.` and so on, a hundred times a second. */
const counting = sh('i=0; while :; do echo "n$i."; i=$((i+1)); sleep 0.01; done');

/** The numbers that a viewer saw, of those that it saw whole. */
function numbersIn(text: string): number[] {
  return [...text.matchAll(/n(\d+)\./g)].map(([, digits]) => Number(digits));
}

function assertConsecutive(numbers: readonly number[]): void {
  assert(numbers.length > 0);
  for (const [index, number] of numbers.entries())
    assert.equal(number, numbers[0]! + index, `after ${numbers[index - 1]}`);
}

async function later(viewer: Attached, more: number): Promise<void> {
  const last = numbersIn(viewer.text()).at(-1) ?? 0;
  await viewer.shows(new RegExp(`n${last + more}\\.`));
}

async function recordingOf(client: Client, run: string, terminal: string): Promise<string> {
  let text = '';
  for await (const bytes of (await client.attach.recording(run, terminal)).body)
    text += Buffer.from(bytes).toString('utf8');
  return text;
}

/** What is recorded of an end is written down behind it. */
async function terminalsOf(
  client: Client,
  run: string,
  isSo: (terminals: readonly TerminalView[]) => boolean,
): Promise<readonly TerminalView[]> {
  for (const end = performance.now() + 10_000; ; await pause(20)) {
    const terminals = await client.attach.terminals(run);
    if (isSo(terminals)) return terminals;
    assert(performance.now() < end, JSON.stringify(terminals));
  }
}

type CastEvent = readonly [number, string, string];

/** The events of an asciicast v2, each of which has the form that players expect. */
function eventsOf(cast: string): { readonly header: Record<string, unknown>; readonly events: CastEvent[] } {
  const [header, ...lines] = cast.trimEnd().split('\n');
  const events = lines.map((line) => JSON.parse(line) as CastEvent);
  for (const [at, code, data] of events)
    assert(typeof at === 'number' && /^[oirm]$/.test(code) && typeof data === 'string');
  return { header: JSON.parse(header!) as Record<string, unknown>, events };
}

const shownIn = (events: readonly CastEvent[]) =>
  events.flatMap(([, code, data]) => (code === 'o' ? data : [])).join('');

describe('a live terminal', () => {
  let instance: Instance;
  let client: Client;

  before(async () => {
    instance = await startInstance();
    client = instance.client;
  });

  after(() => instance?.remove());

  it('the shell belongs to the run: whoever was there first leaves, and the others go on', async () => {
    const run = await terminalRun(client, ['bash', '--norc']);
    const first = await attach(client, run.id, { role: 'driver' });
    const viewer = await attach(client, run.id);
    await first.type('echo fir""st\n');
    await viewer.shows(/first\r\n/);
    await first.leave();
    await viewer.is(({ clients }) => clients.length === 1);
    const second = await attach(client, run.id, { role: 'driver' });
    await second.shows(/first\r\n/);
    await second.type('echo sec""ond; exit 3\n');
    await viewer.shows(/second\r\n/);
    assert.deepEqual(await viewer.ended, { by: 'command', code: 3, signal: null });
    assert.equal((await client.runs.wait(run.id, { timeoutSeconds: 20 })).exitCode, 3);
  });

  it('who comes late sees the screen of now, and a resize reaches everybody and the program', async () => {
    const run = await terminalRun(client, ['bash', '--norc'], { size: { columns: 60, rows: 10 } });
    const driver = await attach(client, run.id, { role: 'driver', size: { columns: 60, rows: 10 } });
    await driver.type('clear; for i in 1 2 3 4 5 6 7 8; do echo "line $i"; done\n');
    await driver.shows(/line 8\r\n/);
    const late = await attach(client, run.id, { size: { columns: 60, rows: 10 } });
    await late.shows(/line 8/);
    assert.deepEqual(await late.screen(), await driver.screen());
    driver.session.resize({ columns: 90, rows: 20 });
    await late.is(({ size }) => size?.columns === 90 && size.rows === 20);
    await driver.type('stty size\n');
    await late.shows(/20 90\r\n/);
    await client.runs.stop(run.id);
    for (const { ended } of [driver, late]) assert.equal((await ended).by, 'command');
  });

  it('a second command in a terminal is in the same sandbox, and has a recording of its own', async () => {
    const run = await terminalRun(client, sh('sleep 1234'));
    const watcher = await attach(client, run.id);
    const exec = await client.attach.openExec(run.id, {
      command: ['bash', '-c', 'read -r -p "ready " line; grep -las "$line" /proc/[0-9]*/cmdline; exit 4'],
      terminal: { columns: 80, rows: 24 },
    });
    let text = '';
    exec.stdout.on('data', (bytes: Buffer) => {
      if (!text.includes('ready ') && (text + bytes).includes('ready ')) exec.stdin.write('1234\n');
      text += bytes;
    });
    assert.deepEqual(await exec.exit, { code: 4, signal: null });
    assert.match(text, /\/proc\/\d+\/cmdline/);
    await watcher.leave();
    const [own, second] = await terminalsOf(client, run.id, ([, exec]) => exec?.endedAt !== null);
    assert.deepEqual([own?.kind, second?.kind, second?.exitCode], ['run', 'exec', 4]);
    const { events } = eventsOf(await recordingOf(client, run.id, second!.id));
    assert.match(shownIn(events), /ready 1234/);
    await client.runs.stop(run.id);
  });

  it('a hundred viewers see the same, and the driver types on', async () => {
    const run = await terminalRun(client, ['bash', '--norc']);
    const driver = await attach(client, run.id, { role: 'driver' });
    const others = [await otherActor(instance, 'first'), await otherActor(instance, 'second')];
    const viewers: Attached[] = [];
    for (let index = 0; index < 100; index += 1) viewers.push(await attach(others[index % 2]!, run.id));
    for (let round = 0; round < 20; round += 1) {
      await driver.type(`echo round""-${round}.\n`);
      await Promise.all(viewers.map((viewer) => viewer.shows(new RegExp(`round-${round}\\.\r\n`))));
    }
    assert(viewers.every((viewer) => viewer.breaks() === 0));
    await driver.type('exit\n');
    for (const { ended } of viewers) assert.deepEqual(await ended, { by: 'command', code: 0, signal: null });
  });

  it('what has ended is there to be replayed, searched and verified, and nobody attaches to it', async () => {
    const run = await terminalRun(client, sh('printf "\\033]52;c;aGFja2Vk\\007"; echo the needle; exit 7'));
    assert.equal((await client.runs.wait(run.id, { timeoutSeconds: 20 })).exitCode, 7);
    await assert.rejects(client.attach.ticket(run.id, { role: 'viewer' }), { code: 'state.conflict' });
    const [terminal] = await client.attach.terminals(run.id);
    assert.equal(terminal!.exitCode, 7);
    const { header, events } = eventsOf(await recordingOf(client, run.id, terminal!.id));
    assert.deepEqual([header.version, header.width, header.height], [2, 80, 24]);
    assert.match(shownIn(events), /the needle\r\n/);
    const [match] = await client.attach.search(run.id, terminal!.id, { text: 'needle' });
    assert.equal(match?.line, 'the needle');
    const replayed = await cli(instance.home, ['replay', run.id]);
    assert.equal(replayed.status, 0, replayed.stderr);
    assert.match(replayed.stdout.toString(), /^the needle\r?$/m);
    assert.doesNotMatch(replayed.stdout.toString(), /\x1b\]52/);
    const { status, stdout, stderr } = await cli(instance.home, ['audit', 'verify']);
    assert.equal(status, 0, `${stdout}${stderr}`);
  });
});

describe('a live terminal whose server is killed', () => {
  let server: MortalServer;

  before(async () => {
    server = await MortalServer.open(random);
  });

  after(() => server?.remove());

  it('control dies and comes back: who is attached goes on, and misses and sees twice nothing', async () => {
    const { client } = server;
    const run = await terminalRun(client, counting);
    const viewer = await attach(client, run.id, { from: 0 });
    const driver = await attach(client, run.id, { role: 'driver' });
    for (let round = 1; round <= 3; round += 1) {
      await later(viewer, 30);
      await server.kill('control');
      await viewer.is(({ phase }) => phase === 'attached');
      await later(viewer, 30);
      assert(viewer.breaks() >= round, 'it was cut off');
    }
    assertConsecutive(numbersIn(viewer.text()));
    assert.equal(viewer.redraws(), 0, 'it went on where it was');
    await driver.is(({ phase, input }) => phase === 'attached' && input?.allowed === true);
    await driver.type('\x03');
    assert.equal((await client.runs.wait(run.id, { timeoutSeconds: 20 })).phase, 'failed');
    await server.verifyAudit();
  });

  it("the runner's parent dies and comes back: the run is lost, and its recording is there and verified", async () => {
    const { client } = server;
    const run = await terminalRun(client, counting);
    const viewer = await attach(client, run.id, { from: 0 });
    await later(viewer, 100);
    await server.kill('up');
    const end = await viewer.ended;
    assert(end.by !== 'client', JSON.stringify(end));
    const lost = await server.client.runs.wait(run.id, { timeoutSeconds: 20 });
    assert.deepEqual([lost.phase, lost.cause], ['failed', 'runner-lost']);
    const [terminal] = await server.client.attach.terminals(run.id);
    assert.notEqual(terminal!.endedAt, null);
    const { events } = eventsOf(await recordingOf(server.client, run.id, terminal!.id));
    const recorded = numbersIn(shownIn(events));
    assertConsecutive(recorded);
    assert.equal(recorded[0], 0);
    const seen = numbersIn(viewer.text()).at(-1)!;
    assert((seen - recorded.at(-1)!) * 'n1000.\r\n'.length <= 64 * 1024, `${recorded.at(-1)} of ${seen}`);
    await server.verifyAudit();
  });
});

describe('a live terminal on a disk that fills up', {
  skip: asRoot ? false : 'mounting a small disk needs root',
}, () => {
  it('attach ends within a second once nothing can be recorded, and with room there is attach again', async (t) => {
    const folder = mkdtempSync(join(tmpdir(), 'sealwright-attach-full-'));
    t.after(() => rmSync(folder, { recursive: true, force: true }));
    const home = join(folder, 'home');
    mkdirSync(home);
    const token = `sw_test_${randomBytes(24).toString('hex')}`;
    writeFileSync(join(home, 'bootstrap-token'), `${token}\n`);
    const disk = await openSmallDisk(home, '320m');
    t.after(() => disk.close());
    const environment = { SEALWRIGHT_BOOTSTRAP_TOKEN: token };
    const instance = await startInstance({ home, prefix: disk.prefix, environment });
    t.after(() => instance.stop());
    const { client } = instance;
    const block = "printf '%04096d' 0";
    const run = await terminalRun(
      client,
      sh(`i=0; while :; do ${block}; echo "n$i."; i=$((i+1)); sleep 0.02; done`),
    );
    const viewer = await attach(client, run.id);
    await later(viewer, 20);
    assert.equal(viewer.breaks(), 0);
    disk.run('head -c 1G /dev/zero > "$0/ballast" 2>&- || true');
    const fullAt = performance.now();
    await viewer.is(({ phase }) => phase === 'broken');
    assert(performance.now() - fullAt < 1_000, `${performance.now() - fullAt} ms`);
    // Nor can the run's own output be kept.
    const { phase, cause } = await client.runs.wait(run.id, { timeoutSeconds: 20 });
    assert.deepEqual([phase, cause], ['failed', 'limit-disk']);
    disk.run('rm "$0/ballast"');
    await viewer.ended;
    const [terminal] = await terminalsOf(client, run.id, ([own]) => own!.endedAt !== null);
    const { events } = eventsOf(await recordingOf(client, run.id, terminal!.id));
    const recorded = numbersIn(shownIn(events));
    assertConsecutive(recorded);
    assert(recorded.at(-1)! >= 20, 'what was shown before is there');
    const next = await terminalRun(client, counting);
    const again = await attach(client, next.id);
    await later(again, 20);
    await again.leave();
    await client.runs.stop(next.id);
  });
});
