import assert from 'node:assert/strict';
import { createSocket, type Socket as Datagrams } from 'node:dgram';
import { once } from 'node:events';
import {
  chmodSync,
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { type AddressInfo, connect, createServer, type Server } from 'node:net';
import { hostname, tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import type { Client } from '../../src/client/client.ts';
import { trustEnvironment } from '../../src/sandbox/trust.ts';
import { type HostProcess, isAlive, processesOf, untilNone } from '../support/host-traces.ts';
import type { Instance } from '../support/instance.ts';
import {
  answersOf,
  artifactText,
  type LiveRun,
  type Mode,
  modes,
  perl,
  printNamespace,
  probe,
  processesIn,
  repositorySession,
  runOnce,
  sh,
  startIn,
  startRun,
} from '../support/workload.ts';

/** G5: a sandbox cannot read, write, signal or trace anything of the host or of another session. */

const mark = `mark-${process.pid}-${Date.now()}`;
const [EPERM, ESRCH, ENXIO, ENOSYS, EAFNOSUPPORT, ECONNREFUSED] = [1, 3, 6, 38, 97, 111];

/** What of the host a run must not reach, made to be as open as it can be. */
type Bait = {
  readonly folder: string;
  readonly file: string;
  readonly socketPath: string;
  readonly abstractName: string;
  readonly port4: number;
  readonly port6: number;
  readonly udpPort: number;
  /** Everything that arrived from anybody. */
  readonly arrivals: string[];
  remove(): void;
};

async function layBait(): Promise<Bait> {
  const folder = mkdtempSync(join(tmpdir(), 'sealwright-bait-'));
  chmodSync(folder, 0o777);
  const file = join(folder, 'file');
  writeFileSync(file, mark, { mode: 0o644 });
  const arrivals: string[] = [];
  const servers: Server[] = [];
  const listen = async (where: Parameters<Server['listen']>[0] & object, name: string) => {
    const server = createServer((socket) => {
      arrivals.push(name);
      socket.on('error', () => undefined);
      socket.end(mark);
    });
    servers.push(server);
    server.listen(where);
    await once(server, 'listening');
    return server.address() as AddressInfo;
  };
  const socketPath = join(folder, 'socket');
  const abstractName = `sealwright-bait-${process.pid}`;
  await listen({ path: socketPath }, 'path');
  chmodSync(socketPath, 0o777);
  await listen({ path: `\0${abstractName}` }, 'abstract');
  const port4 = (await listen({ host: '127.0.0.1', port: 0 }, 'tcp4')).port;
  const port6 = (await listen({ host: '::1', port: 0 }, 'tcp6')).port;
  const datagrams: Datagrams = createSocket('udp4', () => arrivals.push('udp'));
  datagrams.bind(0, '127.0.0.1');
  await once(datagrams, 'listening');
  const remove = () => {
    for (const server of servers) server.close();
    datagrams.close();
    rmSync(folder, { recursive: true, force: true });
  };
  const udpPort = datagrams.address().port;
  return { folder, file, socketPath, abstractName, port4, port6, udpPort, arrivals, remove };
}

/** Another session's run with something of every kind, all of it as open as it can be. It ticks while it lives. */
const victimScript = `
my ($mark, @words) = @ARGV;
for my $file ('/workspace/secret', '/home/agent/secret', '/tmp/secret', '/dev/shm/secret') {
  open my $f, '>', $file or die; print $f $mark; close $f; chmod 0666, $file;
}
my $key = 0x5ea1;
defined shmget($key, 4096, 01666) && defined msgget($key, 01666) && defined semget($key, 1, 01666) or die "ipc $!";
my $queue = 'victim';
syscall($nr{mq_open}, $queue, O_CREAT | O_RDWR, 0666, 0) >= 0 or die "mq $!";
socket(my $tcp, AF_INET, SOCK_STREAM, 0); bind($tcp, pack_sockaddr_in(7001, INADDR_ANY)) or die; listen($tcp, 9);
socket(my $unix, AF_UNIX, SOCK_STREAM, 0); bind($unix, pack('S a*', AF_UNIX, "\\0victim")) or die; listen($unix, 9);
socket(my $own, AF_UNIX, SOCK_STREAM, 0);
say('connected', connect($own, pack('S a*', AF_UNIX, "\\0victim")) ? 1 : $!);
while (1) { print "tick\\n"; pause(0.05) }`;

for (const { mode, skip } of modes) {
  describe(`G5 as ${mode}`, { skip }, () => {
    let instance: Instance;
    let client: Client;
    let bait: Bait;
    let victim: LiveRun;
    before(async () => {
      bait = await layBait();
      instance = await startIn(mode, { BAIT_OF_THE_SERVER: mark, SEALWRIGHT_LOG_LEVEL: 'warn' });
      client = instance.client;
      victim = await startRun(client, perl(victimScript, mark, 'victim-word'), { env: { VICTIM: mark } });
      const connected = await victim.shows(/connected\t(\d*).*tick/s);
      assert.equal(connected[1], '1');
    });
    after(async () => {
      client?.close();
      await instance?.remove();
      bait?.remove();
    });
    const stillTicks = () => victim.goesOn();

    readingTests(() => ({ instance, client, bait, victim }));
    processTests(() => ({ instance, client, bait, victim, stillTicks }));
    kernelTests(() => ({ client }));
    writingTests(() => ({ client }));
    networkTests(() => ({ client, bait, instance }));
    workspaceTests(() => ({ client, bait }));
    endTests(mode, () => ({ instance, client }));
  });
}

type Scene = { instance: Instance; client: Client; bait: Bait; victim: LiveRun; stillTicks(): Promise<void> };

/**
 * Prints every way in which a path could be read. Arguments: paths. Ways: the path itself, and behind each
 * prefix; by a symbolic link, a hard link and relative to an open folder.
 */
const readEverywhere = `
sub readable {
  my ($path) = @_;
  return 1 if opendir(my $folder, $path);
  sysopen(my $file, $path, O_RDONLY | O_NONBLOCK) or return 0;
  return defined sysread($file, my $bytes, 64);
}
opendir(my $proc, '/proc'); my @pids = grep /^[0-9]+$/, readdir $proc;
my $up = '/..' x 30;
my @prefixes = ('', "/workspace$up", "/proc/self/cwd$up", '/proc/self/root', '/proc/thread-self/root', "/proc/self/fd/0$up",
  "/dev/fd/1$up", "/proc/self/exe$up", "/proc/self/ns/mnt$up", '/newroot', '/oldroot', '/.old', '/proc/self/map_files',
  '/run/host', '/.host', map { ("/proc/$_/root", "/proc/$_/cwd$up", "/proc/$_/fd/0$up", "/proc/$_/task/$_/root") } @pids, 1 .. 9);
open my $mounts, '<', '/proc/self/mountinfo'; my @sources = grep { $_ ne '/' } map { (split / /)[3] } <$mounts>;
my %parents; for my $source (@sources) { my $at = $source; while ($at =~ s#/[^/]*$## && $at ne '') { $parents{$at} = 1 } }
my $count = 0;
for my $target (@ARGV) {
  for my $prefix (@prefixes) { say("$prefix $target", 1) if readable("$prefix$target") }
  my $link = '/workspace/link' . ++$count;
  symlink($target, $link) or die; say("symlink $target", 1) if readable($link);
  my $relative = "/workspace/up$count"; symlink("..$up$target", $relative); say("relative $target", 1) if readable($relative);
  say("hardlink $target", 1) if link($target, "/workspace/hard$count");
  sysopen(my $folder, '/workspace', O_RDONLY); my $path = "..$up$target";
  my $fd = syscall($nr{openat}, fileno $folder, $path, O_RDONLY | O_NONBLOCK, 0); say("openat $target", 1) if $fd >= 0;
  chdir '/'; chdir '..' for 1 .. 30; say("chdir $target", 1) if readable(substr $target, 1); chdir '/workspace';
}
for my $path (keys %parents) { say("mountinfo $path", 1) if $path !~ m#^/(usr|etc|bin|lib)# && readable($path) && $path ne '/tmp' }
say('done', scalar @prefixes);`;

function readingTests(scene: () => Omit<Scene, 'stillTicks'>) {
  test('no way leads to a file of the host, the server or another session', async () => {
    const { instance, client, bait, victim } = scene();
    const { home } = instance;
    const upload = await client.uploads.store(
      (async function* () {
        yield Buffer.from(mark);
      })(),
    );
    const session = join(home, 'runner', 'sessions', victim.session);
    const targets = [
      ...[
        '/etc/shadow',
        '/etc/gshadow',
        '/etc/ssh',
        '/etc/sudoers',
        '/etc/machine-id.host',
        '/root',
        '/boot',
      ],
      ...[
        '/var/log',
        '/var/lib',
        '/sys',
        '/sys/fs/cgroup',
        '/run/sealwright',
        '/run/dbus',
        '/run/docker.sock',
      ],
      ...[
        bait.file,
        bait.folder,
        bait.socketPath,
        import.meta.dirname,
        process.execPath.replace(/^\/usr\/.*/, '/root'),
      ],
      ...['bootstrap-token', 'audit', 'control', 'runner', 'logs', 'app', 'lock', 'config.yaml'].map((name) =>
        join(home, name),
      ),
      ...[
        'runner/runner.sock',
        'runner/channel.key',
        'runner/runs',
        'runner/sessions',
        'control/channel.key',
      ].map((name) => join(home, name)),
      ...[
        'control/audit-ed25519.pem',
        'control/local.sock',
        `runner/uploads/${upload.id}`,
        `runner/runs/${victim.id}`,
      ].map((name) => join(home, name)),
      ...[session, join(session, 'workspace', 'secret'), join(session, 'home', 'secret')],
      ...readdirSync(join(home, 'control')).map((name) => join(home, 'control', name)),
    ];
    const found = await probe(client, perl(readEverywhere, ...targets));
    assert.ok(Number(found.get('done')) > 20);
    found.delete('done');
    assert.deepEqual([...found.keys()], []);
    assert.equal(readFileSync(bait.file, 'utf8'), mark, 'it was there to be read');
  });

  test('every one of those ways leads to the own files of a run', async () => {
    const { client } = scene();
    const own =
      'open my $f, ">", "/workspace/own" or die; print $f "own"; close $f; @ARGV = ("/workspace/own");';
    const ways = [...(await probe(client, perl(own + readEverywhere))).keys()];
    const expected = [
      '',
      '/proc/self/root',
      '/proc/thread-self/root',
      '/proc/self/cwd',
      'symlink',
      'relative',
    ];
    for (const way of [...expected, 'hardlink', 'openat', 'chdir'])
      assert.ok(
        ways.some((found) => found === `${way} /workspace/own` || found.startsWith(`${way}/..`)),
        `${way}: ${ways}`,
      );
  });

  test('accounts, hosts and resolver in /etc are the own ones of the sandbox', async () => {
    const { client } = scene();
    const { stdout } = await runOnce(
      client,
      sh('cat /etc/passwd /etc/group /etc/hosts /etc/hostname /etc/resolv.conf'),
    );
    assert.match(stdout, /^agent:x:10001:10001:/m);
    assert.ok(!stdout.includes(hostname()) || hostname() === 'sandbox' || hostname() === 'localhost');
    const foreign = readFileSync('/etc/passwd', 'utf8')
      .split('\n')
      .filter((line) => /^(daemon|bin|sys|www-data):/.test(line));
    for (const line of foreign) assert.ok(!stdout.includes(line), line);
  });

  test('the environment is what the caller asked for and nothing of the server', async () => {
    const { client } = scene();
    const script = `
      say("own $_", $ENV{$_}) for keys %ENV;
      for my $file (glob('/proc/[0-9]*/environ'), '/proc/1/environ', '/proc/1/task/1/environ') {
        open my $f, '<', $file or next; local $/; my $text = <$f>; say("environ $file", $text // '');
      }`;
    const said = await probe(client, perl(script), { env: { MINE: 'yes' } });
    const own = [...said.keys()].filter((name) => name.startsWith('own ')).map((name) => name.slice(4));
    const given = ['HOME', 'LANG', 'LOGNAME', 'MINE', 'PATH', 'PWD'];
    const ours = ['HTTP_PROXY', 'IDENTITY_FILE', 'RUN', 'SESSION', 'SOCKS_PROXY'].map(
      (name) => `SEALWRIGHT_${name}`,
    );
    assert.deepEqual(
      own.sort(),
      [...given, ...ours, 'SHELL', 'TMPDIR', 'USER', ...Object.keys(trustEnvironment)].sort(),
    );
    const environs = [...said].filter(([name]) => name.startsWith('environ '));
    assert.ok(environs.length >= 1, 'its own is there');
    for (const [file, text] of environs) {
      assert.ok(!text.includes(mark), file);
      assert.ok(text.includes('MINE=yes'), file);
    }
    assert.ok(environs.every(([file]) => !/\/proc\/1\//.test(file)));
  });
}

const attempt = `
sub attempt {
  my ($name, @words) = @_;
  pipe(my $out, my $in); my $child = fork;
  if ($child == 0) {
    alarm 5; my $self = syscall($nr{getpid});
    my @args = map { /^s:(.*)/s ? "$1" : 0 + $_ } @words;
    my $result = syscall($nr{$name}, @args); my $errno = $result == -1 ? 0 + $! : 0;
    POSIX::_exit(0) if syscall($nr{getpid}) != $self;
    syswrite $in, $errno == 0 ? 'ok' : "errno $errno"; POSIX::_exit(0);
  }
  close $in; my $answer = <$out>; waitpid $child, 0;
  return $? & 127 ? 'signal ' . ($? & 127) : $answer // 'ended';
}
`;

function processTests(scene: () => Scene) {
  test('/proc shows the processes of the sandbox and nobody else', async () => {
    const { client } = scene();
    const script = `
      my $child = fork // die; if ($child == 0) { exec 'sleep', '30' }
      pause(0.05);
      opendir(my $proc, '/proc'); my @pids = grep /^[0-9]+$/, readdir $proc; my $all = '';
      for my $pid (@pids) { open my $f, '<', "/proc/$pid/cmdline" or next; local $/; $all .= "[$pid] " . (<$f> // '') . ' ' }
      $all =~ s/\\0/ /g; say('pids', scalar @pids); say('words', $all); say('child', $child);
      say('signal', join ',', grep { kill 0, $_ } 1 .. 100_000); kill 'KILL', $child;`;
    const said = await probe(client, perl(script, 'attacker-word'));
    const [words, child] = [said.get('words') ?? '', said.get('child')];
    assert.match(words, new RegExp(`\\[${child}\\] sleep 30`), 'its child is there');
    assert.match(words, /attacker-word/);
    for (const foreign of ['victim-word', 'runner.js', 'control.js', 'bwrap', '/sbin/init'])
      assert.ok(!words.includes(foreign), `${foreign} in ${words}`);
    assert.ok(Number(said.get('pids')) <= 4, words);
    assert.ok(said.get('signal')!.split(',').length <= 4, said.get('signal'));
  });

  test('no signal leaves the sandbox', async () => {
    const { client, instance, stillTicks } = scene();
    const { control, runner } = instance.pids();
    const script = `
      my $child = fork // die; if ($child == 0) { sleep 100; exit }
      my @reached = grep { $_ != $$ && $_ != $child && $_ != 1 && kill 0, $_ } 1 .. 100_000;
      if (@reached) { say('reached', "@reached"); exit 1 }  # the PID namespace does not hold: kill nobody
      for my $number (@ARGV) { say("host $number", kill(0, $number) ? 'reached' : 0 + $!) }
      for my $signal ('KILL', 'STOP', 'TERM') { kill $signal, $_ for grep { $_ != $$ } 2 .. 100_000, @ARGV; kill $signal, 1 }
      waitpid $child, 0; say('child', $? & 127);
      if (fork == 0) { kill 'KILL', -1; POSIX::_exit(0) }
      pause(0.2); say('alive', 1);`;
    const { run, stdout } = await runOnce(client, perl(script, String(control), String(runner)));
    const said = answersOf(stdout);
    assert.equal(said.get('reached'), undefined);
    assert.equal(said.get('child'), '9', 'its own child is killed by the same call');
    for (const pid of [control, runner]) assert.equal(said.get(`host ${pid}`), String(ESRCH));
    assert.equal(run.signal, 'SIGKILL', 'kill -1 hits the run itself');
    assert.deepEqual(instance.pids(), { control, runner });
    assert.equal((await client.health()).status, 'ok');
    await stillTicks();
  });

  test('a run traces and reads its own children and no one else, the first process of its sandbox included', async () => {
    const { client, instance, stillTicks } = scene();
    const script = `${attempt}
      my $text = 'a text to be read'; my $at = unpack 'J', pack 'p', $text;
      my $child = fork // die; if ($child == 0) { sleep 100; exit }
      sub peek {
        my ($pid) = @_; my $room = ' ' x length $text;
        my $local = pack 'JJ', unpack('J', pack 'p', $room), length $room; my $remote = pack 'JJ', $at, length $text;
        my $count = syscall($nr{process_vm_readv}, $pid, $local, 1, $remote, 1, 0);
        return $count == -1 ? 'errno ' . (0 + $!) : $room;
      }
      for my $pid ($child, 1, @ARGV) {
        my $name = $pid == $child ? 'child' : $pid;
        say("peek $name", peek($pid));
        my $write = pack 'JJ', $at, 1;
        say("poke $name", attempt('process_vm_writev', $pid, "s:$write", 1, "s:$write", 1, 0));
        my $result = syscall($nr{ptrace}, 16, $pid, 0, 0); my $errno = 0 + $!;
        if ($result == 0) { waitpid $pid, 2; syscall($nr{ptrace}, 17, $pid, 0, 0); say("attach $name", 'ok') }
        else { say("attach $name", "errno $errno") }
        say("seize $name", attempt('ptrace', 0x4206, $pid, 0, 0));
      }
      kill 'KILL', $child; waitpid $child, 0;`;
    const { control, runner } = instance.pids();
    const said = await probe(client, perl(script, String(control), String(runner)));
    assert.equal(said.get('peek child'), 'a text to be read');
    for (const way of ['poke', 'attach', 'seize']) assert.equal(said.get(`${way} child`), 'ok', way);
    for (const way of ['peek', 'poke', 'attach', 'seize']) {
      assert.equal(said.get(`${way} 1`), `errno ${EPERM}`, way);
      for (const pid of [control, runner]) assert.equal(said.get(`${way} ${pid}`), `errno ${ESRCH}`, way);
    }
    await stillTicks();
  });

  test('the first process of the sandbox shows nothing of itself', async () => {
    const { client } = scene();
    const script = `${attempt}
      my @ways = ('/proc/1', '/proc/self/../1', '/proc/2/../1', '/proc/thread-self/../../../1', '/proc/self/root/proc/1', '/proc/self/cwd/../proc/1');
      for my $way (@ways) {
        opendir(my $folder, $way); say("list $way", join ' ', grep !/^\\.\\.?$/, readdir $folder);
        for my $name ('mem', 'environ', 'cmdline', 'maps', 'task/1/mem', 'root', 'fd/0', 'oom_score_adj', 'ns/mnt')
          { say("open $way/$name", 1) if -e "$way/$name" || sysopen(my $f, "$way/$name", O_RDONLY) }
      }
      my $fd = syscall($nr{pidfd_open}, 1, 0); say('getfd', attempt('pidfd_getfd', $fd, 0, 0));
      say('mask', -e "/proc/$$/environ" ? 1 : 0);`;
    const said = await probe(client, perl(script));
    assert.equal(said.get('mask'), '1', 'the same files of an own process are there');
    assert.equal(said.get('getfd'), `errno ${EPERM}`);
    for (const [name, value] of said) {
      if (name.startsWith('list ')) assert.equal(value, '', name);
      assert.ok(!name.startsWith('open '), name);
    }
  });

  test('shared memory, queues and semaphores of one session are not there in another', async () => {
    const { client, stillTicks } = scene();
    const script = `
      my $key = 0x5ea1; my $queue = 'victim';
      sub look { my ($when) = @_;
        say("shm $when", defined shmget($key, 0, 0) ? 1 : 0); say("msg $when", defined msgget($key, 0) ? 1 : 0);
        say("sem $when", defined semget($key, 0, 0) ? 1 : 0); say("mq $when", syscall($nr{mq_open}, $queue, O_RDWR, 0, 0) >= 0 ? 1 : 0);
        say("posix $when", -e '/dev/shm/secret' ? 1 : 0); say("tmp $when", -e '/tmp/secret' ? 1 : 0) }
      look('before');
      shmget($key, 4096, 01666); msgget($key, 01666); semget($key, 1, 01666); syscall($nr{mq_open}, $queue, O_CREAT | O_RDWR, 0666, 0);
      for my $file ('/dev/shm/secret', '/tmp/secret') { open my $f, '>', $file or die; close $f }
      look('after');`;
    const said = await probe(client, perl(script));
    for (const [name, value] of said) assert.equal(value, name.endsWith('before') ? '0' : '1', name);
    assert.equal(said.size, 12);
    await stillTicks();
  });
}

type Word = number | string;
type Call = readonly [label: string, expected: string, name: string, ...words: Word[]];

const refused = `errno ${EPERM}`;
const child = 17; // SIGCHLD, the low byte of clone's flags

/** Each is refused by the kernel or the filter before it does anything. */
const hostileCalls: readonly Call[] = [
  ...[
    '0x10000000',
    '0x20000',
    '0x40000000',
    '0x20000000',
    '0x8000000',
    '0x4000000',
    '0x2000000',
    '0x7e020000',
  ].map((flags): Call => [`unshare ${flags}`, refused, 'unshare', Number(flags)]),
  ['clone user', refused, 'clone', 0x1000_0000 | child, 0, 0, 0, 0],
  ['clone mount', refused, 'clone', 0x2_0000 | child, 0, 0, 0, 0],
  ['clone pid', refused, 'clone', 0x2000_0000 | child, 0, 0, 0, 0],
  ['clone net', refused, 'clone', 0x4000_0000 | child, 0, 0, 0, 0],
  ['clone3', `errno ${ENOSYS}`, 'clone3', 0, 0],
  ['mount tmpfs', refused, 'mount', 's:none', 's:/tmp', 's:tmpfs', 0, 0],
  ['mount proc', refused, 'mount', 's:proc', 's:/tmp', 's:proc', 0, 0],
  ['remount', refused, 'mount', 's:none', 's:/usr', 's:none', 32 | 4096, 0],
  ['bind', refused, 'mount', 's:/proc', 's:/tmp', 's:none', 4096, 0],
  ['umount /proc/1', refused, 'umount2', 's:/proc/1', 2],
  ['pivot_root', refused, 'pivot_root', 's:/tmp', 's:/tmp'],
  ['chroot', refused, 'chroot', 's:/tmp'],
  ['fsopen', refused, 'fsopen', 's:tmpfs', 0],
  ['open_tree', refused, 'open_tree', -100, 's:/proc', 1],
  ['move_mount', refused, 'move_mount', -100, 's:/tmp', -100, 's:/var', 0],
  ['mount_setattr', refused, 'mount_setattr', -100, 's:/', 0, 0, 0],
  ['keyctl', refused, 'keyctl', 0, -3, 1],
  ['add_key', refused, 'add_key', 's:user', 's:probe', 's:x', 1, -4],
  ['request_key', refused, 'request_key', 's:user', 's:probe', 0, -4],
  ['bpf', refused, 'bpf', 0, 0, 0],
  ['io_uring_setup', refused, 'io_uring_setup', 1, 0],
  ['perf_event_open', refused, 'perf_event_open', 0, 0, -1, -1, 0],
  ['userfaultfd', refused, 'userfaultfd', 1],
  ['open_by_handle_at', refused, 'open_by_handle_at', -100, 0, 0],
  ['name_to_handle_at', refused, 'name_to_handle_at', -100, 's:/', 0, 0, 0],
  ['fanotify_init', refused, 'fanotify_init', 0, 0],
  ['kexec_load', refused, 'kexec_load', 0, 0, 0, 0],
  ['init_module', refused, 'init_module', 0, 0, 's:'],
  ['reboot', refused, 'reboot', 0, 0, 0, 0],
  ['swapon', refused, 'swapon', 's:/tmp/x', 0],
  ['acct', refused, 'acct', 0],
  ['syslog', refused, 'syslog', 3, 0, 0],
  ['quotactl', refused, 'quotactl', 0, 0, 0, 0],
  ['settimeofday', refused, 'settimeofday', 0, 0],
  ['sethostname', refused, 'sethostname', 's:other', 5],
  ['setdomainname', refused, 'setdomainname', 's:other', 5],
  ['personality without ASLR', refused, 'personality', 0x4_0000],
  ['modify_ldt', refused, 'modify_ldt', 0, 0, 0],
  ['iopl', refused, 'iopl', 3],
  ['mknod of a device', refused, 'mknodat', -100, 's:/workspace/device', 0o20666, 0x103],
  ['mknod of a disk', refused, 'mknodat', -100, 's:/tmp/disk', 0o60666, 0xfe00],
  ['chown to root', 'errno 22', 'fchownat', -100, 's:/workspace', 0, 0, 0],
  ['setuid', 'errno 22', 'setuid', 0],
  ['setgroups', refused, 'setgroups', 0, 0],
  ['raw socket', refused, 'socket', 2, 3, 1],
  ['raw IPv6 socket', refused, 'socket', 10, 3, 58],
  ['SOCK_PACKET', refused, 'socket', 2, 10, 0],
  ...[17, 40, 38, 44, 1000].map(
    (family): Call => [`family ${family}`, `errno ${EAFNOSUPPORT}`, 'socket', family, 3, 0],
  ),
  ...[4, 9, 12, 15, 16].map(
    (protocol): Call => [`netlink ${protocol}`, `errno ${EAFNOSUPPORT}`, 'socket', 16, 3, protocol],
  ),
];

/** The same calls where they do no harm: what is refused above is refused for what it asks. */
const harmlessCalls: readonly Call[] = [
  ['clone', 'ok', 'clone', child, 0, 0, 0, 0],
  ['stream socket', 'ok', 'socket', 2, 1, 0],
  ['IPv6 datagram socket', 'ok', 'socket', 10, 2, 0],
  ['Unix socket', 'ok', 'socket', 1, 1, 0],
  ['route netlink', 'ok', 'socket', 16, 3, 0],
  ['personality', 'ok', 'personality', 0],
  ['mknod of a pipe', 'ok', 'mknodat', -100, 's:/workspace/pipe', 0o10666, 0],
  ['chown to oneself', 'ok', 'fchownat', -100, 's:/workspace', 10001, 10001, 0],
  ['setuid to oneself', 'ok', 'setuid', 10001],
  ['memfd_create', 'ok', 'memfd_create', 's:x', 0],
  ['chdir', 'ok', 'chdir', 's:/tmp'],
];

function kernelTests(scene: () => { client: Client }) {
  test('what reaches past a sandbox is refused by the kernel, the same calls without harm are not', async () => {
    const script = `${attempt} for my $call (@ARGV) { my ($label, $name, @words) = split /\\|/, $call; say($label, exists $nr{$name} ? attempt($name, @words) : 'none') }`;
    const calls = [...hostileCalls, ...harmlessCalls];
    const said = await probe(
      scene().client,
      perl(script, ...calls.map(([label, , name, ...words]) => [label, name, ...words].join('|'))),
    );
    const wrong = calls.flatMap(([label, expected]) => {
      const got = said.get(label);
      return got === expected || got === 'none' ? [] : [`${label}: ${got}, not ${expected}`];
    });
    assert.deepEqual(wrong, []);
  });

  test('namespaces that /proc shows cannot be entered, and a terminal cannot be typed into', async () => {
    const script = `${attempt}
      for my $kind ('user', 'mnt', 'pid', 'net', 'ipc', 'uts', 'cgroup') {
        sysopen(my $f, "/proc/self/ns/$kind", O_RDONLY) or die "$kind $!"; say("setns $kind", attempt('setns', fileno $f, 0));
      }
      my $pidfd = syscall($nr{pidfd_open}, $$, 0); say('setns pidfd', attempt('setns', $pidfd, 0x20000000));
      sysopen(my $master, '/dev/ptmx', O_RDWR | O_NOCTTY) or die "ptmx $!"; my $size = ' ' x 8;
      say('size', attempt('ioctl', fileno $master, 0x5413, "s:$size"));
      for my $number (0x5412, 0x541c, 0x5423) { say("inject $number", attempt('ioctl', fileno $master, $number, 's:x')) }
      say('tty', sysopen(my $tty, '/dev/tty', O_RDWR) ? 'opened' : 0 + $!);`;
    const said = await probe(scene().client, perl(script));
    assert.equal(said.get('size'), 'ok');
    assert.equal(said.get('tty'), String(ENXIO), 'there is no terminal');
    const hostile = [...said].filter(([name]) => /^(setns|inject)/.test(name));
    assert.equal(hostile.length, 11);
    for (const [name, value] of hostile) assert.equal(value, refused, name);
  });

  test('a run is nobody: one uid, no group, no capability, no way to gain any, a filter', async () => {
    const script = `open my $f, '<', '/proc/self/status'; while (<$f>) { say($1, $2) if /^(\\w+):\\s*(.*)/ }
      open my $m, '<', '/proc/self/uid_map'; my $map = <$m>; $map =~ s/^\\s+//; say('map', $map); say('host', POSIX::uname() ? (POSIX::uname())[1] : '')`;
    const said = await probe(scene().client, perl(script));
    const words = (name: string) => (said.get(name) ?? '').split(/\s+/).filter(Boolean);
    for (const name of ['Uid', 'Gid']) assert.deepEqual(words(name), Array(4).fill('10001'), name);
    assert.deepEqual(
      words('Groups').filter((group) => group !== '10001'),
      [],
    );
    for (const name of ['CapInh', 'CapPrm', 'CapEff', 'CapBnd', 'CapAmb'])
      assert.equal(said.get(name), '0'.repeat(16), name);
    assert.deepEqual([said.get('NoNewPrivs'), said.get('Seccomp')], ['1', '2']);
    assert.match(said.get('map')!, /^10001\s+\d+\s+1\s*$/);
    assert.equal(said.get('host'), 'sandbox');
    assert.notEqual(hostname(), 'sandbox', 'the name of the host is another one');
  });

  test('programs that become root elsewhere stay what they are', async () => {
    const script = `
      my @programs = grep { -f && -u } map { glob "$_/*" } '/usr/bin', '/usr/sbin', '/usr/lib/openssh', '/usr/lib/dbus-1.0';
      say('programs', scalar @programs);
      system 'cp', '/bin/sleep', '/workspace/own'; chmod 04755, '/workspace/own'; push @programs, '/workspace/own';
      for my $program (@programs) {
        my $pid = fork // die; my %uids;
        if ($pid == 0) { open STDIN, '<', '/dev/null'; open STDOUT, '>', '/dev/null'; open STDERR, '>', '/dev/null'; exec $program, '1'; POSIX::_exit(127) }
        for (1 .. 200) {
          if (open my $f, '<', "/proc/$pid/status") { while (<$f>) { $uids{$1} = 1 if /^Uid:\\s*(.*)/ } }
          last if waitpid($pid, POSIX::WNOHANG()) == $pid; pause(0.002);
        }
        kill 'KILL', $pid; waitpid $pid, 0;
        $uids{$_} =~ s/\\s+/ /g for (); say("uids $program", join ',', map { join ' ', split } keys %uids);
      }
      say('su', scalar \`su -c id 2>&1 </dev/null\`); say('mount', scalar \`mount -t tmpfs x /tmp 2>&1; echo $?\`);`;
    const said = await probe(scene().client, perl(script));
    assert.equal(said.get('uids /workspace/own'), '10001 10001 10001 10001');
    for (const [name, value] of said)
      if (name.startsWith('uids ')) assert.match(value, /^(10001 10001 10001 10001)?$/, name);
    assert.doesNotMatch(said.get('su')!, /uid=0/);
    assert.doesNotMatch(said.get('mount')!, / 0 ?$/);
  });
}

function writingTests(scene: () => { client: Client }) {
  test('a run writes to its workspace, its home and its folders in memory, and nowhere else', async () => {
    const script = `
      open my $mounts, '<', '/proc/self/mountinfo'; my @points = map { (split / /)[4] } <$mounts>;
      push @points, map { "/$_" } 'bin', 'lib', 'sbin', 'etc', 'usr/local', 'usr/lib', 'opt', 'srv', 'mnt', 'media', 'boot', 'root', 'run', 'var', 'var/lib', 'home', 'sealwright', 'sys', 'sys/fs/cgroup', 'proc/sys/kernel', 'proc/self';
      for my $point (@points) { my $file = -d $point ? "$point/written" : $point; say($point, sysopen(my $f, $file, O_WRONLY | O_CREAT, 0666) ? 1 : 0) unless -l $point }
      for my $file (@ARGV) { say($file, sysopen(my $f, $file, O_WRONLY) ? 1 : 0) }
      for my $file ('/usr/bin/su', '/etc/passwd', '/sealwright/start') { say("link $file", link($file, '/workspace/linked') ? 1 : 0) }
      open my $own, '>', '/workspace/own' or die; say('link own', link('/workspace/own', '/workspace/linked') ? 1 : 0);`;
    const fixed = [
      ...[
        '/etc/passwd',
        '/etc/resolv.conf',
        '/usr/bin/env',
        '/bin/sh',
        '/sealwright/start',
        '/proc/sysrq-trigger',
      ],
      ...['core_pattern', 'modprobe', 'hotplug', 'hostname', 'domainname', 'randomize_va_space', 'panic'].map(
        (name) => `/proc/sys/kernel/${name}`,
      ),
      ...[
        '/proc/sys/vm/overcommit_memory',
        '/proc/sys/vm/drop_caches',
        '/proc/sys/net/ipv4/ip_forward',
        '/proc/sys/fs/file-max',
      ],
      ...[
        '/proc/kcore',
        '/proc/kmsg',
        '/proc/irq/0/smp_affinity',
        '/proc/bus/pci/devices',
        '/proc/acpi/wakeup',
        '/proc/mtrr',
      ],
    ];
    const said = await probe(scene().client, perl(script, ...fixed));
    const written = [...said].filter(([, value]) => value === '1').map(([name]) => name);
    const devices = ['full', 'null', 'random', 'urandom', 'zero'].map((name) => `/dev/${name}`);
    const folders = ['/dev/shm', '/home/agent', '/tmp', '/var/tmp', '/workspace'];
    assert.deepEqual(written.sort(), [...devices, ...folders, 'link own'].sort());
    assert.ok(said.size > 40);
  });

  test('a setting of the kernel that a run may change is that of its own namespaces', async () => {
    const { client } = scene();
    const walk = `
      sub settings { my ($folder) = @_; opendir(my $d, $folder) or return; for my $name (sort grep !/^\\./, readdir $d) {
        my $path = "$folder/$name"; if (-d $path) { settings($path) } elsif (sysopen my $f, $path, O_RDWR) { setting($path, $f) } } }`;
    const listed = await probe(
      client,
      perl(
        `${walk} sub setting { my ($path, $f) = @_; sysread $f, my $old, 99; say($path, $old // '') } settings('/proc/sys')`,
      ),
    );
    const names = [...listed.keys()].filter((path) => !path.endsWith('/ns_last_pid')); // every fork on the host changes it
    const host = () => names.map((path) => `${path} ${existsSync(path) ? readFileSync(path, 'utf8') : ''}`);
    const before = host();
    const change = `${walk} sub setting { my ($path, $f) = @_; sysread $f, my $old, 99; my ($first) = ($old // '') =~ /(\\d+)/; return unless defined $first;
      sysseek $f, 0, 0; syswrite $f, ($first > 1 ? $first - 1 : $first + 1); sysseek $f, 0, 0; sysread $f, my $new, 99; say($path, $new // '') } settings('/proc/sys')`;
    await probe(client, perl(change));
    assert.deepEqual(host(), before);
  });

  test('/dev holds the devices without state and nothing else, and only the streams are open', async () => {
    const script = `opendir(my $d, '/dev'); say('dev', join ' ', sort grep !/^\\.\\.?$/, readdir $d);
      for my $name ('null', 'zero', 'full', 'random', 'urandom', 'tty') { my $number = (stat "/dev/$name")[6]; say("node $name", ($number >> 8) . ':' . ($number & 255)) }
      opendir(my $p, '/dev/pts'); say('pts', join ' ', sort grep !/^\\.\\.?$/, readdir $p);
      opendir(my $f, '/proc/self/fd'); say('fds', join ' ', map { "$_=" . (readlink("/proc/self/fd/$_") // '') } grep { !/^\\./ && -e "/proc/self/fd/$_" && readlink("/proc/self/fd/$_") !~ m#^/(proc|dev)(/|$)#} readdir $f);
      say('stdin', readlink '/proc/self/fd/0'); open my $null, '>', '/dev/null' or die; say('null', syswrite $null, 'x'); open my $r, '<', '/dev/urandom' or die; say('random', sysread $r, my $b, 8);`;
    const said = await probe(scene().client, perl(script));
    assert.equal(
      said.get('dev'),
      'core fd full null ptmx pts random shm stderr stdin stdout tty urandom zero',
    );
    const nodes = { null: '1:3', zero: '1:5', full: '1:7', random: '1:8', urandom: '1:9', tty: '5:0' };
    for (const [name, number] of Object.entries(nodes)) assert.equal(said.get(`node ${name}`), number);
    assert.equal(said.get('pts'), 'ptmx');
    assert.match(said.get('fds')!, /^1=pipe:\[\d+\] 2=pipe:\[\d+\]$/);
    assert.equal(said.get('stdin'), '/dev/null');
    assert.deepEqual([said.get('null'), said.get('random')], ['1', '8']);
  });
}

function networkTests(scene: () => { client: Client; bait: Bait; instance: Instance }) {
  const connecting = `
    sub tcp4 { (AF_INET, SOCK_STREAM, pack_sockaddr_in($_[1], inet_aton($_[0]))) }
    sub tcp6 { (AF_INET6, SOCK_STREAM, Socket::pack_sockaddr_in6($_[1], Socket::inet_pton(AF_INET6, $_[0]))) }
    sub unix { (AF_UNIX, SOCK_STREAM, pack('S a*', AF_UNIX, $_[0])) }
    sub reach {
      my ($family, $type, $address) = @_; socket(my $s, $family, $type, 0) or return "socket $!";
      local $SIG{ALRM} = sub { die "hangs\\n" };
      return eval { alarm 5; my $ok = connect $s, $address; my $answer = $ok ? 'connected' : 0 + $!; alarm 0; $answer } // $@;
    }
    sub udp {
      my ($address) = @_; socket(my $s, sockaddr_family($address), SOCK_DGRAM, 0) or return "socket $!"; connect $s, $address or return 'connect ' . (0 + $!);
      local $SIG{ALRM} = sub { die "hangs\\n" };
      return eval { alarm 5; my $sent = send $s, 'x', 0; my $got = recv $s, my $bytes, 9, 0; my $answer = defined $got ? 'answered' : 0 + $!; alarm 0; $answer } // $@;
    }
  `;

  // At the gateway's own ports a connection is taken and then refused in words: tests/escape/g4-egress.test.ts.
  test('no listener of the host and of another session can be reached, and every address refuses at once', async () => {
    const { client, bait, instance } = scene();
    const script = `${connecting} my ($port4, $port6, $udp, $path, $name, @api) = @ARGV; my $began = time;
      say("tcp4 $_", reach(tcp4($_, $port4))) for '127.0.0.1', '127.1.2.3', '0.0.0.0';
      say("api $_", reach(tcp4('127.0.0.1', $_))) for @api;
      say('tcp6', reach(tcp6('::1', $port6))); say('mapped', reach(tcp6('::ffff:127.0.0.1', $port4)));
      say('udp', udp(pack_sockaddr_in($udp, inet_aton('127.0.0.1'))));
      say('victim tcp', reach(tcp4('127.0.0.1', 7001))); say('victim abstract', reach(unix("\\0victim")));
      say('path', reach(unix($path . "\\0"))); say('abstract', reach(unix("\\0$name")));
      say("far $_->[0]", reach(tcp4(@$_))) for ['8.8.8.8', 853], ['169.254.169.254', 8080], ['10.0.0.1', 2222], ['192.168.1.1', 8443], ['100.64.0.1', 8080], ['224.0.0.1', 8080], ['255.255.255.255', 8080];
      say("far $_->[0]", reach(tcp6(@$_))) for ['2606:4700::1111', 8443], ['fe80::1', 8080], ['fd00::1', 8080], ['64:ff9b::808:808', 853];
      say('far udp', udp(pack_sockaddr_in(853, inet_aton('8.8.8.8')))); say('far udp6', udp(Socket::pack_sockaddr_in6(853, Socket::inet_pton(AF_INET6, '2001:4860:4860::8888'))));
      say('seconds', time - $began);`;
    const apiPort = new URL(instance.url).port;
    const words = [bait.port4, bait.port6, bait.udpPort, bait.socketPath, bait.abstractName, apiPort].map(
      String,
    );
    const said = await probe(client, perl(script, ...words));
    assert.ok(Number(said.get('seconds')) <= 2, `${said.get('seconds')} s`);
    said.delete('seconds');
    assert.ok(said.size >= 22);
    const allowed = new Set(['errno', String(ECONNREFUSED)]);
    const multicast = new Set(['far 224.0.0.1', 'far 255.255.255.255', 'far fe80::1']);
    for (const [name, value] of said) {
      const absent = name === 'path' && value === '2';
      const noRoute = multicast.has(name) && ['13', '22', '99', '101'].includes(value);
      assert.ok(allowed.has(value) || absent || noRoute, `${name}: ${value}`);
    }
    assert.deepEqual(bait.arrivals, [], 'nobody came');
  });

  test('the same listeners answer the host', async () => {
    const { bait } = scene();
    const ways = [
      { path: bait.socketPath },
      { path: `\0${bait.abstractName}` },
      { host: '127.0.0.1', port: bait.port4 },
      { host: '::1', port: bait.port6 },
    ];
    for (const way of ways) {
      const socket = connect(way);
      const [bytes] = (await once(socket, 'data')) as [Buffer];
      assert.equal(String(bytes), mark);
      socket.destroy();
    }
    const datagram = createSocket('udp4');
    datagram.send('x', bait.udpPort, '127.0.0.1');
    await untilNone(() => (bait.arrivals.includes('udp') ? [] : ['udp']), 5_000);
    datagram.close();
    assert.deepEqual(bait.arrivals.sort(), ['abstract', 'path', 'tcp4', 'tcp6', 'udp'].sort());
    bait.arrivals.length = 0;
  });

  test('inside, a program reaches its own listeners', async () => {
    const { client } = scene();
    const script = `${connecting}
      socket(my $l, AF_INET, SOCK_STREAM, 0); bind($l, pack_sockaddr_in(8080, inet_aton('127.0.0.1'))) or die; listen $l, 9;
      socket(my $m, AF_INET6, SOCK_STREAM, 0); bind($m, Socket::pack_sockaddr_in6(8081, Socket::inet_pton(AF_INET6, '::1'))) or die; listen $m, 9;
      socket(my $u, AF_UNIX, SOCK_STREAM, 0); bind($u, pack('S a*', AF_UNIX, "\\0own")) or die; listen $u, 9;
      say('tcp4', reach(tcp4('127.0.0.1', 8080))); say('tcp6', reach(tcp6('::1', 8081))); say('abstract', reach(unix("\\0own")));
      say('other', reach(tcp4('127.0.0.1', 8082)));
      open my $f, '<', '/proc/net/dev'; say('interfaces', join ' ', map { /^\\s*(\\w+):/ ? $1 : () } <$f>);`;
    const said = await probe(client, perl(script));
    for (const way of ['tcp4', 'tcp6', 'abstract']) assert.equal(said.get(way), 'connected', way);
    assert.equal(said.get('other'), String(ECONNREFUSED));
    assert.match(said.get('interfaces')!, /\blo\b/);
    assert.doesNotMatch(said.get('interfaces')!, /\b(eth|ens|enp|wlan|veth|tap|docker)/);
  });
}

function workspaceTests(scene: () => { client: Client; bait: Bait }) {
  test('links in a workspace that point out of it are collected as links', async () => {
    const { client, bait } = scene();
    const session = await repositorySession(client, { 'a.txt': 'one\n', 'b.txt': 'two\n' });
    const script = `echo changed > a.txt; rm b.txt; ln -s ${bait.file} b.txt; ln -s ${bait.folder} folder; ln -s /etc/shadow shadow
      mkdir d; ln -s / d/root; ln -s ../../../../../../../../..${bait.file} d/up; rm -rf .git/objects; ln -s ${bait.folder} .git/objects`;
    const { run } = await runOnce(client, sh(script), { session, diff: true });
    const diff = await artifactText(client, run, 'diff');
    assert.match(diff, /^-one\n\+changed$/m);
    assert.ok(!diff.includes(mark));
    for (const name of ['b.txt', 'folder', 'shadow', 'd/root', 'd/up'])
      assert.match(diff, new RegExp(`^diff --git a/${name} b/${name}\\nnew file mode 120000$`, 'm'), name);
    assert.deepEqual(readdirSync(bait.folder).sort(), ['file', 'socket']);
  });

  test('what a workspace tells git to start is started by nobody but the run itself', async () => {
    const { client, bait } = scene();
    const session = await repositorySession(client, { 'a.txt': 'one\n', 'b.bin': 'two\n' });
    const marker = (name: string) =>
      `sh -c 'touch /workspace/ran-${name} /tmp/ran-${name} ${bait.folder}/ran-${name} 2>/dev/null; cat 2>/dev/null' x`;
    const script = `
      git config core.fsmonitor "${marker('fsmonitor')}"; git config core.hooksPath /workspace/hooks; git config diff.external "${marker('external')}"
      git config filter.f.clean "${marker('clean')}"; git config filter.f.smudge "${marker('smudge')}"; git config filter.f.process "${marker('process')}"
      git config diff.t.textconv "${marker('textconv')}"; git config core.pager "${marker('pager')}"; git config core.sshCommand "${marker('ssh')}"
      git config merge.m.driver "${marker('merge')}"; git config core.editor "${marker('editor')}"; git config credential.helper "!${marker('credential')}"
      printf '* filter=f diff=t merge=m\\n' > .gitattributes; cp .gitattributes .git/info/attributes
      mkdir hooks; for hook in post-index-change pre-commit post-checkout reference-transaction; do
        printf '#!/bin/sh\\ntouch /workspace/ran-hook ${bait.folder}/ran-hook\\n' > hooks/$hook; chmod 755 hooks/$hook; cp hooks/$hook .git/hooks/ 2>/dev/null; done
      cp .git/config ~/.gitconfig; mkdir -p ~/.config/git; cp .git/config ~/.config/git/config
      git config --unset filter.f.process; echo changed > a.txt; git add --all </dev/null >/dev/null 2>&1; git diff --cached </dev/null >/dev/null 2>&1; ls | grep ran-; rm -f ran-*
      git config filter.f.process "${marker('process')}"; echo again > a.txt
      for file in config hooks/post-index-change info/attributes; do echo x > /sealwright/base/$file; done 2>/dev/null && echo 'base changed'`;
    const { run, stdout } = await runOnce(client, sh(script), { session, diff: true });
    assert.match(stdout, /^ran-hook$/m, 'inside, git starts it');
    for (const name of ['fsmonitor', 'process', 'external'])
      assert.match(stdout, new RegExp(`^ran-${name}$`, 'm'));
    assert.doesNotMatch(stdout, /base changed/);
    assert.match(await artifactText(client, run, 'diff'), /^\+again$/m);
    const { stdout: left } = await runOnce(client, sh('ls -a; ls -a /tmp'), { session, diff: false });
    assert.doesNotMatch(left, /ran-/);
    assert.deepEqual(readdirSync(bait.folder).sort(), ['file', 'socket']);
  });

  test('pipes where git would read files hold a run no longer than its time', async () => {
    const { client } = scene();
    const session = await repositorySession(client, { 'a.txt': 'one\n' });
    const { run } = await runOnce(client, sh('echo changed > a.txt; mkfifo .gitignore'), {
      session,
      diff: true,
      timeoutSeconds: 2,
    });
    assert.equal(run.phase, 'succeeded');
    assert.deepEqual(
      run.artifacts.map(({ name }) => name),
      ['diff-problem'],
    );
    const next = await runOnce(client, sh('rm .gitignore'), { session, diff: true });
    assert.match(await artifactText(client, next.run, 'diff'), /^\+changed$/m);
  });
}

/** Daemons of every kind, which hear no signal and hold no pipe. Prints \`up\` once all of them live. */
const daemons = `
  for my $kind (1 .. 6) {
    my $pid = fork // die; next if $pid;
    $SIG{$_} = 'IGNORE' for 'TERM', 'HUP', 'INT', 'QUIT', 'PIPE', 'USR1', 'CHLD';
    POSIX::setsid() if $kind > 1; if ($kind > 2) { exit if fork; POSIX::setsid() } chdir '/' if $kind > 3;
    syscall($nr{prctl}, 1, 0, 0, 0, 0); $0 = '[kworker]';
    open my $f, '>', "/tmp/daemon-$kind"; close $f;
    open STDIN, '<', '/dev/null'; open STDOUT, '>', '/dev/null'; open STDERR, '>', '/dev/null';
    while (1) { if ($kind == 5) { kill 'CONT', -1 } open my $w, '>>', '/workspace/alive'; syswrite $w, '.'; close $w; pause(0.01) }
  }
  pause(0.01) until 6 == (() = glob '/tmp/daemon-*'); print "up\\n";`;

/** Starts are prepared behind what a test does, and until that is done the count grows by itself. */
async function settled(count: () => number): Promise<number> {
  for (let before = count(); ; ) {
    await pause(500);
    const now = count();
    if (now === before) return now;
    before = now;
  }
}

function endTests(mode: Mode, scene: () => { instance: Instance; client: Client }) {
  test('what a run leaves behind is dead when it has ended, and nothing of its sandbox is left', async () => {
    const { client, instance } = scene();
    const mountsBefore = readFileSync('/proc/mounts', 'utf8');
    const { runner } = instance.pids();
    const runnerMounts = readFileSync(`/proc/${runner}/mountinfo`, 'utf8');
    const fds = () => readdirSync(`/proc/${runner}/fd`).length;
    const fdsBefore = await settled(fds);
    const live = await startRun(client, [
      'sh',
      '-c',
      `${printNamespace}; exec "$@"`,
      'sh',
      ...perl(`${daemons} pause(0.3); exit 0`),
    ]);
    await live.shows(/^up$/m);
    const members = processesIn(instance.home, (await live.shows(/^pid.*$/m))[0]);
    assert.ok(members.length > 6, 'while it lives the same look finds it');
    const groups = groupsOf(mode, members);
    const { run } = await live.ended;
    assert.deepEqual(members.filter(isAlive), []);
    assert.equal(run.phase, 'succeeded');
    for (const folder of groups) assert.equal(existsSync(folder), false, folder);
    assert.equal(readFileSync('/proc/mounts', 'utf8'), mountsBefore);
    assert.equal(readFileSync(`/proc/${runner}/mountinfo`, 'utf8'), runnerMounts);
    const { stdout: size } = await runOnce(client, sh('wc -c < alive; sleep 0.1; wc -c < alive'), {
      session: live.session,
    });
    const [first, second] = size.trim().split('\n');
    assert.ok(Number(first) > 0, 'they lived');
    assert.equal(first, second, 'nobody writes any more');
    assert.deepEqual(await untilNone(() => (fds() > fdsBefore ? [fds()] : []), 5_000), []);
  });

  test('a stopped run is gone with all that would not hear', async () => {
    const { client, instance } = scene();
    const live = await startRun(client, [
      'sh',
      '-c',
      `${printNamespace}; exec "$@"`,
      'sh',
      ...perl(`${daemons} $SIG{TERM} = 'DEFAULT'; pause(1) while 1`),
    ]);
    const members = processesIn(instance.home, (await live.shows(/^.*^up$/ms))[0]);
    assert.ok(members.length > 6);
    await client.runs.stop(live.id);
    const { run } = await live.ended;
    assert.equal(run.phase, 'cancelled');
    assert.deepEqual(members.filter(isAlive), []);
  });

  // The last one of a mode: the supervisor starts the runner anew.
  test('a run cannot make its sandbox outlive the runner', async () => {
    const { client, instance } = scene();
    const script = `
      for my $path ('/proc/1/mem', '/proc/self/../1/mem') { sysopen(my $f, $path, O_RDWR) and print "opened $path\\n" }
      syscall($nr{ptrace}, 16, 1, 0, 0) == 0 and print "attached\\n"; syscall($nr{ptrace}, 0x4206, 1, 0, 0) == 0 and print "seized\\n";
      kill $_, 1 for 'STOP', 'TERM', 'HUP', 'USR1'; syscall($nr{prctl}, 1, 0, 0, 0, 0); ${daemons}
      while (1) { print "tick\\n"; pause(0.05) }`;
    const live = await startRun(client, ['sh', '-c', `${printNamespace}; exec "$@"`, 'sh', ...perl(script)]);
    const shown = await live.shows(/^.*^up$.*tick/ms);
    assert.doesNotMatch(shown[0], /opened|attached|seized/);
    const members = processesIn(instance.home, shown[0]);
    assert.ok(members.length > 6);
    process.kill(instance.pids().runner, 'SIGKILL');
    assert.deepEqual(await untilNone(() => members.filter(isAlive), 5_000), []);
    const { run } = await live.ended;
    assert.deepEqual([run.phase, run.cause], ['failed', 'runner-lost']);
    const said = await runOnce(client, sh('echo again'));
    assert.equal(said.stdout, 'again\n', 'the new runner takes runs');
    const left = processesOf(instance.home).filter(({ command }) => command.includes('kworker'));
    assert.deepEqual(left, []);
  });
}

/** The control group folders that processes are in; none where there are no groups. */
function groupsOf(mode: Mode, members: readonly HostProcess[]): string[] {
  if (mode === 'user') return [];
  const folders = readFileSync(`/proc/${members[0]!.pid}/cgroup`, 'utf8')
    .trim()
    .split('\n')
    .flatMap((line) => {
      const [, names = '', path = ''] = /^\d+:([^:]*):(.*)$/.exec(line) ?? [];
      return [join('/sys/fs/cgroup', names, path), join('/sys/fs/cgroup', path)];
    })
    .filter((folder) => folder.includes('/sealwright-') && existsSync(folder));
  assert.ok(folders.length > 0, 'it is in a group');
  return folders;
}
