import assert from 'node:assert/strict';
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import type { Client } from '../../src/client/client.ts';
import type { RunView } from '../../src/contract/schemas.ts';
import { isAlive, processesOf, untilNone } from '../support/host-traces.ts';
import { cli, type Instance } from '../support/instance.ts';
import {
  artifactText,
  type LiveRun,
  type Mode,
  modes,
  perl,
  printNamespace,
  processesIn,
  repositorySession,
  residentBytes,
  runOnce,
  sh,
  startIn,
  startRun,
} from '../support/workload.ts';

/** G6: the limits of a run hold: memory, processes, CPU, disk, time and output. */

const mib = 1024 * 1024;
/** What a watcher that looks 20 times a second lets through at most before it sees it. */
const watcherSlackBytes = 1024 * mib;

const ended = ({ phase, cause }: RunView) => `${phase} ${cause ?? ''}`.trim();

type Scene = { instance: Instance; client: Client; bystander: LiveRun };

const eatMemory = 'my @eaten; while (1) { push @eaten, "x" x 4_000_000 }';

/** Ways to hold memory that no simple count of a process's pages shows. Each would take 1 GiB. */
const hiddenMemory: Readonly<Record<string, string>> = {
  'in many children':
    'for (1 .. 64) { if (fork == 0) { my $x = "x" x 16_000_000; pause(2); POSIX::_exit(0) } } my $killed = 0; while (wait > 0) { $killed = 1 if $? & 127 } exit $killed',
  'in a file without a name':
    'my $name = "x"; my $fd = syscall($nr{memfd_create}, $name, 0); open my $f, ">&=", $fd or die; my $b = "x" x 1048576; syswrite $f, $b for 1 .. 1024; pause(30)',
  'in removed files of /dev/shm and /tmp':
    'my @kept; my $b = "x" x 1048576; for my $n (1 .. 1024) { my $path = ("/dev/shm", "/tmp", "/var/tmp")[$n % 3] . "/$n"; open my $f, ">", $path or die; unlink $path; syswrite $f, $b; push @kept, $f } pause(30)',
  'in memory that processes share':
    'my $at = syscall($nr{mmap}, 0, 1 << 30, 3, 0x21, -1, 0); pipe my $r, my $w; my $b = "x" x 4096; for (my $n = 0; $n < 1 << 30; $n += 4096) { syswrite $w, $b; syscall($nr{read}, fileno $r, $at + $n, 4096) } pause(30)',
};

function memoryTests(mode: Mode, scene: () => Scene) {
  test('a run that eats memory ends for that, within its limit, and nobody else notices', async () => {
    const { client, bystander } = scene();
    const limits = { memoryBytes: 128 * mib };
    const { run } = await runOnce(client, perl(eatMemory), { limits });
    assert.equal(ended(run), 'failed limit-memory');
    assert.match(run.reason!, /134217728/);
    assert.equal(run.signal, 'SIGKILL');
    const most = limits.memoryBytes + (mode === 'root' ? mib : watcherSlackBytes);
    assert.ok(run.usage!.peakMemoryBytes > limits.memoryBytes / 2 && run.usage!.peakMemoryBytes <= most);
    await bystander.goesOn();
    const within = await runOnce(client, perl('my $x = "x" x 30_000_000; print length $x'), { limits });
    assert.deepEqual([ended(within.run), within.stdout], ['succeeded', '30000000']);
  });

  for (const [way, script] of Object.entries(hiddenMemory)) {
    test(`memory is counted ${way}`, async () => {
      const { client, bystander } = scene();
      const began = performance.now();
      const { run } = await runOnce(client, perl(script), { limits: { memoryBytes: 160 * mib } });
      assert.equal(ended(run), 'failed limit-memory');
      assert.ok(performance.now() - began < 20_000);
      await bystander.goesOn();
    });
  }

  test('memory that processes share counts once', async () => {
    const script = `my $x = 'x' x 100_000_000; for (1 .. 8) { if (fork == 0) { pause(0.3); POSIX::_exit(0) } } 1 while wait > 0; print 'ok'`;
    const { run, stdout } = await runOnce(scene().client, perl(script), {
      limits: { memoryBytes: 400 * mib },
    });
    assert.deepEqual([ended(run), stdout], ['succeeded', 'ok']);
  });

  test('folders in memory are bounded and count as memory', async () => {
    const { client, bystander } = scene();
    const fill = (bytes: string) =>
      sh(
        `for folder in /tmp /dev/shm /var/tmp; do head -c ${bytes} /dev/zero > $folder/x; stat -c %s $folder/x; done; sleep 30`,
      );
    const limits = { memoryBytes: 128 * mib };
    const { run, stdout } = await runOnce(client, fill('1G'), { limits });
    assert.equal(ended(run), 'failed limit-memory');
    for (const size of stdout.trim().split('\n')) assert.ok(Number(size) <= limits.memoryBytes / 2, size);
    await bystander.goesOn();
    const small = await runOnce(
      client,
      sh('for folder in /tmp /dev/shm /var/tmp; do head -c 10M /dev/zero > $folder/x || exit 1; done'),
      { limits },
    );
    assert.equal(ended(small.run), 'succeeded');
  });
}

