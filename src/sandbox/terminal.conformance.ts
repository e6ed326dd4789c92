import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { buffer, text } from 'node:stream/consumers';
import { test } from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';
import { Fault } from '../contract/faults.ts';
import { type Bench, requestOf } from './backend.conformance.ts';
import type { Sandbox, SandboxRequest } from './backend.ts';
import type { ExecRequest, PseudoTerminal, SandboxExec } from './terminal.ts';

const size = { columns: 90, rows: 20 } as const;
const environment = { PATH: '/usr/bin:/bin', TERM: 'xterm', PS1: '$ ', LANG: 'C.UTF-8' };

/** What a terminal or a pipe shows, and who waits for it. */
export class Shown {
  #text = '';
  #ended = false;
  readonly #waiting = new Set<() => void>();

  constructor(output: NodeJS.ReadableStream) {
    output.on('data', (bytes: Buffer) => {
      this.#text += bytes.toString('utf8');
      for (const look of this.#waiting) look();
    });
    output.on('end', () => {
      this.#ended = true;
      for (const look of this.#waiting) look();
    });
  }

  get text(): string {
    return this.#text;
  }

  shows(pattern: RegExp): Promise<RegExpExecArray> {
    return new Promise((resolve, reject) => {
      const look = () => {
        const match = pattern.exec(this.#text);
        if (match === null && !this.#ended) return;
        this.#waiting.delete(look);
        if (match !== null) resolve(match);
        else reject(new Error(`ended without ${pattern}: ${this.#text.slice(-2_000)}`));
      };
      this.#waiting.add(look);
      look();
    });
  }
}

type InTerminal = { readonly sandbox: Sandbox; readonly terminal: PseudoTerminal; readonly screen: Shown };

async function inTerminal(
  bench: Bench,
  command: readonly string[],
  more: Partial<SandboxRequest> = {},
): Promise<InTerminal> {
  const sandbox = await bench.backend.create(
    requestOf(bench, command, { terminal: size, env: environment, ...more }),
  );
  const terminal = sandbox.terminal!;
  return { sandbox, terminal, screen: new Shown(terminal.output) };
}

const shell = ['bash', '--norc', '--noediting', '-i'];

/** A sandbox whose own command does nothing until it is ended, by `kill` or by the end of a test that failed. */
export async function idle(bench: Bench, more: Partial<SandboxRequest> = {}): Promise<Sandbox> {
  const sandbox = await bench.backend.create(requestOf(bench, ['sh', '-c', 'echo up; exec sleep 600'], more));
  await new Shown(sandbox.stdout).shows(/up/);
  return sandbox;
}

export const execOf = (command: readonly string[], more: Partial<ExecRequest> = {}): ExecRequest => ({
  command,
  env: environment,
  cwd: '/workspace',
  terminal: null,
  ...more,
});

export async function outcomeOf(
  exec: SandboxExec,
): Promise<{ stdout: string; stderr: string; status: number }> {
  const [stdout, stderr, { status }] = await Promise.all([text(exec.stdout), text(exec.stderr), exec.ended]);
  return { stdout, stderr, status };
}

export const isFault = (code: Fault['code'], detail: RegExp) => (error: unknown) =>
  error instanceof Fault && error.code === code && detail.test(error.detail);

/** What every backend promises of terminals and of what is started beside a command (`terminal.ts`). */
export function terminalConformance(name: string, bench: () => Bench): void {
  terminalTests(name, bench);
  fullTerminalTests(name, bench);
  execTests(name, bench);
  execEndTests(name, bench);
  portTests(name, bench);
}

function terminalTests(name: string, bench: () => Bench): void {
  test(`${name}: a command with a terminal has it as its own, of the size that was asked for`, async () => {
    const script = 'tty; stty size; echo to >/dev/tty; echo err >&2; exit 7';
    const { sandbox, screen } = await inTerminal(bench(), ['sh', '-c', script]);
    const [end, stdout, stderr] = await Promise.all([
      sandbox.ended,
      text(sandbox.stdout),
      text(sandbox.stderr),
    ]);
    await screen.shows(/err/);
    assert.equal(screen.text, '/dev/pts/0\r\n20 90\r\nto\r\nerr\r\n');
    assert.deepEqual([end.status, stdout, stderr], [7, '', '']);
  });

  test(`${name}: a command without a terminal has none, and nothing to read`, async () => {
    const script = 'tty; readlink /proc/self/fd/0; cat; ls /proc/self/fd; : </dev/tty';
    const sandbox = await bench().backend.create(requestOf(bench(), ['sh', '-c', script]));
    const [stdout, stderr] = await Promise.all([text(sandbox.stdout), text(sandbox.stderr)]);
    assert.equal(sandbox.terminal, null);
    assert.equal(stdout, 'not a tty\n/dev/null\n0\n1\n2\n3\n');
    assert.match(stderr, /cannot open \/dev\/tty/);
  });

  test(`${name}: a program that is not there is 127 in a terminal too, and its words arrive`, async () => {
    const missing = await inTerminal(bench(), ['no-such-program']);
    assert.equal((await missing.sandbox.ended).status, 127);
    const odd = ["it's", '', '$(id)', '-n', '\\'];
    const { sandbox, screen } = await inTerminal(bench(), [
      'sh',
      '-c',
      'printf "<%s>" "$@"; kill -SEGV $$',
      'sh',
      ...odd,
    ]);
    assert.equal((await sandbox.ended).status, 139);
    await screen.shows(/<\\>/);
    assert.equal(screen.text, odd.map((word) => `<${word}>`).join(''));
  });

  test(`${name}: a new size reaches the program`, async () => {
    const script = 'trap "stty size; exit 6" WINCH; echo up; while :; do sleep 0.05; done';
    const { sandbox, terminal, screen } = await inTerminal(bench(), ['sh', '-c', script]);
    await screen.shows(/up/);
    terminal.resize({ columns: 133, rows: 44 });
    await screen.shows(/44 133/);
    assert.equal((await sandbox.ended).status, 6);
    terminal.resize(size); // nothing where it is gone
  });

  test(`${name}: ^C ends the job in front and not the shell; jobs are stopped, listed and taken up again`, async () => {
    const { sandbox, terminal, screen } = await inTerminal(bench(), shell);
    const type = (keys: string) => terminal.write(Buffer.from(keys));
    await type('sh -c "echo on 1; exec sleep 600"\n');
    await screen.shows(/on 1\r/);
    await type('\x03');
    await type('echo code $?\n');
    await screen.shows(/code 130\r/);
    await type('sh -c "echo on 2; exec sleep 601"\n');
    await screen.shows(/on 2\r/);
    await type('\x1a');
    await screen.shows(/Stopped/);
    await type('bg; jobs\n');
    await screen.shows(/Running +sh -c/);
    await type('kill %1; wait; echo gone $((6*7))\n');
    await screen.shows(/gone 42\r/);
    await type('exit 3\n');
    assert.equal((await sandbox.ended).status, 3);
  });

  test(`${name}: whether what is typed is shown is seen from outside`, async () => {
    const script =
      'echo a; read -r x; stty -echo; echo b; read -r x; stty raw; echo c; head -c 1; stty sane; echo d; read -r x';
    const { sandbox, terminal, screen } = await inTerminal(bench(), ['sh', '-c', script]);
    const seen: boolean[] = [];
    for (const mark of ['a', 'b', 'c', 'd']) {
      await screen.shows(new RegExp(`(^|\\n|\\r)${mark}\\r?\\n`));
      seen.push(terminal.echoes());
      await terminal.write(Buffer.from('\n'));
    }
    assert.deepEqual(seen, [true, false, true, true]);
    await sandbox.ended;
    await screen.shows(/d/);
  });

  test(`${name}: a hang-up reaches the program, and typing goes nowhere then`, async () => {
    const { sandbox, terminal, screen } = await inTerminal(bench(), ['sh', '-c', 'echo up; exec sleep 600']);
    await screen.shows(/up/);
    terminal.close();
    assert.equal((await sandbox.ended).status, 129);
    await terminal.write(Buffer.from('x'));
    terminal.close();
  });
}

function fullTerminalTests(name: string, bench: () => Bench): void {
  test(`${name}: a megabyte of any bytes arrives whole, in both directions`, async () => {
    const typed = Buffer.concat([Buffer.from('ü€😀\xff'), randomBytes(1024 ** 2)]);
    const script = `stty raw -echo; printf ready; head -c ${typed.length} | tee /workspace/typed`;
    const sandbox = await bench().backend.create(
      requestOf(bench(), ['sh', '-c', script], { terminal: size, env: environment }),
    );
    const terminal = sandbox.terminal!;
    const whole = buffer(terminal.output);
    await once(terminal.output, 'data');
    await terminal.write(typed);
    const sha256 = (bytes: Buffer) => createHash('sha256').update(bytes).digest('hex');
    assert.equal(sha256((await whole).subarray(5)), sha256(typed));
    assert.equal((await sandbox.ended).status, 0);
  });

  test(`${name}: a terminal that nobody reads holds up who writes to it, and nobody else`, async () => {
    const script = 'echo up; yes | head -c 4000000; echo written >/workspace/written';
    const sandbox = await bench().backend.create(
      requestOf(bench(), ['sh', '-c', script], { terminal: size, env: environment }),
    );
    const look = async () =>
      (await outcomeOf(await sandbox.exec(execOf(['ls', '/workspace/written'])))).status;
    const looks = [await look(), await look(), await look()];
    assert.deepEqual(looks, [2, 2, 2], 'it has written no more than the terminal holds');
    const screen = new Shown(sandbox.terminal!.output);
    assert.equal((await sandbox.ended).status, 0);
    await screen.shows(/y\r\n$/);
    assert.ok(screen.text.length > 4_000_000);
  });

  test(`${name}: typing to who does not read waits, holds nobody up, and is over with the terminal`, async () => {
    const { sandbox, terminal, screen } = await inTerminal(bench(), [
      'sh',
      '-c',
      'stty raw -echo; echo up; exec sleep 600',
    ]);
    await screen.shows(/up/);
    let isOver = false;
    const typing = terminal.write(Buffer.alloc(10 * 1024 ** 2, 'x')).then(() => {
      isOver = true;
    });
    const started = performance.now();
    assert.equal((await outcomeOf(await sandbox.exec(execOf(['true'])))).status, 0);
    assert.ok(performance.now() - started < 10_000);
    assert.equal(isOver, false);
    sandbox.kill();
    await typing;
    await sandbox.ended;
  });

  test(`${name}: what was not taken when its author went is not typed, and others type on`, async () => {
    const script = 'stty raw -echo; echo up; while [ ! -e /tmp/go ]; do sleep 0.02; done; exec cat';
    const { sandbox, terminal, screen } = await inTerminal(bench(), ['sh', '-c', script]);
    await screen.shows(/up/);
    const gone = new AbortController();
    const typing = terminal.write(Buffer.alloc(1024 ** 2, 'x'), gone.signal);
    // The kernel has what it has room for by now.
    await turn();
    gone.abort();
    await typing;
    const next = terminal.write(Buffer.from('y'.repeat(5)));
    assert.equal((await outcomeOf(await sandbox.exec(execOf(['touch', '/tmp/go'])))).status, 0);
    await next;
    await screen.shows(/y{5}/);
    const taken = screen.text.split('x').length - 1;
    assert.ok(taken > 0 && taken < 128 * 1024, `${taken} bytes were with the kernel`);
    sandbox.kill();
    await sandbox.ended;
  });
}

function execTests(name: string, bench: () => Bench): void {
  test(`${name}: a command beside has pipes, words, variables, a folder and a status of its own`, async (t) => {
    const sandbox = await idle(bench());
    t.after(() => sandbox.kill());
    const exec = await sandbox.exec(
      execOf(['sh', '-c', 'pwd; echo "$MINE $1"; cat; echo err >&2; exit 9', 'sh', "it's"], {
        env: { ...environment, MINE: 'yes' },
        cwd: '/tmp',
      }),
    );
    assert.equal(exec.terminal, null);
    exec.stdin!.end('typed\n');
    assert.deepEqual(await outcomeOf(exec), {
      stdout: "/tmp\nyes it's\ntyped\n",
      stderr: 'err\n',
      status: 9,
    });
  });

  test(`${name}: it sees the processes and files of the sandbox's own command, and the other way round`, async (t) => {
    const sandbox = await bench().backend.create(
      requestOf(bench(), [
        'sh',
        '-c',
        'echo own >/tmp/own; echo up; while [ ! -e /tmp/beside ]; do sleep 0.02; done; cat /tmp/beside',
      ]),
    );
    t.after(() => sandbox.kill());
    const shown = new Shown(sandbox.stdout);
    await shown.shows(/up/);
    const script =
      'cat /tmp/own; tr "\\0" " " </proc/2/cmdline; kill -0 2 && echo reachable; readlink /proc/self/ns/pid /proc/self/ns/net /proc/self/ns/ipc; echo beside >/tmp/beside.new; mv /tmp/beside.new /tmp/beside';
    const { stdout } = await outcomeOf(await sandbox.exec(execOf(['sh', '-c', script])));
    assert.match(stdout, /^own\nsh -c echo own .*reachable\npid:/s);
    await shown.shows(/beside/);
    assert.equal((await sandbox.ended).status, 0);
  });

  test(`${name}: with a terminal it is as with a sandbox's own, and both have one of their own`, async () => {
    const { sandbox, terminal, screen } = await inTerminal(bench(), shell);
    const exec = await sandbox.exec(execOf(shell, { terminal: { columns: 70, rows: 11 } }));
    const beside = new Shown(exec.terminal!.output);
    assert.equal(exec.stdin, null);
    await exec.terminal!.write(Buffer.from('tty; stty size; sh -c "echo on 1; exec sleep 600"\n'));
    await beside.shows(/\/dev\/pts\/1\r\n11 70\r\non 1\r/);
    await exec.terminal!.write(Buffer.from('\x03'));
    await exec.terminal!.write(Buffer.from('echo code $?; exit 5\n'));
    await beside.shows(/code 130/);
    assert.equal((await exec.ended).status, 5);
    await terminal.write(Buffer.from('echo still $((6*7)); exit\n'));
    await screen.shows(/still 42/);
    await sandbox.ended;
    assert.doesNotMatch(screen.text, /code 130|11 70/);
  });

  test(`${name}: thirty beside at once do not mix`, async (t) => {
    const sandbox = await idle(bench());
    t.after(() => sandbox.kill());
    const outcomes = await Promise.all(
      Array.from({ length: 30 }, async (_, index) => {
        const terminal = index % 2 === 0 ? null : size;
        const exec = await sandbox.exec(execOf(['sh', '-c', `echo ${index}; exit ${index}`], { terminal }));
        const shown = await text(exec.terminal?.output ?? exec.stdout);
        return [shown.trim(), (await exec.ended).status];
      }),
    );
    assert.deepEqual(
      outcomes,
      Array.from({ length: 30 }, (_, index) => [String(index), index]),
    );
  });
}

function execEndTests(name: string, bench: () => Bench): void {
  test(`${name}: a folder that is not there refuses a command beside, a program that is not there is 127`, async (t) => {
    const sandbox = await idle(bench());
    t.after(() => sandbox.kill());
    const refused = sandbox.exec(execOf(['touch', '/workspace/ran'], { cwd: '/workspace/none' }));
    await assert.rejects(refused, isFault('state.conflict', /\/workspace\/none/));
    assert.equal((await outcomeOf(await sandbox.exec(execOf(['ls', '/workspace/ran'])))).status, 2);
    assert.equal((await outcomeOf(await sandbox.exec(execOf(['no-such-program'])))).status, 127);
    assert.equal((await outcomeOf(await sandbox.exec(execOf(['sh', '-c', 'kill -SEGV $$'])))).status, 139);
  });

  test(`${name}: ending a command beside leaves the sandbox alone`, async (t) => {
    const sandbox = await idle(bench());
    t.after(() => sandbox.kill());
    for (const terminal of [null, size]) {
      const exec = await sandbox.exec(
        execOf(['sh', '-c', 'trap "" TERM HUP; echo up; while :; do sleep 0.05; done'], { terminal }),
      );
      await new Shown(exec.terminal?.output ?? exec.stdout).shows(/up/);
      exec.kill();
      assert.equal((await exec.ended).status, 137);
      exec.kill();
    }
    assert.equal((await outcomeOf(await sandbox.exec(execOf(['true'])))).status, 0);
  });

  test(`${name}: the end of the sandbox ends what is beside, and nothing is started in it any more`, async () => {
    const sandbox = await idle(bench());
    const piped = await sandbox.exec(execOf(['sleep', '600']));
    const typed = await sandbox.exec(execOf(['sleep', '600'], { terminal: size }));
    const starting = sandbox.exec(execOf(['sleep', '600']));
    sandbox.kill();
    const [outcome] = await Promise.allSettled([starting]);
    if (outcome!.status === 'rejected') assert.ok(isFault('state.conflict', /ended/)(outcome!.reason));
    await sandbox.ended;
    assert.equal((await piped.ended).status, 137);
    assert.equal((await typed.ended).status, 137);
    typed.terminal!.close();
    await assert.rejects(sandbox.exec(execOf(['true'])), isFault('state.conflict', /ended/));
    await assert.rejects(sandbox.connect(80), isFault('state.conflict', /./));
  });

  test(`${name}: stop asks what is beside, too`, async () => {
    const waits = 'while [ ! -e /tmp/said ]; do sleep 0.02; done; exit 4';
    const own = ['sh', '-c', `trap "${waits}" TERM; echo up; while :; do sleep 0.05; done`];
    const sandbox = await bench().backend.create(requestOf(bench(), own));
    const script = 'trap "echo bye >/tmp/said; exit 3" TERM; echo up; while :; do sleep 0.05; done';
    const exec = await sandbox.exec(execOf(['sh', '-c', script]));
    await Promise.all([new Shown(sandbox.stdout).shows(/up/), new Shown(exec.stdout).shows(/up/)]);
    sandbox.stop(30_000);
    assert.equal((await sandbox.ended).status, 4);
    await exec.ended;
  });
}

/** Answers with what it was told, after the other end has ended its words. Arguments: family, address, port. */
const echoServer = `use Socket qw(:all); my ($family, $address, $port) = @ARGV;
my $at = $family eq '4' ? pack_sockaddr_in($port, inet_pton(AF_INET, $address)) : pack_sockaddr_in6($port, inet_pton(AF_INET6, $address));
socket(my $server, $family eq '4' ? AF_INET : AF_INET6, SOCK_STREAM, 0) or die; setsockopt($server, SOL_SOCKET, SO_REUSEADDR, 1);
bind($server, $at) or die "bind $!"; listen($server, 5); $| = 1; print "up\\n";
while (accept(my $peer, $server)) { local $/; my $said = <$peer>; print $peer "echo $said"; close $peer }`;

function portTests(name: string, bench: () => Bench): void {
  for (const [family, address] of [
    ['4', '127.0.0.1'],
    ['4', '0.0.0.0'],
    ['6', '::1'],
  ] as const) {
    test(`${name}: what listens inside at ${address} is reached`, async (t) => {
      const sandbox = await bench().backend.create(
        requestOf(bench(), ['perl', '-e', echoServer, family, address, '3000']),
      );
      t.after(() => sandbox.kill());
      await new Shown(sandbox.stdout).shows(/up/);
      for (const word of ['one', 'two']) {
        const socket = await sandbox.connect(3000);
        socket.end(word);
        assert.equal(await text(socket), `echo ${word}`);
      }
      await assert.rejects(sandbox.connect(3001), isFault('state.conflict', /3001/));
    });
  }

  test(`${name}: who listens and accepts nothing holds a caller no longer than a while, and nobody else`, async (t) => {
    const full = `use Socket; socket(my $s, AF_INET, SOCK_STREAM, 0); bind($s, pack_sockaddr_in(3000, INADDR_LOOPBACK)); listen($s, 0); $| = 1; print "up\\n"; sleep 600`;
    const sandbox = await bench().backend.create(requestOf(bench(), ['perl', '-e', full]));
    t.after(() => sandbox.kill());
    await new Shown(sandbox.stdout).shows(/up/);
    const tried = Array.from({ length: 6 }, () => sandbox.connect(3000));
    const other = await idle(bench());
    other.kill();
    const outcomes = await Promise.allSettled(tried);
    const refused = outcomes.filter(({ status }) => status === 'rejected');
    for (const outcome of outcomes)
      if (outcome.status === 'fulfilled') outcome.value.on('error', () => undefined).destroy();
    assert.ok(refused.length > 0 && refused.length < 6, `${refused.length}`);
  });

  test(`${name}: connections end with the sandbox`, async () => {
    const sandbox = await bench().backend.create(
      requestOf(bench(), ['perl', '-e', echoServer, '4', '127.0.0.1', '3000']),
    );
    await new Shown(sandbox.stdout).shows(/up/);
    const socket = await sandbox.connect(3000);
    const closed = new Promise((resolve) => socket.once('close', resolve));
    socket.on('error', () => undefined).resume();
    sandbox.kill();
    await Promise.all([closed, sandbox.ended]);
  });
}
