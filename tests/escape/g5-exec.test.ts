import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { Fault } from '../../src/contract/faults.ts';
import { requestOf } from '../../src/sandbox/backend.conformance.ts';
import type { Sandbox, SandboxRequest } from '../../src/sandbox/backend.ts';
import { execOf, idle, outcomeOf, Shown } from '../../src/sandbox/terminal.conformance.ts';
import { untilNone } from '../support/host-traces.ts';
import {
  isOrdinaryUser,
  openBench,
  passesAsOrdinaryUser,
  removeBenchOf,
  skipAs,
} from '../support/ordinary-user.ts';
import { answersOf, perl, sh } from '../support/workload.ts';

/** G5: a command beside a sandbox's own has the same walls, and a workload cannot use its start to get past them. */

const size = { columns: 80, rows: 24 } as const;
const [EPERM, ENOSYS] = [1, 38];
let bench: Awaited<ReturnType<typeof openBench>>;

const limited = (more: Partial<SandboxRequest['limits']>): Partial<SandboxRequest> => ({
  limits: { ...requestOf(bench, []).limits, ...more },
});

async function asked(sandbox: Sandbox, script: string, ...words: readonly string[]) {
  const { stdout, stderr, status } = await outcomeOf(await sandbox.exec(execOf(perl(script, ...words))));
  assert.equal(status, 0, stderr);
  return answersOf(stdout);
}

/** A hostile own command that goes on for as long as its sandbox is well, and says so. */
async function hostile(script: string, more: Partial<SandboxRequest> = {}) {
  const sandbox = await bench.backend.create(requestOf(bench, perl(script), more));
  const shown = new Shown(sandbox.stdout);
  await shown.shows(/up/);
  return { sandbox, shown };
}

const descriptors = () => readdirSync('/proc/self/fd').length;

/** Starts are prepared behind what a test does. */
async function settledDescriptors(wanted: (count: number) => boolean): Promise<void> {
  assert.deepEqual(await untilNone(() => (wanted(descriptors()) ? [] : [descriptors()]), 10_000), []);
}

const walls = `
  open my $status, '<', '/proc/self/status'; while (<$status>) { say($1, $2) if /^(Uid|Gid|NoNewPrivs|Seccomp|Cap\\w+|Groups):\\s*(.*)/ }
  for my $ns ('pid', 'net', 'ipc') { say("ns $ns", readlink "/proc/self/ns/$ns") }
  for my $path ('/usr/x', '/x', '/etc/x', '/sealwright/x', '/dev/x', '/proc/1/x') { say("write $path", open(my $f, '>', $path) ? 1 : 0) }
  for my $path (@ARGV, '/root', '/sys', '/etc/shadow', '/proc/1/status', '/proc/1/environ', '/sealwright/start/..' . '/..' x 9 . '/root') { say("there $path", -e $path ? 1 : 0) }
  say('own', open(my $f, '>', '/workspace/own') ? 1 : 0);
  opendir(my $d, '/proc/self/fd'); say('fds', join ' ', sort grep /^[0-9]+$/ && -e "/proc/self/fd/$_", readdir $d);
  my %arguments = (unshare => [0x10000000], mount => [0, 0, 0, 0, 0], setns => [0, 0], io_uring_setup => [1, 0], bpf => [0, 0, 0], keyctl => [0, 0]);
  for my $call (sort keys %arguments) { say("call $call", syscall($nr{$call}, @{$arguments{$call}}) < 0 ? 0 + $! : 'done') }
  say('call getpid', syscall($nr{getpid}) > 1 ? 'done' : 'failed');
  socket(my $raw, 17, 3, 0) and say('packet', 1); say('session', POSIX::getpgrp() == $$ ? 1 : 0);
  open my $limits, '<', '/proc/self/limits'; while (<$limits>) { say("limit $1", "$2 $3") if /^(Max processes|Max open files|Max file size|Max core file size) +(\\S+) +(\\S+)/ }
  open my $groups, '<', '/proc/self/cgroup'; local $/; my $text = <$groups>; say('groups', $text);`;