const forkBomb =
  'while (1) { my $pid = fork; if (!defined $pid) { pause(0.01) } elsif ($pid == 0) { $SIG{TERM} = "IGNORE" } }';

function processTests(mode: Mode, scene: () => Scene) {
  test('processes are bounded, the end says so, and who stays below is left alone', async () => {
    const { client } = scene();
    const script = `my $count = 0; while ($count < $ARGV[0]) { my $pid = fork; last unless defined $pid; if ($pid == 0) { pause(30); POSIX::_exit(0) } $count++ }
      say('forked', $count); pause(0.3); exit 3`;
    const over = await runOnce(client, perl(script, '200'), { limits: { pids: 50 } });
    assert.equal(ended(over.run), 'failed limit-pids');
    const forked = Number(/forked\t(\d+)/.exec(over.stdout)?.[1]);
    assert.ok(forked >= 40 && forked < 50, `${forked}`);
    assert.ok(
      over.run.usage!.peakPids >= forked && over.run.usage!.peakPids <= 50,
      `${over.run.usage!.peakPids}`,
    );
    const below = await runOnce(client, perl(script, '30'), { limits: { pids: 50 } });
    assert.deepEqual([ended(below.run), below.stdout], ['failed exit', 'forked\t30\n']);
  });

  test('a fork bomb hurts nobody else and can be stopped', async () => {
    const { client, bystander, instance } = scene();
    const live = await startRun(
      client,
      [
        'sh',
        '-c',
        `${printNamespace}; exec "$@"`,
        'sh',
        ...perl(`fork for 1 .. 3; print "up\\n"; ${forkBomb}`),
      ],
      {
        limits: { pids: 200, cpus: 1 },
      },
    );
    const members = () => processesIn(instance.home, shown[0]);
    const shown = await live.shows(/^.*^up$/ms);
    await untilNone(() => (members().length >= 100 ? [] : [1]), 5_000);
    const seen = members();
    assert.ok(seen.length >= 100 && seen.length <= 202, `${seen.length}`);
    await bystander.goesOn();
    assert.equal((await client.health()).status, 'ok');
    await client.runs.stop(live.id);
    const { run } = await live.ended;
    assert.equal(run.phase, 'cancelled');
    assert.deepEqual(seen.filter(isAlive), []);
  });

  test('threads count as processes', async (t) => {
    const script = `require threads; my @all; while (@all < 100) { my $t = eval { local $SIG{__WARN__} = sub {}; threads->create(sub { pause(30) }) }; last unless $t; push @all, $t } say('threads', scalar @all); pause(0.3); POSIX::_exit(4)`;
    const { run, stdout, stderr } = await runOnce(scene().client, perl(script), {
      limits: { pids: 30, memoryBytes: 1024 * mib },
    });
    if (/Can't locate threads.pm/.test(stderr)) return t.skip('this perl has no threads');
    const threads = Number(/threads\t(\d+)/.exec(stdout)?.[1]);
    assert.ok(threads > 20 && threads < 30, `${threads} ${stderr}`);
    assert.equal(ended(run), 'failed limit-pids');
  });

  test('two busy processes get the share of the processors that their limit names', async () => {
    const { client } = scene();
    const busy = `my $until = $ARGV[0] + (POSIX::times())[0] / 100; my $end = time + 2; fork; 1 while time < $end; 1 while wait > 0;`;
    const wide = `my $mask = "\\xff" x 128; say('widened', syscall($nr{sched_setaffinity}, 0, 128, $mask) == -1 ? 0 : 1);`;
    const { run, stdout } = await runOnce(client, perl(`${wide} ${busy}`, '0'), { limits: { cpus: 0.5 } });
    const wall = (Date.parse(run.finishedAt!) - Date.parse(run.startedAt!)) / 1000;
    const share = run.usage!.cpuSeconds / wall;
    // An affinity holds whole processors only, and it must not be undone from inside.
    if (mode === 'user') assert.match(stdout, /widened\t0/);
    assert.ok(share <= (mode === 'root' ? 0.7 : 1.15), `${share}`);
    assert.ok(share >= 0.3, `${share}`);
  });

  test('the run says what holds its limits, and a strict one is refused where that is weak', async () => {
    const { client } = scene();
    const { run } = await runOnce(client, ['true']);
    const { heldBy } = run;
    const expected =
      mode === 'root'
        ? /^cgroup-v[12] cgroup-v[12] cgroup-v[12] watcher timer$/
        : /^(cgroup-v2|affinity) (cgroup-v2|watcher) (cgroup-v2|rlimit) watcher timer$/;
    assert.match(
      `${heldBy!.cpus} ${heldBy!.memory} ${heldBy!.pids} ${heldBy!.disk} ${heldBy!.time}`,
      expected,
    );
    const strict = await runOnce(client, ['true'], { strict: true });
    const held = heldBy!.memory.startsWith('cgroup');
    assert.equal(ended(strict.run), held ? 'succeeded' : 'failed provisioning');
    if (!held) assert.match(strict.run.reason!, /memory \(watcher\)/);
  });
}

/** Ways to fill a disk. Each would take 400 MiB or 100,000 files, past a limit of 32 MiB. */
const fills: Readonly<Record<string, string>> = {
  'one large file':
    'open my $f, ">", "large"; my $b = "x" x 1048576; $SIG{XFSZ} = "IGNORE"; syswrite $f, $b for 1 .. 400;',
  'many files': 'my $b = "x" x 1048576; for (1 .. 400) { open my $f, ">", "file$_" or die; syswrite $f, $b }',
  'many small files in many folders':
    'for my $d (1 .. 400) { mkdir "d$d"; for (1 .. 250) { open my $f, ">", "d$d/$_" or die; syswrite $f, "x" } }',
  'empty files': 'for (1 .. 100_000) { open my $f, ">", "empty$_" or die }',
  'links and folders': 'for (1 .. 50_000) { symlink "x" x 200, "link$_"; mkdir "folder$_" }',
  'reserved blocks':
    '$SIG{XFSZ} = "IGNORE"; for (1 .. 20) { open my $f, ">", "reserved$_" or die; syscall($nr{fallocate}, fileno $f, 0, 0, 20 * 1048576) == 0 or die "$!" }',
  'removed files that stay open':
    'my @kept; my $b = "x" x 1048576; for my $n (1 .. 20) { open my $f, ">", "removed$n" or die; unlink "removed$n"; syswrite $f, $b for 1 .. 20; push @kept, $f }',
  'removed files in many processes':
    'my $b = "x" x 1048576; for my $n (1 .. 20) { if (fork == 0) { open my $f, ">", "removed$n" or die; unlink "removed$n"; syswrite $f, $b for 1 .. 20; pause(30); POSIX::_exit(0) } } 1 while wait > 0;',
  'a file in the home':
    'my $b = "x" x 1048576; for (1 .. 20) { open my $f, ">", "/home/agent/$_" or die; syswrite $f, $b for 1 .. 20 }',
};
/** Only root may look through a mapping at the file behind it. */
const rootFills: Readonly<Record<string, string>> = {
  'removed files that are only mapped':
    'my $b = "x" x 1048576; for my $n (1 .. 20) { open my $f, "+>", "mapped$n" or die; syswrite $f, $b for 1 .. 20; syscall($nr{mmap}, 0, 4096, 1, 1, fileno $f, 0); unlink "mapped$n" }',
};

function diskTests(mode: Mode, scene: () => Scene) {
  const limits = { diskBytes: 32 * mib };

  for (const [way, script] of Object.entries({ ...fills, ...(mode === 'root' ? rootFills : {}) })) {
    test(`a disk that is filled by ${way} ends the run`, async () => {
      const { client, instance } = scene();
      const live = await startRun(client, perl(`${script} pause(30)`), { limits });
      const { run } = await live.ended;
      assert.equal(ended(run), 'failed limit-disk');
      assert.ok(run.usage!.diskBytes < limits.diskBytes + watcherSlackBytes);
      await client.sessions.close(live.session);
      assert.equal(existsSync(join(instance.home, 'runner', 'sessions', live.session)), false);
    });
  }

  test('what a run keeps within its limit is measured, and a hole in a file is not', async () => {
    const script =
      'my $b = "x" x 1048576; open my $f, ">", "file"; syswrite $f, $b for 1 .. 10; open my $s, ">", "sparse"; truncate $s, 30 * 1048576; $SIG{XFSZ} = "IGNORE"; open my $l, ">", "long"; print truncate($l, 1 << 40) ? "huge" : "refused"';
    const { run, stdout } = await runOnce(scene().client, perl(script), { limits });
    assert.deepEqual([ended(run), stdout], ['succeeded', 'refused']);
    assert.ok(run.usage!.diskBytes >= 10 * mib && run.usage!.diskBytes < 11 * mib, `${run.usage!.diskBytes}`);
  });

  test('a limit that was overrun holds for the next run of the session too', async () => {
    const { client } = scene();
    const { run, ...first } = await runOnce(client, perl(`${fills['many files']} pause(30)`), { limits });
    assert.equal(ended(run), 'failed limit-disk', first.stderr);
    const again = await runOnce(client, perl('pause(30)'), { session: run.session, limits });
    assert.equal(ended(again.run), 'failed limit-disk');
    const freed = await runOnce(client, sh('rm -f file*'), { session: run.session });
    assert.equal(ended(freed.run), 'succeeded');
    assert.equal(
      ended((await runOnce(client, sh('sleep 0.3'), { session: run.session, limits })).run),
      'succeeded',
    );
  });
}

function timeTests(scene: () => Scene) {
  test('time ends a run, gently where it listens and after the grace where it does not', async () => {
    const { client, instance } = scene();
    const began = performance.now();
    const [polite, deaf, stopped] = await Promise.all(
      [
        sh('trap "echo bye; exit 0" TERM; echo up; while :; do sleep 0.05; done'),
        perl(`$SIG{$_} = 'IGNORE' for keys %SIG; for (1 .. 5) { fork } print "up\\n"; pause(0.1) while 1`),
        sh(`echo up; kill -STOP $$`),
      ].map(async (command) => {
        const live = await startRun(client, ['sh', '-c', `${printNamespace}; exec "$@"`, 'sh', ...command], {
          timeoutSeconds: 1,
        });
        const members = processesIn(instance.home, (await live.shows(/^.*^up$/ms))[0]);
        const end = await live.ended;
        return { ...end, left: members.filter(isAlive), tookMs: performance.now() - began };
      }),
    );
    for (const { run, left } of [polite!, deaf!, stopped!]) {
      assert.equal(run.phase, 'timed-out');
      assert.match(run.reason!, /time limit of 1 s/);
      assert.deepEqual(left, []);
    }
    assert.match(polite!.stdout, /^bye$/m);
    assert.ok(polite!.tookMs < 4_000, `${polite!.tookMs}`);
    assert.equal(deaf!.run.signal, 'SIGKILL');
    assert.ok(deaf!.tookMs < 12_000, `${deaf!.tookMs}`);
    assert.equal(ended((await runOnce(client, ['sleep', '0.2'], { timeoutSeconds: 5 })).run), 'succeeded');
  });

  test('the command line ends with 124 when time was up', async () => {
    const { instance } = scene();
    const environment = {
      HOME: join(instance.home, '..'),
      SEALWRIGHT_URL: instance.url,
      SEALWRIGHT_TOKEN: instance.bootstrapToken,
    };
    const { status } = await cli(instance.home, ['run', '--timeout', '1s', '--', 'sleep', '30'], {
      environment,
    });
    assert.equal(status, 124);
  });
}

/** What a run's log takes on the host. */
function spoolBytes(instance: Instance, run: string): number {
  const folder = join(instance.home, 'runner', 'runs', run, 'log');
  return readdirSync(folder).reduce((sum, name) => sum + statSync(join(folder, name)).size, 0);
}

function outputTests(scene: () => Scene) {
  test('endless output keeps its beginning and its end, on a bounded part of the disk', async () => {
    const { client, instance } = scene();
    const script = `print "the first line\\n"; my $line = 'x' x 99 . "\\n"; my $block = $line x 1000; print $block for 1 .. 600; print "the last line\\n"`;
    const limits = { outputBytes: mib };
    const { run } = await runOnce(client, perl(script), { limits });
    assert.equal(run.usage!.outputBytes, 60_000_029);
    const kept = spoolBytes(instance, run.id);
    assert.ok(kept > mib / 2 && kept <= mib * 1.2, `${kept}`);
    let [text, dropped] = ['', 0];
    for await (const event of client.runs.logs(run.id)) {
      if (event.event === 'stdout') text += event.bytes.toString('latin1');
      if (event.event === 'dropped') dropped += event.droppedBytes;
    }
    assert.ok(text.startsWith('the first line\n') && text.endsWith('\nthe last line\n'));
    assert.ok(dropped > 50_000_000 && text.length <= mib * 1.2);
    const short = await runOnce(client, sh('echo all of it'), { limits });
    assert.deepEqual([short.stdout, short.droppedBytes], ['all of it\n', 0]);
  });

  test('a reader that stalls costs no memory and holds up nobody', async () => {
    const { client, instance } = scene();
    const { control, runner } = instance.pids();
    const live = await startRun(
      client,
      perl(
        `while (!-e '/workspace/go') { pause(0.02) } my $block = 'x' x 65536; print $block for 1 .. 4096; print "\\ndone\\n"`,
      ),
    );
    const sockets = await Promise.all([0, 1, 2, 3].map(() => stalledReader(instance, live.id)));
    const before = [control, runner].map(residentBytes);
    await runOnce(client, sh('touch go'), { session: live.session });
    let most = [0, 0];
    const watching = setInterval(() => {
      most = [control, runner].map((pid, index) =>
        Math.max(most[index]!, residentBytes(pid) - before[index]!),
      );
    }, 20);
    const { run } = await live.ended;
    clearInterval(watching);
    assert.equal(ended(run), 'succeeded');
    assert.equal(run.usage!.outputBytes, 4096 * 65536 + 6);
    for (const [index, grown] of most.entries())
      assert.ok(grown < 160 * mib, `${['control', 'runner'][index]} grew by ${grown}`);
    for (const socket of sockets) socket.destroy();
  });
}

/** A follower of a run's log that reads the first bytes and then nothing more. */
async function stalledReader(instance: Instance, run: string) {
  const socket = connect({ host: '127.0.0.1', port: Number(new URL(instance.url).port) });
  socket.on('error', () => undefined);
  socket.write(
    `GET /api/v1/runs/${run}/logs HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\nAuthorization: Bearer ${instance.bootstrapToken}\r\n\r\n`,
  );
  const first = await new Promise<Buffer>((resolve) => socket.once('data', resolve));
  assert.match(first.toString('latin1'), /^HTTP\/1.1 200/);
  socket.pause();
  return socket;
}

async function untilClosed(client: Client, session: string): Promise<void> {
  for (;;) {
    const { phase } = await client.sessions.get(session);
    if (phase === 'closed') return;
    assert.equal(phase, 'terminating');
    await pause(20);
  }
}

function lifeTests(mode: Mode, scene: () => Scene) {
  // Started with the others, because it takes its time.
  let stuck: LiveRun;
  before(async () => {
    const { client } = scene();
    const session = await repositorySession(client, { 'a.txt': 'one\n' });
    const script = 'echo changed > a.txt; mkfifo .gitignore; sleep 600';
    stuck = await startRun(client, sh(script), { session, diff: true, timeoutSeconds: 1 });
  });

  test('deep and wide trees go with their session', async () => {
    const { client, instance } = scene();
    const files = mode === 'root' ? 100_000 : 10_000;
    const script = `chdir '/workspace'; for (1 .. 5000) { mkdir 'd' or die; chdir 'd' } chdir '/home/agent'; mkdir 'wide';
      for (1 .. ${files}) { sysopen(my $f, "wide/$_", O_WRONLY | O_CREAT) or die "$!" } chmod 0000, 'wide'; chmod 0500, '/workspace/d'`;
    const { run } = await runOnce(client, perl(script));
    assert.equal(ended(run), 'succeeded');
    assert.ok(run.usage!.cpuSeconds > 0 && run.usage!.diskBytes > files * 256, JSON.stringify(run.usage));
    const folder = join(instance.home, 'runner', 'sessions', run.session);
    assert.ok(existsSync(folder));
    await client.sessions.close(run.session);
    await untilNone(() => (existsSync(folder) ? [folder] : []), 30_000);
    assert.equal(existsSync(folder), false);
    await untilClosed(client, run.session);
  });

  test('a long command and a large environment arrive; what the kernel cannot take is a failure with a reason', async () => {
    const { client } = scene();
    const words = Array.from({ length: 100_000 }, () => 'w');
    const long = await runOnce(client, ['sh', '-c', 'echo $#', 'sh', ...words]);
    assert.equal(long.stdout, '100000\n');
    const env = Object.fromEntries(
      Array.from({ length: 900 }, (_, index) => [`V${index}`, 'v'.repeat(1000)]),
    );
    const large = await runOnce(client, sh('env | grep -c ^V'), { env });
    assert.equal(large.stdout, '900\n');
    const [huge, small] = await Promise.all([
      runOnce(client, sh('true'), { env: { HUGE: 'x'.repeat(131_071) } }),
      runOnce(client, sh('printenv HUGE | wc -c'), { env: { HUGE: 'x'.repeat(130_000) } }),
    ]);
    assert.equal(huge.run.phase, 'failed');
    assert.match(`${huge.run.reason} ${huge.stderr}`, /too long/);
    assert.equal(small.stdout, '130001\n');
  });

  test('a run that is stopped while it starts never runs on', async () => {
    const { client, instance } = scene();
    const before = processesOf(instance.home).filter(({ command }) => command.includes('sleep 4711')).length;
    assert.equal(before, 0);
    const runs = await Promise.all(
      Array.from({ length: 12 }, async (_, index) => {
        const { id } = await client.sessions.create({});
        const run = await client.runs.create({ session: id, diff: false, command: ['sleep', '4711'] });
        await pause(index);
        await client.runs.stop(run.id);
        return await client.runs.wait(run.id, { timeoutSeconds: 20 });
      }),
    );
    for (const run of runs) assert.equal(run.phase, 'cancelled');
    assert.deepEqual(
      processesOf(instance.home).filter(({ command }) => command.includes('sleep 4711')),
      [],
    );
  });

  test('a run cannot make itself unstoppable by stopping what comes to stop it', async () => {
    const { client } = scene();
    const script = `$SIG{TERM} = 'IGNORE'; print "up\\n"; while (1) { kill 'STOP', $_ for $$ + 1 .. $$ + 12 }`;
    const live = await startRun(client, perl(script), { limits: { cpus: 1 } });
    await live.shows(/up/);
    const began = performance.now();
    await client.runs.stop(live.id);
    const { run } = await live.ended;
    assert.equal(run.phase, 'cancelled');
    assert.ok(performance.now() - began < 10_000);
  });

  test('a patch that cannot be read holds a run whose time is up only so long', async () => {
    const { client } = scene();
    const { run } = await stuck.ended;
    assert.equal(run.phase, 'timed-out');
    assert.match(await artifactText(client, run, 'diff-problem'), /in time/);
    const seconds = (Date.parse(run.finishedAt!) - Date.parse(run.startedAt!)) / 1000;
    assert.ok(seconds < 40, `${seconds}`);
  });

  test('what a run used is told as it was', async () => {
    const { client } = scene();
    const script = `my $x = 'x' x 100_000_000; my $end = (POSIX::times())[1] + 50; 1 while (POSIX::times())[1] < $end; print 'o' x 1234; print STDERR 'e' x 66; open my $f, '>', 'f'; syswrite $f, 'x' x 3_000_000; pause(0.2)`;
    const { run } = await runOnce(client, perl(script));
    const usage = run.usage!;
    assert.equal(usage.outputBytes, 1300);
    assert.ok(usage.cpuSeconds >= 0.4 && usage.cpuSeconds < 5, `${usage.cpuSeconds}`);
    assert.ok(
      usage.peakMemoryBytes >= 95_000_000 && usage.peakMemoryBytes < 260_000_000,
      `${usage.peakMemoryBytes}`,
    );
    assert.ok(usage.diskBytes >= 3_000_000 && usage.diskBytes < 3_100_000, `${usage.diskBytes}`);
    assert.ok(usage.peakPids >= 1 && usage.peakPids <= 4, `${usage.peakPids}`);
  });

  test('the server is as it was after all of this', async () => {
    const { client, instance, bystander } = scene();
    await bystander.goesOn();
    const { ready } = await client.readiness();
    assert.equal(ready, true);
    const { control, runner } = instance.pids();
    for (const pid of [control, runner]) assert.ok(residentBytes(pid) < 600 * mib);
    await client.runs.stop(bystander.id);
    const { run } = await bystander.ended;
    assert.equal(run.phase, 'cancelled');
    assert.match(readFileSync(`/proc/${runner}/status`, 'utf8'), /^State:\s+[SR]/m);
    assert.deepEqual(
      processesOf(instance.home).filter(({ command }) => command.startsWith('perl')),
      [],
    );
    assert.ok(mode === 'root' || mode === 'user');
  });
}

for (const { mode, skip } of modes) {
  describe(`G6 as ${mode}`, { skip }, () => {
    let instance: Instance;
    let client: Client;
    let bystander: LiveRun;
    before(async () => {
      instance = await startIn(mode, { SEALWRIGHT_LOG_LEVEL: 'warn' });
      client = instance.client;
      bystander = await startRun(client, perl('while (1) { print "tick\\n"; pause(0.05) }'));
      await bystander.shows(/tick/);
    });
    after(async () => {
      client?.close();
      await instance?.remove();
    });
    const scene = () => ({ instance, client, bystander });

    memoryTests(mode, scene);
    processTests(mode, scene);
    diskTests(mode, scene);
    timeTests(scene);
    outputTests(scene);
    lifeTests(mode, scene);
  });
}
