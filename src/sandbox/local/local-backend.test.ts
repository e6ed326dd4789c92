import assert from 'node:assert/strict';
import { X509Certificate } from 'node:crypto';
import {
  chmodSync,
  chownSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { type Clock, systemClock } from '../../base/clock.ts';
import { Fault } from '../../contract/faults.ts';
import { unlimitedEgress } from '../../model/egress.ts';
import type { RunId } from '../../model/ids.ts';
import { type Bench, backendConformance, requestOf, runIn } from '../backend.conformance.ts';
import { systemView } from './bubblewrap.ts';
import { groupFolder, readGroupMounts } from './cgroup/mounts.ts';
import { openControlGroups } from './cgroup/open.ts';
import { localLimits } from './limits.ts';
import { LocalBackend } from './local-backend.ts';
import { NamespaceMaker } from './namespaces.ts';
import { openLocalBackend } from './open.ts';
import { TrustFolders } from './trust-folders.ts';

/** As root; the same walls for an ordinary user are tried end to end in tests/escape. */
const asRoot = process.getuid?.() === 0;
const uid = 2_000_000_050;
const skip = asRoot ? false : 'needs root; tests/escape tries the ordinary user';
let folder: string;
let bench: Bench;

const open = (instance: string, bubblewrap?: string, clock: Clock = systemClock) =>
  openLocalBackend({
    folder: join(folder, instance),
    instance: `sealwright-test-${process.pid}-${instance}`,
    mode: 'root',
    probeUid: uid,
    gateway: null,
    clock,
    workerUrl: new URL('./namespace-worker.ts', import.meta.url),
    ...(bubblewrap === undefined ? {} : { bubblewrap }),
  });

before(async () => {
  folder = mkdtempSync(join(tmpdir(), 'sealwright-local-'));
  chmodSync(folder, 0o755);
  const workspace = join(folder, 'workspace');
  for (const path of [workspace, join(folder, 'main'), join(folder, 'broken'), join(folder, 'aged')])
    mkdirSync(path);
  if (!asRoot) return;
  chownSync(workspace, uid, uid);
  bench = { backend: await open('main'), uid, workspace };
});
after(async () => {
  await bench?.backend.close();
  rmSync(folder, { recursive: true, force: true });
});

if (asRoot) backendConformance('local', () => bench);
else test('the local backend keeps its promises', { skip }, () => undefined);

/** bubblewrap with one of its options changed on the way, as if the machine could not do it. */
function brokenBubblewrap(name: string, sed: string): string {
  const path = join(folder, `bwrap-${name}`);
  const script = [
    '#!/bin/bash',
    `mapfile -t words < <(tr '\\0' '\\n' <&3 | sed '${sed}')`,
    'exec 3<&-',
    'shift 2',
    // biome-ignore lint/suspicious/noTemplateCurlyInString: it is the shell's
    'exec /usr/bin/bwrap "${words[@]}" "$@"',
  ];
  writeFileSync(path, `${script.join('\n')}\n`, { mode: 0o755 });
  chmodSync(path, 0o755);
  return path;
}

const breaks: readonly [wall: string, sed: string, says: RegExp][] = [
  ['nothing', 's/x/x/', /^$/],
  ['seccomp', '/^--seccomp$/,+1d', /seccomp/],
  ['PID namespace', '/^--unshare-pid$/d', /PID namespace/],
  ['read-only root', '/^--remount-ro$/{N;/\\n\\/$/d}', /read-only root/],
  ['user id', 's/^10001$/10002/', /user id/],
  ['mount namespace', 's#^--hostname$#--dir\\n/root\\n--hostname#', /mount namespace/],
];

for (const [wall, sed, says] of breaks) {
  test(`a start without its wall is refused, naming it: ${wall}`, { skip }, async () => {
    const opening = open('broken', brokenBubblewrap(wall.replaceAll(' ', '-'), sed));
    if (wall === 'nothing') return await (await opening).close();
    await assert.rejects(
      opening,
      (error: unknown) =>
        error instanceof Fault && error.code === 'sandbox.unavailable' && says.test(error.detail),
    );
    return undefined;
  });
}

const withFault = (detail: RegExp) => (error: unknown) =>
  error instanceof Fault && error.code === 'sandbox.unavailable' && detail.test(error.detail);

const egress = {
  run: 'run_trust' as RunId,
  policy: { mode: 'restricted', generation: 1, rules: [], limits: unlimitedEgress },
} as const;

test('a sandbox with a network has an authority of its own, one without has what the machine trusts', {
  skip,
}, async () => {
  const script = 'cd /etc/sealwright; cat ca.pem; echo ====; tail -c 4000 ca-certificates.crt';
  const command = ['sh', '-c', script];
  const trusted = async () => String((await runIn(bench, command, { egress })).stdout).split('====\n');
  const [one, other] = [await trusted(), await trusted()];
  assert.ok(one[1]!.endsWith(one[0]!));
  assert.notEqual(one[0], other[0]);
  const { stdout, stderr } = await runIn(bench, command);
  assert.match(stderr, /ca\.pem: No such file/);
  const machine = '/etc/ssl/certs/ca-certificates.crt';
  if (existsSync(machine))
    assert.equal(String(stdout), `====\n${readFileSync(machine, 'latin1').slice(-4000)}`);
});

test('a start that was prepared too long ago is not used; where no certificates can be written none is', {
  skip,
}, async (t) => {
  let now = Date.now();
  const aged = await open('aged', undefined, { ...systemClock, now: () => now });
  t.after(() => aged.close());
  const trust = join(folder, 'aged', 'trust');
  const validFrom = async () => {
    const { stdout } = await runIn({ ...bench, backend: aged }, ['cat', '/etc/sealwright/ca.pem'], {
      egress,
    });
    return +new X509Certificate(stdout).validFromDate;
  };
  const prepared = async () => {
    while (readdirSync(trust).length < localLimits.preparedStarts) await pause(5);
  };
  const day = 86_400_000;
  const seconds = (ms: number) => Math.floor(ms / 1_000) * 1_000;
  await prepared();
  const first = seconds(now - day);
  now += 29 * day;
  assert.equal(await validFrom(), first, 'the control: it is used while it is good');
  for (const leap of [31 * day, -day]) {
    await prepared();
    now += leap;
    assert.equal(await validFrom(), seconds(now - day));
  }
  await prepared();
  now += 31 * day;
  rmSync(trust, { recursive: true });
  await assert.rejects(validFrom(), withFault(/certificates .* could not be written \(ENOENT\)/));
});

test('a strict run is taken where control groups hold its limits', { skip }, async () => {
  assert.match(bench.backend.heldBy.memory, /^cgroup-v[12]$/);
  assert.equal((await runIn(bench, ['true'], { strict: true })).end.status, 0);
});

test('a strict run is refused where a limit is held by weaker means, naming them', { skip }, async () => {
  const namespaces = new NamespaceMaker(new URL('./namespace-worker.ts', import.meta.url));
  const preparation = {
    bubblewrap: '/usr/bin/bwrap',
    seccompFile: '/dev/null',
    groups: null,
    namespaces,
    gateway: null,
    trust: new TrustFolders(join(folder, 'weak'), '/nonexistent'),
    clock: systemClock,
  };
  const weak = new LocalBackend({ mode: 'user', system: systemView('/etc'), preparation });
  const refused = weak.create(requestOf(bench, ['true'], { strict: true }));
  await assert.rejects(
    refused,
    (error: unknown) => error instanceof Fault && /memory \(watcher\)/.test(error.detail),
  );
  await weak.close();
});

test('memory and processes are held by the group, and the end says which was overrun', { skip }, async () => {
  const { limits } = requestOf(bench, ['true']);
  const hungry = await runIn(bench, ['perl', '-e', '$x = "x" x 200_000_000; print length $x'], {
    limits: { ...limits, memoryBytes: 64 * 1024 ** 2 },
  });
  assert.equal(hungry.end.overrun, 'memory');
  const many = await runIn(bench, ['bash', '-c', 'for i in {1..60}; do sleep 5 & done; exit 1'], {
    limits: { ...limits, pids: 20 },
  });
  assert.equal(many.end.overrun, 'pids');
  const modest = await runIn(bench, ['bash', '-c', 'for i in {1..10}; do sleep 0 & done; wait'], {
    limits: { ...limits, pids: 20 },
  });
  assert.deepEqual([modest.end.overrun, modest.end.status], [null, 0]);
});

test('closing ends every sandbox and leaves no control group and no namespace', { skip }, async () => {
  const backend = await open('closing');
  const sandbox = await backend.create(requestOf(bench, ['sleep', '600']));
  await backend.close();
  assert.equal((await sandbox.ended).status, 137);
  const pids = groupFolder(readGroupMounts(), 'pids') ?? groupFolder(readGroupMounts(), 'unified')!;
  assert.equal(existsSync(join(pids, `sealwright-test-${process.pid}-closing`)), false);
  assert.ok(!readFileSync('/proc/self/mounts', 'utf8').includes(folder));
});

test('control groups that a sweep had to leave go with the instance', { skip }, async (t) => {
  const groups = openControlGroups(`sealwright-test-${process.pid}-left`);
  if (groups === null) return t.skip('no control groups for root here');
  const left = await groups.create('start-1');
  groups.close();
  assert.throws(() => left.remove(), { code: 'ENOENT' });
});
