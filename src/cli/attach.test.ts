import assert from 'node:assert/strict';
import { text } from 'node:stream/consumers';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { ApiError } from '../client/api-error.ts';
import type { AttachedClient } from '../contract/attach.ts';
import { newId } from '../model/ids.ts';
import { attachOff } from '../model/terminal.ts';
import { buildProgram, runProgram } from './program.ts';
import { ended, TestServer, testContext, wrote } from './test-api.ts';
import type { FakePeer } from './test-attach.ts';
import { bytesOf, type TestEnvironment, TestTerminal, testEnvironment } from './test-environment.ts';

let environment: TestEnvironment;
let terminal: TestTerminal;
let server: TestServer;
beforeEach(() => {
  environment = testEnvironment({ TERM: 'xterm-256color' });
  terminal = new TestTerminal();
  environment.terminal = terminal;
  server = new TestServer();
  server.run('build', { phase: 'running' });
});
afterEach(() => environment.dispose());

function start(...words: string[]): Promise<number> {
  const context = testContext(environment, server);
  return runProgram(
    buildProgram(context, () => {}),
    words,
    context,
  );
}

const detach = '\x10\x11';
const out = () => environment.stdout.text;
const err = () => environment.stderr.text;
const conflict = (detail = 'It has ended.') => new ApiError({ status: 409, code: 'state.conflict', detail });

/** Attaches, and gives the server's end once keys are taken. */
async function attached(peer: FakePeer, more: Parameters<FakePeer['welcome']>[0] = {}): Promise<void> {
  peer.welcome(more);
  await terminal.taken;
}

