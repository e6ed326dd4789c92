import assert from 'node:assert/strict';
import { once } from 'node:events';
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import type { Client } from '../../src/client/client.ts';
import type { RunView } from '../../src/contract/schemas.ts';
import { CrashWork, contradictions, doubles, sampleBundle, wrongOutputs } from '../support/crash-work.ts';
import {
  instanceGroups,
  namespacesInUse,
  namespacesOf,
  processesOf,
  remains,
  straysFrom,
  untilNone,
} from '../support/host-traces.ts';
import { cli, type Instance, startInstance } from '../support/instance.ts';
import { type Seeded, seeded } from '../support/seeded.ts';

/**
 * G11: `kill -9` of any process at any moment loses no acknowledged state and leaves no stray process.
 * SEALWRIGHT_SEED repeats the moments of an earlier run.
 */

const random = seeded();
console.log(`SEALWRIGHT_SEED=${random.seed}`);

const readyMs = 20_000;
/** How long what should be gone may take to go. */
const goneMs = 10_000;

type Victim = 'control' | 'runner' | 'both' | 'up' | 'all';

/** A server that is killed and started again on the same data. */
class Victims {
  readonly home = join(mkdtempSync(join(tmpdir(), 'sealwright-crash-')), 'home');
  readonly deaths: { from: number; to: number }[] = [];
  instance!: Instance;
  #port = 0;

  static async open(): Promise<Victims> {
    const victims = new Victims();
    victims.#port = await freePort();
    await victims.start();
    return victims;
  }

  get client(): Client {
    return this.instance.client;
  }

  async start(): Promise<void> {
    this.instance = await startInstance({
      home: this.home,
      environment: { SEALWRIGHT_LISTEN: `127.0.0.1:${this.#port}`, HOME: dirname(this.home) },
    });
  }

  /** Kills a part and, sometimes, the one that comes after it while it starts. */
  async kill(victim: Victim): Promise<void> {
    if (victim === 'up' || victim === 'all') await this.#killUp(victim);
    else await this.#killParts(victim === 'both' ? ['control', 'runner'] : [victim]);
  }

  async #killParts(names: readonly ('control' | 'runner')[]): Promise<void> {
    const old = this.instance.pids();
    const from = Date.now();
    for (const name of names) process.kill(old[name], 'SIGKILL');
    for (const name of names) await gone(old[name]);
    if (names.includes('runner')) this.deaths.push({ from, to: Date.now() });
    if (random.fraction() < 0.3) await this.#killYoung(names[0]!, old);
    await this.ready();
    const now = this.instance.pids();
    for (const name of ['control', 'runner'] as const)
      assert.equal(
        now[name] === old[name],
        !names.includes(name),
        `the ${name} is ${names.includes(name) ? 'a new' : 'the same'} process`,
      );
  }

  /** Kills a part again as soon as `up` has started it, at some moment of its start. */
  async #killYoung(name: 'control' | 'runner', old: { control: number; runner: number }): Promise<void> {
    for (;;) {
      const young = pidsOf(this.instance)?.[name];
      if (young === undefined || young === old[name]) await pause(5);
      else {
        await pause(random.between(0, 300));
        const from = Date.now();
        process.kill(young, 'SIGKILL');
        await gone(young);
        if (name === 'runner') this.deaths.push({ from, to: Date.now() });
        return;
      }
    }
  }

  async #killUp(victim: 'up' | 'all'): Promise<void> {
    const { control, runner } = this.instance.pids();
    const namespaces = namespacesOf(runner);
    const up = this.instance.process.pid!;
    const from = Date.now();
    for (const pid of victim === 'all' ? random.shuffle([up, control, runner]) : [up])
      process.kill(pid, 'SIGKILL');
    if (victim === 'up') {
      assert.deepEqual(
        await untilNone(() => remains(this.home), goneMs),
        [],
        'control, runner and sandboxes end themselves',
      );
      assert.deepEqual(namespacesInUse(namespaces), []);
    }
    await Promise.all([up, control, runner].map(gone));
    this.deaths.push({ from, to: Date.now() });
    if (random.fraction() < 0.3) await this.#killYoungUp();
    await this.start();
    await this.ready();
  }

  async #killYoungUp(): Promise<void> {
    const starting = startInstance({
      home: this.home,
      environment: { SEALWRIGHT_LISTEN: `127.0.0.1:${this.#port}`, HOME: dirname(this.home) },
    });
    const outcome = starting.then(
      (instance) => instance,
      () => null,
    );
    await pause(random.between(50, 900));
    const starters = processesOf(this.home).filter(({ parent }) => parent === process.pid);
    const from = Date.now();
    for (const { pid } of starters) process.kill(pid, 'SIGKILL');
    await outcome;
    for (const { pid } of starters) await gone(pid);
    this.deaths.push({ from, to: Date.now() });
  }

  async ready(): Promise<void> {
    const deadline = performance.now() + readyMs;
    for (;;) {
      const readiness = await this.client.readiness().catch(() => null);
      if (readiness?.ready === true && pidsOf(this.instance) !== null) return;
      assert(
        performance.now() < deadline,
        `ready within ${readyMs} ms: ${JSON.stringify(readiness)} ${this.logs()}`,
      );
      await pause(20);
    }
  }

  logs(): string {
    return ['control', 'runner']
      .map((name) => readFileSync(join(this.home, 'logs', `${name}.log`), 'utf8').slice(-3_000))
      .join('\n');
  }

  async verify(): Promise<void> {
    const { status, stdout, stderr } = await cli(this.home, ['audit', 'verify']);
    assert.equal(status, 0, `${stdout}${stderr}`);
  }

  async noStrays(): Promise<void> {
    const strays = () => straysFrom(this.instance.process.pid!, processesOf(this.home));
    assert.deepEqual(await untilNone(strays, goneMs), []);
  }

  async stopAndRemove(): Promise<void> {
    assert.equal(await this.instance.stop(), 0);
    assert.deepEqual(await untilNone(() => remains(this.home), goneMs), []);
    assert.deepEqual(instanceGroups(this.home), []);
    rmSync(dirname(this.home), { recursive: true, force: true });
  }
}

