import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import type { PutPolicy } from '../../src/contract/schemas.ts';
import { FakeInternet, places } from '../../tests/support/fake-internet.ts';
import { processesOf } from '../../tests/support/host-traces.ts';
import { type Instance, startInstance } from '../../tests/support/instance.ts';
import { type LiveRun, printNamespace, processesIn, sh, startRun } from '../../tests/support/workload.ts';
import type { Prefix } from './load.ts';

export const upstreamName = 'up.example';
export const upstreamAddress = places.site;
/** Where the upstream answers: bytes, what follows a TLS hello, HTTP, and TLS indeed. */
export const ports = { raw: 7000, spliced: 7001, http: 7002, tls: 7003 } as const;

/** What 10,000 connections need of a process that holds both ends, and then some. */
const openFilesWanted = 30_000;

const spliced: PutPolicy['document']['rules'] = [
  { host: upstreamName, protocol: 'tcp', ports: [ports.raw] },
  { host: upstreamName, protocol: 'https', ports: [ports.spliced] },
  { host: upstreamName, protocol: 'http', ports: [ports.http], methods: ['GET'] },
];
const terminated: PutPolicy['document']['rules'] = [
  { host: upstreamName, protocol: 'https', ports: [ports.tls], methods: ['GET'], paths: ['/**'] },
];
/** What lets everything of the bench through. */
export const wide: PutPolicy['document'] = { rules: [...spliced] };

/** A sandbox that does nothing, into whose network load is sent. */
export type Loaded = {
  readonly run: LiveRun;
  /** Enters its network. */
  readonly enter: Prefix;
  /** The address that stands for the upstream in it. */
  readonly address: string;
};

/** A network namespace of this process's own, and in it the upstream and the product. */
export class Ground {
  readonly internet: FakeInternet;
  readonly instance: Instance;
  readonly folder: string;
  readonly load: string;
  /** Whether a policy may look into TLS here. */
  readonly terminates: boolean;
  readonly #upstream: ChildProcess;

  private constructor(
    parts: Pick<Ground, 'internet' | 'instance' | 'folder' | 'load' | 'terminates'> & {
      upstream: ChildProcess;
    },
  ) {
    this.internet = parts.internet;
    this.instance = parts.instance;
    this.folder = parts.folder;
    this.load = parts.load;
    this.terminates = parts.terminates;
    this.#upstream = parts.upstream;
  }

  /** `load` is the load generator's program, which goes with the ground. */
  static async open(load: string): Promise<Ground> {
    raiseOpenFiles();
    const folder = mkdtempSync(join(tmpdir(), 'sealwright-egress-'));
    const internet = await FakeInternet.open({ [upstreamName]: [[upstreamAddress]] }, 300);
    // Whoever opens many connections here shall not run out of ports.
    writeFileSync('/proc/sys/net/ipv4/ip_local_port_range', '1024 65535');
    writeFileSync('/proc/sys/net/ipv4/tcp_tw_reuse', '1');
    const { raw, spliced, http, tls } = ports;
    const words = ['serve', internet.caFile, internet.keyFile, ...[raw, spliced, http].map(String)];
    const upstream = spawn(load, [...words, 'tls', String(tls)], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    await once(upstream.stdout!, 'data');
    const instance = await startInstance({
      environment: { SEALWRIGHT_RESOLVERS: '127.0.0.1', SEALWRIGHT_EGRESS_CA_FILE: internet.caFile },
    });
    const terminates = await instance.client.policies
      .put('wide', { document: { rules: [...wide.rules, ...terminated] } })
      .then(
        () => true,
        () => false,
      );
    if (!terminates) await instance.client.policies.put('wide', { document: wide });
    return new Ground({ internet, instance, folder, load, terminates, upstream });
  }

  get upstreamPid(): number {
    return this.#upstream.pid!;
  }

  gatewayPid(): number {
    const found = processesOf(this.instance.home).find(({ command }) => command.includes('dist/gateway.js'));
    if (found === undefined) throw new Error('there is no gateway');
    return found.pid;
  }

  async sandbox(policy = 'wide'): Promise<Loaded> {
    const find = `perl -MSocket -e 'print "at ", inet_ntoa(inet_aton("${upstreamName}")), "\\n"'`;
    const script = `${printNamespace}; ${find}; exec sleep 3000`;
    const run = await startRun(this.instance.client, sh(script), { egress: [policy] });
    const found = await run.shows(/^(pid:.*)\nat (\S+)\n/m);
    const [member] = processesIn(this.instance.home, `${found[1]}\n`);
    if (member === undefined) throw new Error('the sandbox has no process');
    return { run, enter: ['nsenter', `--net=/proc/${member.pid}/ns/net`], address: found[2]! };
  }

  async leave({ run }: Loaded): Promise<void> {
    await this.instance.client.runs.stop(run.id);
    await run.ended;
  }

  async close(): Promise<void> {
    await this.instance.remove();
    this.#upstream.kill();
    this.internet.close();
    for (const folder of [this.folder, dirname(this.load)]) rmSync(folder, { recursive: true, force: true });
  }
}

/** As many open files as can be had, for this process and what it starts. */
function raiseOpenFiles(): void {
  for (const hard of [openFilesWanted, openFilesMax()])
    if (spawnSync('prlimit', ['--pid', String(process.pid), `--nofile=${hard}:${hard}`]).status === 0) return;
}

/** How many files a process here may have open at most. */
export function openFilesMax(): number {
  return Number(/^Max open files +\S+ +(\d+)/m.exec(readFileSync('/proc/self/limits', 'utf8'))?.[1]);
}