function wallTests() {
  test('a command beside is behind every wall that the own command is behind', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'sealwright-bait-'));
    writeFileSync(join(folder, 'bait'), 'bait');
    const script = `${walls} print "standing\\n"; pause(600)`;
    const own = await bench.backend.create(requestOf(bench, perl(script, join(folder, 'bait'))));
    const shown = new Shown(own.stdout);
    await shown.shows(/standing/);
    const ofOwn = answersOf(shown.text);
    const ofExec = await asked(own, walls, join(folder, 'bait'));
    own.kill();
    rmSync(folder, { recursive: true });
    assert.deepEqual(
      [ofExec.get('Seccomp'), ofExec.get('NoNewPrivs'), ofExec.get('CapEff'), ofExec.get('CapBnd')],
      ['2', '1', '0'.repeat(16), '0'.repeat(16)],
    );
    assert.match(ofExec.get('Uid')!, /^10001\s+10001\s+10001\s+10001$/);
    for (const call of ['unshare', 'mount', 'setns', 'io_uring_setup', 'bpf', 'keyctl'])
      assert.ok(
        [EPERM, ENOSYS].includes(Number(ofExec.get(`call ${call}`))),
        `${call}: ${ofExec.get(`call ${call}`)}`,
      );
    assert.deepEqual(
      [ofExec.get('call getpid'), ofExec.get('own')],
      ['done', '1'],
      'the control: not all is refused',
    );
    for (const [name, value] of ofExec)
      if (/^(write|there|packet)/.test(name)) assert.equal(value, '0', name);
    ofOwn.delete('session');
    ofExec.delete('session');
    assert.deepEqual([...ofExec].sort(), [...ofOwn].sort());
  });

  test('nothing of its start stays open, with a terminal or without', async (t) => {
    const own = await idle(bench);
    t.after(() => own.kill());
    const piped = await outcomeOf(await own.exec(execOf(sh('ls /proc/self/fd'))));
    assert.equal(piped.stdout, '0\n1\n2\n3\n');
    const typed = await own.exec(execOf(sh('ls /proc/self/fd'), { terminal: size }));
    await new Shown(typed.terminal!.output).shows(/^0 {2}1 {2}2 {2}3\r\n$/);
  });

  test('it counts against the limits of the run: processes', async (t) => {
    const own = await idle(bench, limited({ pids: 30 }));
    t.after(() => own.kill());
    const forks = `my $made = 0; for (1 .. 60) { my $pid = fork; last unless defined $pid; if ($pid == 0) { pause(5); POSIX::_exit(0) } $made++ }
      say('made', $made); kill 'KILL', -$$ if 0;`;
    const alone = Number((await asked(own, forks)).get('made'));
    assert.ok(alone > 15 && alone < 31, `${alone}`);
    const two = await Promise.allSettled([asked(own, forks), asked(own, forks)]);
    const made = two.flatMap((one) => (one.status === 'fulfilled' ? Number(one.value.get('made')) : []));
    assert.ok(made.reduce((sum, count) => sum + count, 0) < 31, `${made}`);
  });

  test('it counts against the limits of the run: memory', async () => {
    const own = await idle(bench, limited({ memoryBytes: 96 * 1024 ** 2 }));
    const hungry = await own.exec(execOf(perl('my $x = "x" x 300_000_000; print "had it\\n"; pause(5);')));
    const { status, stdout } = await outcomeOf(hungry);
    assert.equal(status, 137, stdout);
    own.kill();
    assert.equal((await own.ended).overrun, 'memory');
  });

  test('its network is the sandbox’s: with nobody to answer every connection is refused', async (t) => {
    const own = await idle(bench);
    t.after(() => own.kill());
    const script = `for my $address ('127.0.0.1', '1.1.1.1', '169.254.169.254') { socket(my $s, AF_INET, SOCK_STREAM, 0);
      say($address, connect($s, pack_sockaddr_in(443, inet_aton($address))) ? 'connected' : "$!") }`;
    const said = await asked(own, script);
    assert.deepEqual([...new Set(said.values())], ['Connection refused']);
  });
}