function pidsOf(instance: Instance): { control: number; runner: number } | null {
  try {
    return instance.pids();
  } catch {
    return null;
  }
}

async function gone(pid: number): Promise<void> {
  const there = () => (existsSync(`/proc/${pid}/exe`) && isAlive(pid) ? [pid] : []);
  assert.deepEqual(await untilNone(there, goneMs), [], `process ${pid} ends`);
}

/** A process that has ended stays as a zombie until its parent has looked. */
function isAlive(pid: number): boolean {
  try {
    return !/^State:\s*[ZX]/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'));
  } catch {
    return false;
  }
}

/** Below the range that outgoing connections take theirs from. */
async function freePort(): Promise<number> {
  for (;;) {
    const port = seeded(Date.now()).between(15_000, 30_000);
    const server = createServer();
    const listening = once(server, 'listening').then(
      () => true,
      () => false,
    );
    server.listen(port, '127.0.0.1');
    if (!(await listening)) continue;
    server.close();
    await once(server, 'close');
    return port;
  }
}

describe('kill -9 at random moments of a busy server', () => {
  const rounds: Victim[] = random.shuffle([
    ...Array<Victim>(8).fill('control'),
    ...Array<Victim>(6).fill('runner'),
    ...Array<Victim>(3).fill('both'),
    ...Array<Victim>(3).fill('up'),
    ...Array<Victim>(4).fill('all'),
  ]);
  let victims: Victims;
  let work: CrashWork;

  before(async () => {
    victims = await Victims.open();
    work = new CrashWork({ random, client: () => victims.client });
    work.start(4);
  });

  for (const [index, victim] of rounds.entries())
    it(`round ${index + 1}: after kill -9 of ${victim} nothing acknowledged is lost, nothing strays, the log verifies`, async () => {
      await pause(random.between(100, 900));
      await victims.kill(victim);
      assert.deepEqual(await contradictions(work, victims.client, victims.deaths), []);
      await victims.noStrays();
      await victims.verify();
      assert.deepEqual(work.problems, []);
    });

  it('afterwards every run has ended, everything exists once, and all output is there', async () => {
    await work.stop();
    for (const run of work.runs.values()) {
      if (run.remove !== 'no') continue;
      if (run.kind === 'endless' && run.stop === 'no' && run.close === 'no') await work.stopRun(run);
      await victims.client.runs.wait(run.id, { timeoutSeconds: 60 });
    }
    assert.deepEqual(await contradictions(work, victims.client, victims.deaths), []);
    assert.deepEqual(await doubles(work, victims.client), []);
    assert.deepEqual(await wrongOutputs(work, victims.client), []);
    assert.deepEqual(work.problems, []);
    const ends = [...work.runs.values()].map(({ end }) => (end === null ? 'removed' : JSON.parse(end).phase));
    console.log(
      `${work.runs.size} runs, ${work.sessions.size} sessions, ${work.repeated} repeated calls`,
      count(ends),
    );
    for (const phase of ['succeeded', 'failed', 'cancelled'])
      assert(ends.includes(phase), `some runs ended as ${phase}`);
    assert(work.repeated > rounds.length / 2, 'the kills were felt');
  });

  it('no process, mount, socket, network namespace or control group is left', async () => {
    const { runner } = victims.instance.pids();
    const namespaces = namespacesOf(runner);
    assert(namespaces.size > 0, 'the runner holds namespaces ready');
    await victims.stopAndRemove();
    assert.deepEqual(namespacesInUse(namespaces), []);
  });
});

function count(words: readonly string[]): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const word of words) counts[word] = (counts[word] ?? 0) + 1;
  return counts;
}
