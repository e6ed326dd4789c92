import assert from 'node:assert/strict';
import { once } from 'node:events';
import { chmodSync, chownSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import type { Client } from '../../src/client/client.ts';
import {
  descendantsOf,
  HeldNamespaces,
  type HostProcess,
  instanceGroups,
  isAlive,
  processesOf,
  remains,
  straysFrom,
  untilNone,
} from './host-traces.ts';
import { cli, type Instance, startInstance } from './instance.ts';
import { type Seeded, seeded } from './seeded.ts';

export type Victim = 'control' | 'runner' | 'both' | 'up' | 'all';
type Part = 'control' | 'runner';

const readyMs = 20_000;
/** How long what should be gone may take to go. */
const goneMs = 10_000;

/** A real server on a data folder of its own that is killed and started again. */
export class MortalServer {
  readonly home: string;
  /** When runners were made to end, in ms of the epoch. */
  readonly deaths: { from: number; to: number }[] = [];
  instance!: Instance;
  readonly #logSeen = { control: 0, runner: 0 };
  readonly #random: Seeded;
  readonly #port: number;
  readonly #prefix: readonly string[];

  private constructor(random: Seeded, port: number, uid: number | null) {
    const folder = mkdtempSync(join(tmpdir(), 'sealwright-mortal-'));
    this.home = join(folder, 'home');
    this.#random = random;
    this.#port = port;
    this.#prefix =
      uid === null ? [] : ['/usr/bin/setpriv', `--reuid=${uid}`, `--regid=${uid}`, '--clear-groups', '--'];
    if (uid !== null) chownSync(folder, uid, uid);
    chmodSync(folder, 0o700);
  }

  /** As `uid`, or as whoever runs the test. The port stays the same for good. */
  static async open(random: Seeded, uid: number | null = null): Promise<MortalServer> {
    const server = new MortalServer(random, await freePort(random), uid);
    await server.start();
    return server;
  }

  get client(): Client {
    return this.instance.client;
  }

  async start(): Promise<void> {
    this.instance = await this.#startUp().catch((error: Error) => {
      const there = JSON.stringify(processesOf(this.home), null, 1);
      throw new Error(`${error.message}\nin the way: ${there}\n${this.#logs()}`);
    });
  }

  async restart(): Promise<void> {
    assert.equal(await this.instance.stop(), 0);
    await this.start();
    await this.ready();
  }

  #startUp(): Promise<Instance> {
    const environment = { SEALWRIGHT_LISTEN: `127.0.0.1:${this.#port}`, HOME: dirname(this.home) };
    return startInstance({ home: this.home, environment, prefix: this.#prefix });
  }

  pids(): Readonly<Record<Part, number>> {
    const found = this.#parts();
    assert(found !== null, 'control and runner are there');
    return found;
  }

  #parts(): Readonly<Record<Part, number>> | null {
    const below = descendantsOf(this.instance.process.pid!);
    const [control, runner] = (['control', 'runner'] as const).map(
      (name) =>
        below.find(({ command }) => new RegExp(`^\\S+/node .*/dist/${name}\\.js $`).test(command))?.pid,
    );
    return control === undefined || runner === undefined ? null : { control, runner };
  }

  /** Ends processes without a warning and brings the server back; what comes back is sometimes killed as it starts. */
  async kill(victim: Victim): Promise<void> {
    if (victim === 'up' || victim === 'all') await this.#killUp(victim);
    else await this.#killParts(victim === 'both' ? ['control', 'runner'] : [victim]);
    await this.ready();
    await this.noStrays();
  }

  async #killParts(names: readonly Part[]): Promise<void> {
    const old = this.pids();
    const hosted = descendantsOf(old.runner);
    const from = Date.now();
    for (const name of names) process.kill(old[name], 'SIGKILL');
    for (const name of names) await gone(old[name]);
    if (names.includes('runner')) {
      assert.deepEqual(
        await untilNone(() => hosted.filter(isAlive), goneMs),
        [],
        'sandboxes die with their runner',
      );
      this.deaths.push({ from, to: Date.now() });
    }
    if (this.#random.fraction() < 0.3) await this.#killYoung(names[0]!, old);
    await this.ready();
    const now = this.pids();
    for (const name of ['control', 'runner'] as const)
      assert.equal(
        now[name] === old[name],
        !names.includes(name),
        `only what was killed is a new process: ${name}`,
      );
  }

  /** Kills a part again at some moment of its next start. */
  async #killYoung(name: Part, old: Readonly<Record<Part, number>>): Promise<void> {
    let young: number | undefined;
    while (young === undefined || young === old[name]) {
      await pause(5);
      young = this.#parts()?.[name];
    }
    await pause(this.#random.between(0, 300));
    const from = Date.now();
    process.kill(young, 'SIGKILL');
    await gone(young);
    if (name === 'runner') this.deaths.push({ from, to: Date.now() });
  }

  async #killUp(victim: 'up' | 'all'): Promise<void> {
    const up = this.instance.process.pid!;
    const { control, runner } = this.pids();
    const { namespaces, family } = await this.#belongings(up, runner);
    const from = Date.now();
    const pids = victim === 'all' ? this.#random.shuffle([up, control, runner]) : [up];
    for (const pid of pids) process.kill(pid, 'SIGKILL');
    // After `all` the next start comes at once, so that it meets whatever the earlier one left.
    if (victim === 'up') {
      assert.deepEqual(
        await untilNone(() => remains(this.home), goneMs),
        [],
        'control and runner end themselves',
      );
      assert.deepEqual(await untilNone(() => family.filter(isAlive), goneMs), []);
      assert.deepEqual(namespaces.inUse(), []);
    }
    for (const pid of [up, control, runner]) await gone(pid);
    this.deaths.push({ from, to: Date.now() });
    if (this.#random.fraction() < 0.3) await this.#killYoungUp();
    await this.start();
    assert.deepEqual(await untilNone(() => family.filter(isAlive), goneMs), []);
    assert.deepEqual(await untilNone(() => namespaces.inUse(), goneMs), []);
    namespaces.close();
  }

  /** What a server may leave behind, once there is something: sandboxes are prepared when it is ready already. */
  async #belongings(up: number, runner: number) {
    for (const late = performance.now() + goneMs; ; await pause(20)) {
      const [namespaces, family] = [new HeldNamespaces(runner), descendantsOf(up)];
      if (namespaces.size > 0 && family.length > 2) return { namespaces, family };
      namespaces.close();
      assert(performance.now() < late, 'there is something to leave behind');
    }
  }

  async #killYoungUp(): Promise<void> {
    const before = childrenOfThis();
    const outcome = this.#startUp().catch(() => null);
    const young = childrenOfThis().filter(({ pid }) => !before.some((other) => other.pid === pid));
    assert.equal(young.length, 1);
    await pause(this.#random.between(0, 900));
    const from = Date.now();
    for (const { pid } of young) process.kill(pid, 'SIGKILL');
    await outcome;
    for (const { pid } of young) await gone(pid);
    this.deaths.push({ from, to: Date.now() });
  }

  async ready(): Promise<void> {
    const deadline = performance.now() + readyMs;
    for (;;) {
      const readiness = await this.client.readiness().catch(() => null);
      if (readiness?.ready === true && this.#parts() !== null) return;
      assert(performance.now() < deadline, `not ready: ${JSON.stringify(readiness)}\n${this.#logs()}`);
      await pause(20);
    }
  }

  #logs(): string {
    const end = (name: Part) => readFileSync(join(this.home, 'logs', `${name}.log`), 'utf8').slice(-3_000);
    return `${end('control')}\n${end('runner')}`;
  }

  /** What went wrong inside since the last call, from the server's own log. */
  errors(): string[] {
    return (['control', 'runner'] as const).flatMap((name) => {
      const text = readFileSync(join(this.home, 'logs', `${name}.log`), 'utf8');
      const fresh = text.slice(this.#logSeen[name]);
      this.#logSeen[name] = text.length;
      return fresh.split('\n').filter((line) => /"level":[56]0/.test(line));
    });
  }

  async noStrays(): Promise<void> {
    const strays = () => straysFrom(this.instance.process.pid!, processesOf(this.home));
    assert.deepEqual(await untilNone(strays, goneMs), []);
  }

  async verifyAudit(): Promise<void> {
    const { status, stdout, stderr } = await cli(this.home, ['audit', 'verify']);
    assert.equal(status, 0, `${stdout}${stderr}`);
  }

  /** Ends it in order. Nothing of it may be left on the machine, and the data folder goes too. */
  async remove(): Promise<void> {
    const up = this.instance.process.pid!;
    try {
      const [namespaces, family] = [new HeldNamespaces(this.pids().runner), descendantsOf(up)];
      assert.equal(await this.instance.stop(), 0);
      assert.deepEqual(await untilNone(() => remains(this.home), goneMs), []);
      assert.deepEqual(family.filter(isAlive), []);
      assert.deepEqual(namespaces.inUse(), []);
      namespaces.close();
      assert.deepEqual(instanceGroups(this.home), []);
    } finally {
      for (const { pid } of processesOf(this.home)) process.kill(pid, 'SIGKILL');
      rmSync(dirname(this.home), { recursive: true, force: true });
    }
  }
}