/** Tries what one process can do to others, on all it can see but itself and its own; says what it could. */
const tamper = `
  my %own = ($$ => 1); my $child = fork; if ($child == 0) { pause(600); POSIX::_exit(0) } $own{$child} = 1;
  sub tamper { my ($pid) = @_; my @could;
    syscall($nr{ptrace}, 0x4206, $pid, 0, 0) == 0 and push @could, 'seize';
    for my $path ('mem', 'environ', 'maps', 'syscall', 'auxv') { my ($b, $f); sysopen($f, "/proc/$pid/$path", O_RDONLY) && (sysread($f, $b, 1) // 0) > 0 and push @could, $path }
    for my $link ('exe', 'cwd', 'root', 'fd/0', 'fd/1', 'fd/7', 'ns/user') { defined readlink "/proc/$pid/$link" and push @could, $link }
    for my $folder ('cwd/.', 'root/.', 'fd/3/.') { opendir(my $d, "/proc/$pid/$folder") and push @could, $folder }
    push @could, 'readv' if syscall($nr{process_vm_readv}, $pid, my $x = "\\0" x 16, 1, my $y = "\\0" x 16, 1, 0) > 0;
    my $fd = syscall($nr{pidfd_open}, $pid, 0); push @could, 'getfd' if $fd >= 0 && syscall($nr{pidfd_getfd}, $fd, 7, 0) >= 0; POSIX::close($fd) if $fd >= 0;
    return join ',', @could }
  say('child', tamper($child)); print "up\\n"; my %seen;
  while (1) { opendir(my $proc, '/proc'); for my $pid (grep /^[0-9]+$/, readdir $proc) { next if $own{$pid}; $seen{$pid}++ or print "saw $pid\\n"; my $could = tamper($pid); print "could $pid $could\\n" if $could ne '' } }`;