describe('attach', () => {
  it('shows the terminal to a viewer, whose keys do nothing but leave', async () => {
    const ending = start('attach', 'build');
    const peer = await server.attach.peer();
    await attached(peer, { role: 'viewer', resumed: false, snapshotBytes: 4 });
    peer.show('$ ls');
    assert.equal(terminal.isRaw, true);
    terminal.type('rm -rf /\r\x03\x04');
    terminal.type(detach);
    assert.equal(await ending, 0);
    assert.deepEqual([peer.typed, peer.frames, peer.left], ['', [], true]);
    assert.match(out(), /^\x1b\[H\x1b\[2J\$ ls/);
    assert.match(err(), /left run_\w+, which goes on/);
    assert.equal(terminal.isRaw, false);
    assert.match(server.calls.join('\n'), /attach\.ticket run_\w+ \{"role":"viewer"\}/);
  });

  it('types for a driver, follows the size, and ends with the status of the command', async () => {
    terminal.current = { columns: 101, rows: 33 };
    const ending = start('attach', 'build', '--driver', '--terminal', newId('terminal', 5));
    const peer = await server.attach.peer();
    await attached(peer);
    peer.drive();
    assert.deepEqual(peer.frames, [{ type: 'drive' }, { type: 'resize', size: { columns: 101, rows: 33 } }]);
    terminal.type('echo hi\r\x03');
    terminal.resize({ columns: 5_000, rows: 0 });
    await peer.until(() => peer.typed !== '' && peer.frames.length === 3);
    assert.equal(peer.typed, 'echo hi\r\x03');
    assert.deepEqual(peer.frames[2], { type: 'resize', size: { columns: 1_000, rows: 1 } });
    peer.end(7);
    assert.equal(await ending, 7);
    assert.match(server.calls.join('\n'), /"role":"driver","terminal":"trm_/);
  });

  it('takes the lease over where that is asked for', async () => {
    const ending = start('attach', 'build', '--takeover');
    const peer = await server.attach.peer();
    await attached(peer);
    assert.deepEqual(peer.frames, [{ type: 'drive', takeover: true }]);
    terminal.type(detach);
    assert.equal(await ending, 0);
  });

  it('says who drives where it does not, and rings where keys go nowhere', async () => {
    const ending = start('attach', 'build', '--driver');
    const peer = await server.attach.peer();
    const other = newId('connection', 9);
    await attached(peer);
    peer.say({
      type: 'clients',
      clients: [{ connection: other, actor: 'user:eve\x1b[2J', role: 'driver', driving: true }],
    });
    peer.say({ type: 'input', allowed: false, bar: 'no-lease', holder: other });
    terminal.type('x');
    await new Promise((resolve) => setImmediate(resolve));
    terminal.type(detach);
    assert.equal(await ending, 0);
    assert.match(out(), /user:eve\\e\[2J drives, you watch/);
    assert.match(out(), /\x07/);
    assert.equal(peer.typed, '');
  });

  it('connects again after a break, says so, and draws anew where it must', async () => {
    const ending = start('attach', 'build', '--driver');
    const first = await server.attach.peer();
    await attached(first, { resumed: false });
    first.show('one');
    first.breakOff();
    const second = await server.attach.peer();
    assert.match(second.path, /from=3/);
    second.welcome({ offset: 90, resumed: false });
    second.show('two');
    second.end(0);
    assert.equal(await ending, 0);
    assert.match(out(), /one.*the connection broke.*\x1b\[H\x1b\[2J.*connected again.*two/s);
  });

  it('leaves the terminal as it was, whatever a program left it in', async () => {
    for (const leave of [
      (peer: FakePeer) => peer.end(0),
      () => terminal.type(detach),
      () => environment.interrupt(),
      () => terminal.hangUp(),
      (peer: FakePeer) => peer.cut('revoked'),
    ]) {
      environment.stdout.chunks.length = 0;
      const ending = start('attach', 'build', '--driver');
      const peer = await server.attach.peer();
      await attached(peer);
      peer.show('\x1b[?1049h\x1b[?1002;1006h\x1b[?2004h\x1b[?25l\x1b[31m\x1b(0\x1b=');
      leave(peer);
      await ending;
      assert.equal(terminal.isRaw, false);
      const after = out().slice(out().indexOf('\x1b=') + 2);
      for (const back of ['?1049l', '?1002l', '?1006l', '?2004l', '?25h', '0m'])
        assert(after.includes(`\x1b[${back}`), `${back} in ${JSON.stringify(after)}`);
      assert(after.includes('\x1b(B') && after.includes('\x1b>'));
    }
  });

  it('says why it was cut, and who may help', async () => {
    const ending = start('attach', 'build');
    const peer = await server.attach.peer();
    await attached(peer, { role: 'viewer' });
    peer.cut('switchedOff');
    assert.equal(await ending, 1);
    assert.match(err(), /Attaching was switched off/);
    const problem = { required: 'control:write' };
    server.attach.refusals.push(
      new ApiError({ status: 403, code: 'access.denied', detail: 'This needs control:write.', problem }),
    );
    assert.equal(await start('attach', 'build', '--driver'), 1);
    assert.match(err(), /needs control:write.*access elevate/s);
  });

  it('lets nothing through to the terminal of a viewer that does more than draw', async () => {
    const ending = start('attach', 'build');
    const peer = await server.attach.peer();
    await attached(peer, { role: 'viewer' });
    peer.show('a\x1b[6nb\x1b]52;c;aGk=\x07c\x1b[?1000hd\x1bP$qm\x1b\\e');
    peer.end(0);
    await ending;
    assert.match(out(), /abcde/);
  });

  it('needs a terminal, and knows no other keys than it says', async () => {
    environment.terminal = null;
    assert.equal(await start('attach', 'build'), 1);
    assert.match(err(), /needs a terminal.*sealwright logs -f/s);
    environment.terminal = terminal;
    assert.equal(await start('attach', 'build', '--detach-keys', 'ctrl-§'), 2);
    assert.equal(await start('attach', 'build', '--detach-keys', 'none'), 2);
    assert.match(err(), /no other way out/);
  });
});

describe('the keys of the wheel', () => {
  const wheel = '\x10\x14';
  const [ann, bob, eve] = [1, 2, 3].map((at) => newId('connection', at)) as [Id, Id, Id];
  type Id = ReturnType<typeof newId<'connection'>>;
  const client = (connection: Id, actor: string, more: Partial<AttachedClient> = {}): AttachedClient => ({
    ...{ connection, actor, role: 'driver', driving: false },
    ...more,
  });
  const driving = client(ann, 'user:ann', { driving: true });
  /** Resolves once the terminal shows it. */
  async function shows(pattern: RegExp): Promise<void> {
    for (let turns = 0; !pattern.test(out()); turns += 1) {
      assert(turns < 100_000, `no ${pattern} in ${JSON.stringify(out())}`);
      await new Promise((resolve) => setImmediate(resolve));
    }
  }
  async function startDriving(...clients: AttachedClient[]) {
    const ending = start('attach', 'build', '--driver');
    const peer = await server.attach.peer();
    await attached(peer, { connection: ann });
    peer.say({ type: 'clients', clients });
    return { ending, peer };
  }
  /** What the client said, but for the size of its terminal. */
  const said = (peer: FakePeer) => peer.frames.filter(({ type }) => type !== 'resize').slice(1);

  it('release it, take it, and take it over, and none of them is typed to the program', async () => {
    const { ending, peer } = await startDriving(driving);
    peer.drive();
    terminal.type(`a${wheel}`);
    await shows(/r release, h hand over, \? who is here, ctrl-t types the keys/);
    terminal.type('rb');
    await peer.until(() => peer.typed === 'ab');
    assert.deepEqual(said(peer), [{ type: 'release' }]);
    peer.say({ type: 'clients', clients: [client(ann, 'user:ann')] });
    peer.say({ type: 'input', allowed: false, bar: 'no-lease', holder: null });
    terminal.type(wheel);
    await shows(/w take the wheel/);
    terminal.type('w');
    const bobs = client(bob, 'user:bob', { driving: true });
    peer.say({ type: 'clients', clients: [client(ann, 'user:ann'), bobs] });
    peer.say({ type: 'input', allowed: false, bar: 'no-lease', holder: bob });
    terminal.type(wheel);
    await shows(/t take over from user:bob/);
    terminal.type('t');
    await peer.until(() => said(peer).length === 3);
    assert.deepEqual(said(peer).slice(1), [{ type: 'drive' }, { type: 'drive', takeover: true }]);
    peer.say({ type: 'refused', of: 'drive', code: 'state.conflict', detail: 'Not now.' });
    await shows(/not done: Not now\./);
    terminal.type(detach);
    assert.equal(await ending, 0);
    assert.equal(peer.typed, 'ab');
  });

  it('hand it over to whom the number stood for when it was shown, whoever comes and goes', async () => {
    terminal.current = { columns: 120, rows: 20 };
    const { ending, peer } = await startDriving(
      client(eve, 'user:watching', { role: 'viewer' }),
      ...[driving, client(bob, 'user:bob'), client(eve, 'user:eve\x1b[2J [1] user:bob')],
    );
    peer.drive();
    terminal.type(`${wheel}?`);
    await shows(/user:watching watches, user:ann \(you\) drives, user:bob may drive/);
    terminal.type('h');
    await shows(/hand over to \[1\] user:bob \[2\] user:eve\\e\[2J\\x20\[1\]\\x20user:bob/);
    peer.say({ type: 'clients', clients: [client(eve, 'user:eve'), driving, client(bob, 'user:bob')] });
    terminal.type('1');
    await peer.until(() => said(peer).length === 1);
    assert.deepEqual(said(peer), [{ type: 'hand-over', to: bob }]);
    peer.say({ type: 'clients', clients: [driving] });
    terminal.type(`${wheel}h`);
    await shows(/nobody else here may drive/);
    terminal.type('2');
    terminal.type(detach);
    assert.equal(await ending, 0);
    assert.deepEqual([peer.typed, said(peer).length], ['', 1]);
  });

  it('show names that are alike apart, and more of them than a line holds one after another', async () => {
    terminal.current = { columns: 80, rows: 20 };
    const others = Array.from({ length: 12 }, (_, at) =>
      client(newId('connection', 100 + at), at < 2 ? 'user:twin' : `user:somebody-${at}`),
    );
    const { ending, peer } = await startDriving(driving, ...others);
    peer.drive();
    terminal.type(`${wheel}h`);
    const twins = others.slice(0, 2).map(({ connection }) => `user:twin(${connection.slice(-4)})`);
    await shows(/\[2\]/);
    assert(out().includes(`[1] ${twins[0]} [2] ${twins[1]}, h others`), out());
    for (let at = 2; at < 12; at += 1) {
      if (!out().includes(`user:somebody-${at}`)) terminal.type('h');
      await shows(new RegExp(`user:somebody-${at}\\b`));
    }
    terminal.type('1');
    await peer.until(() => said(peer).length === 1);
    const [handed] = said(peer);
    assert(handed?.type === 'hand-over' && others.some(({ connection }) => connection === handed.to));
    terminal.type(detach);
    assert.equal(await ending, 0);
  });

  it('are passed on with whatever else follows what they begin with, and by themselves where asked for twice', async () => {
    const { ending, peer } = await startDriving(driving);
    peer.drive();
    let typed = '';
    for (let code = 0; code < 0x80; code += 1) {
      if ([0x10, 0x11, 0x14].includes(code)) continue;
      const keys = `\x10${String.fromCharCode(code)}`;
      typed += keys;
      for (const key of code % 2 === 0 ? [keys] : keys) terminal.type(key);
    }
    terminal.type('\x10\x10\x10a\x14');
    terminal.type(`${wheel}\x14`);
    typed += `\x10\x10\x10a\x14${wheel}`;
    await peer.until(() => peer.typed.length === typed.length);
    assert.equal(peer.typed, typed);
    terminal.type(`${wheel}\x1b[A`);
    await shows(/nothing changed/);
    terminal.type(`z${detach}`);
    assert.equal(await ending, 0);
    assert.equal(peer.typed, `${typed}z`);
    assert.deepEqual(said(peer), []);
  });

  it('make a driver of a viewer, who watches on until that is so and where it is not', async () => {
    const ending = start('attach', 'build');
    const watching = await server.attach.peer();
    await attached(watching, { role: 'viewer', connection: ann });
    watching.say({ type: 'clients', clients: [client(bob, 'user:bob', { driving: true })] });
    server.attach.refusals.push(
      new ApiError({ status: 403, code: 'access.denied', detail: 'This needs control:write.' }),
    );
    terminal.type(`${wheel}t`);
    await shows(/take over from user:bob.*not done: This needs control:write\./s);
    watching.show('still \x1b[?1000hhere');
    await shows(/still here/);
    terminal.type(`${wheel}t`);
    const drivingPeer = await server.attach.peer();
    watching.show(' and now');
    await shows(/ and now/);
    assert.equal(watching.left, false);
    drivingPeer.welcome({ connection: eve, resumed: false });
    assert.equal(watching.left, true);
    drivingPeer.drive();
    drivingPeer.show('as driver \x1b[?1000h');
    await shows(/\x1b\[H\x1b\[2J.*you drive.*as driver \x1b\[\?1000h/s);
    assert.deepEqual(drivingPeer.frames[0], { type: 'drive', takeover: true });
    terminal.type('ls');
    await drivingPeer.until(() => drivingPeer.typed === 'ls');
    assert.equal(watching.typed, '');
    terminal.type(detach);
    assert.equal(await ending, 0);
    assert.match(server.calls.join('\n'), /"role":"viewer".*"role":"driver".*"role":"driver"/s);
  });

  it('are there for a run of one’s own, and not where no key comes before the last that leaves', async () => {
    server.logs = [[{ event: 'step', step: 'command', at: null }]];
    const ending = start('run', '-t', '--detach-keys', 'ctrl-],d', '--', 'bash');
    const peer = await server.attach.peer();
    await attached(peer);
    peer.drive();
    assert.match(err(), /ctrl-\] ctrl-t changes who drives/);
    terminal.type('\x1d\x14r\x1dd');
    assert.equal(await ending, 0);
    assert.deepEqual([peer.typed, said(peer)], ['', [{ type: 'release' }]]);
    const other = start('attach', 'build', '--driver', '--detach-keys', 'ctrl-]');
    const again = await server.attach.peer();
    await attached(again);
    again.drive();
    terminal.type('\x14\x1d');
    assert.equal(await other, 0);
    assert.equal(again.typed, '\x14');
  });
});

describe('run --tty', () => {
  const began = () => {
    server.logs = [
      [
        { event: 'step', step: 'sandbox', at: null },
        { event: 'step', step: 'command', at: null },
      ],
    ];
    server.onWait = () => {
      Object.assign(server.runs[0]!, { phase: 'failed', cause: 'exit', exitCode: 3 });
    };
  };

  it('makes a session with attaching on and a run of the terminal’s size, and shows it from the first byte', async () => {
    began();
    terminal.current = { columns: 120, rows: 40 };
    const ending = start('run', '--tty', '-e', 'A=b', '--', 'bash');
    const peer = await server.attach.peer();
    assert.match(peer.path, /from=0$/);
    await attached(peer);
    peer.drive();
    peer.show('$ ');
    terminal.type('exit 3\r');
    await peer.until(() => peer.typed !== '');
    peer.end(3);
    assert.equal(await ending, 3);
    const session = server.calls.find((call) => call.startsWith('sessions.create'));
    assert.match(session ?? '', /"attach":\{"enabled":true\}/);
    const made = JSON.parse(server.calls.find((call) => call.startsWith('runs.create'))!.slice(12));
    assert.deepEqual(made.terminal, { columns: 120, rows: 40 });
    assert.deepEqual(made.env, { TERM: 'xterm-256color', A: 'b' });
    assert.equal(out(), '$ ');
  });

  it('says on leaving how to come back, and the run goes on', async () => {
    began();
    const ending = start('run', '-t', '--detach-keys', 'ctrl-],d', '--', 'bash');
    const peer = await server.attach.peer();
    await attached(peer);
    peer.drive();
    terminal.type('\x1dx\x1dd');
    assert.equal(await ending, 0);
    assert.equal(peer.typed, '\x1dx');
    assert.match(err(), /ctrl-\] d leaves.*sealwright attach --driver run_/s);
    assert(!server.calls.some((call) => call.startsWith('runs.stop')));
  });

  it('shows what a command wrote that ended before anybody could attach', async () => {
    began();
    server.newRuns = { phase: 'running' };
    server.attach.refusals.push(conflict());
    server.logs.push([wrote('stdout', 'quick\x1b]52;c;eA==\x07\r\n', 5), ended(0)]);
    assert.equal(await start('run', '--tty', '--', 'true'), 3);
    assert.equal(out(), 'quick\r\n');
  });

  it('waits for a terminal that is about to be there', async () => {
    began();
    server.newRuns = { phase: 'starting' };
    server.attach.refusals.push(conflict('It has not started.'));
    const ending = start('run', '--tty', '--', 'bash');
    const peer = await server.attach.peer();
    await attached(peer);
    peer.end(0);
    assert.equal(await ending, 3);
  });

  it('does not go into a session whose switch is off, without a terminal, or with --json', async () => {
    server.session('work', { attach: attachOff });
    assert.equal(await start('run', '--tty', '--session', 'work', '--', 'bash'), 125);
    assert.match(err(), /attach-control ses_\w+ on/);
    assert.equal(await start('run', '--tty', '--json', '--', 'bash'), 125);
    environment.terminal = null;
    assert.equal(await start('run', '--tty', '--', 'bash'), 125);
    assert.match(err(), /needs a terminal/);
    assert(!server.calls.some((call) => call.startsWith('runs.create')));
  });

  it('stops a run that is interrupted before its command starts', async () => {
    server.logs = [[ended(null, { phase: 'cancelled' })]];
    server.onStop = () => Object.assign(server.runs[0]!, { phase: 'cancelled' });
    server.onWait = () => Object.assign(server.runs[0]!, { phase: 'cancelled' });
    assert.equal(await start('run', '--tty', '--', 'bash'), 130);
  });
});

describe('exec', () => {
  beforeEach(() => {
    environment.terminal = null;
  });

  it('has pipes where there is no terminal, and ends with the status of the command', async () => {
    environment.stdin = { isTerminal: false, read: () => bytesOf('what it reads') };
    server.attach.onExec = async (request, stdin) => {
      assert.deepEqual(request, { command: ['cat', '-'], env: { A: '1' }, cwd: '/tmp' });
      return { status: 9, stdout: (await text(stdin)).toUpperCase(), stderr: 'err' };
    };
    const status = await start('exec', '-e', 'A=1', '--cwd', '/tmp', 'build', '--', 'cat', '-');
    assert.deepEqual([status, out(), err()], [9, 'WHAT IT READS', 'err']);
    environment.stdin = { isTerminal: false, read: () => bytesOf('x') };
    assert.equal(await start('exec', 'build', '--env', 'A=1', '--cwd', '/tmp', '--', 'cat', '-'), 9);
    for (const words of [['-l'], ['--odd', '--', 'ls'], ['-e', 'A=1', 'more', '--', 'ls'], []])
      assert.equal(await start('exec', 'build', ...words), 125, words.join(' '));
  });

  it('leaves standard input alone where it is a terminal or --no-stdin says so', async () => {
    for (const [isTerminal, words] of [
      [true, []],
      [false, ['-n']],
    ] as const) {
      environment.stdin = { isTerminal, read: () => assert.fail('it read') };
      server.attach.onExec = async (_, stdin) => ({ status: 0, stdout: `<${await text(stdin)}>` });
      assert.equal(await start('exec', ...words, 'build', '--', 'cat'), 0);
    }
    assert.equal(out(), '<><>');
  });

  it('is byte for byte in a pipe, and only draws where its output is a terminal', async () => {
    const bytes = Buffer.from('\xffa\x1b[31mb\x1b]52;c;aGk=\x07\n', 'latin1');
    server.attach.onExec = async () => ({ status: 0, stdout: bytes });
    assert.equal(await start('exec', 'build', '--', 'cat'), 0);
    assert.deepEqual(environment.stdout.bytes, bytes);
    environment.stdout.chunks.length = 0;
    environment.stdout.isTerminal = true;
    assert.equal(await start('exec', 'build', '--', 'cat'), 0);
    assert.equal(out(), '\ufffda\x1b[31mb\n\x1b[0m');
  });

  it('has a terminal where there is one, told as the environment of the command', async () => {
    environment.terminal = terminal;
    const ending = start('exec', 'build', 'bash', '-l');
    const peer = await server.attach.peer();
    await attached(peer);
    peer.drive();
    peer.end(4);
    assert.equal(await ending, 4);
    const call = server.calls.find((each) => each.startsWith('attach.exec')) ?? '';
    assert.deepEqual(JSON.parse(call.slice(call.indexOf('{'))), {
      command: ['bash', '-l'],
      env: { TERM: 'xterm-256color' },
      terminal: { columns: 80, rows: 24 },
    });
  });

  it('comes back to its terminal after a break, and learns the status of what ended meanwhile', async () => {
    environment.terminal = terminal;
    const ending = start('exec', 'build', 'bash');
    const peer = await server.attach.peer();
    await attached(peer);
    const id = server.attach.execTerminal;
    server.attach.refusals.push(conflict());
    server.attach.terminal(newId('run', 1), { id, kind: 'exec', exitCode: 6 });
    peer.breakOff();
    assert.equal(await ending, 6);
    assert.match(server.calls.at(-1) ?? '', new RegExp(`attach.ticket .*"terminal":"${id}"`));
  });

  it('with --no-tty has pipes in a terminal, and with --tty none without one', async () => {
    environment.terminal = terminal;
    server.attach.onExec = async () => ({ status: 0, stdout: 'piped' });
    assert.equal(await start('exec', '--no-tty', 'build', '--', 'true'), 0);
    assert.equal(out(), 'piped');
    environment.terminal = null;
    assert.equal(await start('exec', '--tty', 'build', '--', 'true'), 125);
    assert.match(err(), /needs a terminal/);
  });

  it('hangs up on Ctrl-C, and says what went wrong otherwise', async () => {
    server.attach.onExec = async (_, stdin) => {
      setImmediate(() => environment.interrupt());
      await text(stdin).catch(() => {});
      throw new ApiError({ status: 0, code: 'server.unreachable', detail: 'gone' });
    };
    environment.stdin = { isTerminal: false, read: () => new Promise(() => {}) as never };
    assert.equal(await start('exec', 'build', '--', 'sleep', '9'), 130);
    server.attach.onExec = async () => {
      throw new ApiError({ status: 0, code: 'server.unreachable', detail: 'It broke.' });
    };
    environment.stdin = { isTerminal: true, read: () => bytesOf('') };
    assert.equal(await start('exec', 'build', '--', 'true'), 125);
    assert.match(err(), /It broke/);
  });
});

describe('the switch and the list', () => {
  it('attach-control says what it set', async () => {
    server.session('work');
    const flags = ['--moderated', '--record-input', '--mode', 'collaborative', '--reason', 'why'];
    assert.equal(await start('sessions', 'attach-control', 'work', 'on', ...flags), 0);
    assert.equal(out(), 'on, collaborative, moderated, input recorded\n');
    assert.match(
      server.calls.join('\n'),
      /"enabled":true,"mode":"collaborative","moderated":true,"recordInput":true,"reason":"why"/,
    );
    assert.equal(await start('sessions', 'attach-control', 'work', 'off'), 0);
    assert.match(out(), /\noff\n$/);
    assert.equal(await start('sessions', 'attach-control', 'work', 'maybe'), 2);
    assert.equal(await start('sessions', 'attach-control', 'work', 'on', '--mode', 'x'), 2);
  });

  it('runs terminals lists them harmlessly, and runs still lists runs', async () => {
    server.attach.terminal(newId('run', 1), { command: ['bash', '-c', '\x1b]0;x\x07'], actor: 'user:\x9b' });
    assert.equal(await start('runs', 'terminals', 'build'), 0);
    assert.match(out(), /TERMINAL .*RECORDED.*\ntrm_.* run .* 80x24 .* live .* 1m5s, 2\.0 KiB/);
    assert.doesNotMatch(out(), /[\x1b\x9b\x07]/);
    environment.stdout.chunks.length = 0;
    assert.equal(await start('runs', '--phase', 'running', '--json'), 0);
    assert.equal(JSON.parse(out())[0].name, 'build');
  });
});