function childrenOfThis(): HostProcess[] {
  return descendantsOf(process.pid).filter(({ parent }) => parent === process.pid);
}

async function gone(pid: number): Promise<void> {
  assert.deepEqual(
    await untilNone(() => [pid].filter((one) => isAlive({ pid: one })), goneMs),
    [],
    `process ${pid} ends`,
  );
}

/** Below the range that outgoing connections take theirs from, so that nobody takes it while nobody listens. */
async function freePort(random: Seeded): Promise<number> {
  const { pid } = process;
  for (let attempt = 0; ; attempt += 1) {
    const port = 15_000 + ((pid * 31 + attempt * 7 + random.between(0, 6)) % 15_000);
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

/** Whether user `uid` can run this checkout; a clone may lie where only root can go. */
export async function canRun(uid: number, path: string): Promise<boolean> {
  const { spawnSync } = await import('node:child_process');
  const words = [`--reuid=${uid}`, `--regid=${uid}`, '--clear-groups', '--', path, '--version'];
  return spawnSync('/usr/bin/setpriv', words, { env: { PATH: '/usr/bin:/bin' } }).status === 0;
}

export const printedSeed = (): Seeded => {
  const random = seeded();
  console.log(`SEALWRIGHT_SEED=${random.seed}`);
  return random;
};