function startTests() {
  test('a workload that tampers with what it sees gets into no command on its way in', async (t) => {
    const { sandbox, shown } = await hostile(tamper);
    t.after(() => sandbox.kill());
    assert.match(
      answersOf(shown.text).get('child')!,
      /seize.*maps.*fd/,
      'the control: it can with its own child',
    );
    for (let index = 0; index < 40; index += 1) {
      const exec = await sandbox.exec(
        execOf(sh('echo through'), { terminal: index % 2 === 0 ? null : size }),
      );
      await new Shown(exec.terminal?.output ?? exec.stdout).shows(/through/);
      await exec.ended;
    }
    assert.ok(
      shown.text.split('\n').filter((line) => line.startsWith('saw')).length > 20,
      'it has seen them',
    );
    assert.doesNotMatch(shown.text, /could/);
  });

  test('a workload that kills all it can ends commands beside, and nothing else', async () => {
    const before = descriptors();
    const { sandbox, shown } = await hostile(
      'print "up\\n"; my $turn = 0; while (1) { kill "KILL", -1; print "tick\\n" if ++$turn % 500 == 0 }',
    );
    const outcomes = await Promise.allSettled(
      Array.from({ length: 12 }, async (_, index) => {
        const exec = await sandbox.exec(
          execOf(['sleep', '600'], { terminal: index % 2 === 0 ? null : size }),
        );
        await exec.ended;
        exec.terminal?.close();
        for (const stream of [exec.stdin, exec.stdout, exec.stderr]) stream?.destroy();
      }),
    );
    for (const outcome of outcomes)
      if (outcome.status === 'rejected')
        assert.ok(
          outcome.reason instanceof Fault && outcome.reason.code === 'sandbox.unavailable',
          `${outcome.reason}`,
        );
    const ticks = shown.text.length;
    await shown.shows(new RegExp(`^.{${ticks}}.*tick`, 's'));
    sandbox.kill();
    await sandbox.ended;
    await settledDescriptors((count) => count <= before + 8);
  });

  test('a workload that stops all it sees holds a command up for its time, and nothing is left of it', async () => {
    const { sandbox, shown } = await hostile(
      'print "up\\n"; my $turn = 0; while (1) { opendir(my $p, "/proc"); for (grep /^[0-9]+$/, readdir $p) { kill "STOP", $_ if $_ != $$ } print "tick\\n" if ++$turn % 500 == 0 }',
    );
    const outcomes = await Promise.allSettled([
      sandbox.exec(execOf(['true'])),
      sandbox.exec(execOf(['true'])),
    ]);
    for (const outcome of outcomes)
      if (outcome.status === 'fulfilled') outcome.value.kill();
      else assert.ok(outcome.reason instanceof Fault && outcome.reason.code === 'sandbox.unavailable');
    const ticks = shown.text.length;
    await shown.shows(new RegExp(`^.{${ticks}}.*tick`, 's'));
    sandbox.kill();
    await sandbox.ended;
  });

  test('a workload that holds every process of its limit leaves no room, and frees it again', async (t) => {
    const { sandbox, shown } = await hostile(
      `my @held; while (defined(my $pid = fork)) { if ($pid == 0) { pause(600); POSIX::_exit(0) } push @held, $pid } print "up\\n"; pause(0.05) until -e '/workspace/let-go'; kill 'KILL', @held; waitpid $_, 0 for @held; print "let go\\n"; pause(600)`,
      limited({ pids: 40 }),
    );
    t.after(() => sandbox.kill());
    const refused = await Promise.allSettled(Array.from({ length: 4 }, () => sandbox.exec(execOf(['true']))));
    for (const outcome of refused) {
      assert.equal(outcome.status, 'rejected');
      assert.ok(
        outcome.reason instanceof Fault && outcome.reason.code === 'sandbox.unavailable',
        `${outcome.reason}`,
      );
    }
    writeFileSync(join(bench.workspace, 'let-go'), '');
    await shown.shows(/let go/);
    rmSync(join(bench.workspace, 'let-go'));
    assert.equal((await outcomeOf(await sandbox.exec(execOf(['true'])))).status, 0);
  });

  test('a workload that spoils its folders spoils no start', async (t) => {
    const { sandbox } = await hostile(
      `my $b = 'x' x 1048576; open my $f, '>', '/tmp/fill'; 1 while syswrite $f, $b; $b = '';
      symlink '/workspace', "/tmp/$_" for 'newroot', 'oldroot'; mkdir '/workspace/newroot'; chmod 0, '/tmp', '/var/tmp', '/dev/shm', '/home/agent'; print "up\\n"; pause(600)`,
      limited({ memoryBytes: 256 * 1024 ** 2 }),
    );
    t.after(() => sandbox.kill());
    const { stdout, status } = await outcomeOf(await sandbox.exec(execOf(sh('pwd; id -u'))));
    assert.deepEqual([stdout, status], ['/workspace\n10001\n', 0]);
  });

  test('a command beside cannot get into the own command, nor into another one beside', async (t) => {
    const own = await idle(bench);
    t.after(() => own.kill());
    const other = await own.exec(execOf(['sleep', '600']));
    const exec = await own.exec(execOf(perl(tamper)));
    const shown = new Shown(exec.stdout);
    await shown.shows(/up.*saw 2\n.*(saw \d+\n.*){3}/s);
    assert.match(answersOf(shown.text).get('child')!, /seize/);
    exec.kill();
    await exec.ended;
    assert.doesNotMatch(shown.text, /could/);
    other.kill();
    await other.ended;
  });
}

function endTests() {
  test('starts that worked and starts that did not leave no descriptor and no process', async () => {
    const own = await idle(bench);
    const children = () =>
      readFileSync(`/proc/self/task/${process.pid}/children`, 'utf8').trim().split(' ').length;
    const round = async () => {
      for (const terminal of [null, size]) {
        await outcomeOfAny(own, ['true'], '/', terminal);
        await outcomeOfAny(own, ['true'], '/none', terminal);
        await outcomeOfAny(own, ['no-such-program'], '/', terminal);
      }
    };
    await round();
    await settledDescriptors(() => true);
    const [fds, alive] = [descriptors(), children()];
    for (let index = 0; index < 8; index += 1) await round();
    await settledDescriptors((count) => count <= fds);
    assert.ok(children() <= alive);
    own.kill();
    await own.ended;
  });

  test('when the runner is killed nothing of a sandbox, its terminals and commands is left', async () => {
    const runner = spawn(
      process.execPath,
      [import.meta.filename, 'mortal', ...(isOrdinaryUser ? ['as-ordinary-user'] : [])],
      {
        stdio: ['ignore', 'pipe', 'inherit'],
      },
    );
    const [, workspace, list] = await new Shown(runner.stdout).shows(/workspace (.*) pids (.*)\n/);
    const pids = list!.split(' ').map(Number);
    const described = pids.map((pid) => ({ pid, command: readFileSync(`/proc/${pid}/cmdline`, 'latin1') }));
    assert.ok(
      described.filter(({ command }) => command.startsWith('sleep')).length >= 4,
      JSON.stringify(described),
    );
    runner.kill('SIGKILL');
    assert.deepEqual(await untilNone(() => pids.filter((pid) => isLiving(pid)), 10_000), []);
    removeBenchOf(runner.pid!, workspace!);
  });
}

function isLiving(pid: number): boolean {
  try {
    return !/^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'));
  } catch {
    return false;
  }
}

async function outcomeOfAny(
  own: Sandbox,
  command: readonly string[],
  cwd: string,
  terminal: typeof size | null,
) {
  try {
    const exec = await own.exec(execOf(command, { cwd, terminal }));
    exec.terminal?.output.resume();
    await outcomeOf(exec);
    exec.terminal?.close();
    exec.stdin?.destroy();
  } catch (error) {
    assert.ok(error instanceof Fault && error.code === 'state.conflict' && cwd === '/none', String(error));
  }
}

/** A runner that is about to be killed: with a terminal, and commands beside of both kinds. */
async function beMortal(): Promise<void> {
  const mortal = await openBench();
  const own = await mortal.backend.create(
    requestOf(mortal, sh('echo up; sleep 601; true'), { terminal: size }),
  );
  await new Shown(own.terminal!.output).shows(/up/);
  for (const terminal of [null, size, null]) {
    const exec = await own.exec(execOf(sh('echo up; setsid sleep 602 & sleep 603; true'), { terminal }));
    await new Shown(exec.terminal?.output ?? exec.stdout).shows(/up/);
  }
  const { descendantsOf } = await import('../../src/sandbox/local/processes.ts');
  const asleep = () =>
    descendantsOf(process.pid).filter((pid) =>
      readFileSync(`/proc/${pid}/cmdline`, 'latin1').startsWith('sleep'),
    );
  while (asleep().length < 7) await new Promise((resolve) => setTimeout(resolve, 10));
  process.stdout.write(`workspace ${mortal.workspace} pids ${descendantsOf(process.pid).join(' ')}\n`);
}

if (process.argv.includes('mortal')) {
  await beMortal();
} else if (isOrdinaryUser || skipAs.root === false) {
  before(async () => {
    bench = await openBench();
  });
  after(async () => await bench?.remove());
  wallTests();
  startTests();
  endTests();
} else {
  test('a command beside, as root', { skip: skipAs.root }, () => undefined);
}

if (!isOrdinaryUser && !process.argv.includes('mortal'))
  test(
    'all of it holds as an ordinary user',
    { skip: skipAs.user },
    async () => await passesAsOrdinaryUser(import.meta.filename),
  );
