import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { sftpServerPaths } from '../../src/cli/ssh/remote-command.ts';
import { OpenSsh, withoutProgram, writeStrangersKey } from '../../src/cli/ssh/test-openssh.ts';
import { cli, type Instance, startInstance, testEnvironment } from '../support/instance.ts';

/** Debian's ssh and its like, in the sandbox of a run, through the gate. */

const skip = withoutProgram('ssh', 'scp', 'ssh-keygen');
const ssh = new OpenSsh();
let instance: Instance;
let session: string;

before(async () => {
  instance = await startInstance();
  ssh.environment = testEnvironment(instance.home);
  session = await startRun('box');
  await instance.client.attach.configure(session, { enabled: true });
  writeFileSync(ssh.config, await config('box'));
});

after(async () => {
  await instance.remove();
  ssh.dispose();
});

/** Starts a run of this name and gives its session. */
async function startRun(name: string): Promise<string> {
  const { id } = await instance.client.sessions.create({ name });
  const run = await instance.client.runs.create({ session: id, name, command: ['sleep', '1000'] });
  for await (const { phase } of phasesOf(run.id)) if (phase === 'running') break;
  return id;
}

async function* phasesOf(run: string) {
  for (;;) yield await instance.client.runs.get(run);
}

async function config(...words: string[]): Promise<string> {
  const { status, stdout, stderr } = await cli(instance.home, ['ssh-config', ...words]);
  assert.equal(status, 0, stderr);
  return stdout.toString();
}

const inFolder = (name: string): string => join(ssh.folder, name);

async function inBox(line: string, ...flags: string[]) {
  const { status, stdout, stderr } = await ssh.run('ssh', [...flags, 'box.sealwright', line]);
  return { status, stdout: stdout.toString(), stderr };
}

test('ssh runs a command in the sandbox, with its status, and with a terminal where asked', {
  skip,
}, async () => {
  const { status, stdout, stderr } = await inBox('id -un; pwd; echo problem >&2; exit 7');
  assert.deepEqual([status, stdout, stderr], [7, 'agent\n/workspace\n', 'problem\n']);
  const terminal = await inBox('tty; exit 3', '-tt');
  assert.equal(terminal.status, 3);
  assert.match(terminal.stdout, /^\/dev\/pts\/\d+\r\n/);
});

test('ssh-config --all lists it, and sealwright ssh needs no file', { skip }, async () => {
  assert.match(await config('--all'), /^Host run_\S+\.sealwright box\.sealwright$/m);
  const { status, stdout } = await cli(instance.home, ['ssh', 'box', '--', 'echo', 'hi;', 'exit 5']);
  assert.deepEqual([status, stdout.toString()], [5, 'hi\n']);
});

test('scp copies 100 MB both ways', { skip }, async () => {
  const flags = sftpServerPaths.some((path) => existsSync(path)) ? [] : ['-O'];
  const bytes = randomBytes(100_000_000);
  writeFileSync(inFolder('here'), bytes);
  for (const [from, to] of [
    ['here', 'box.sealwright:there'],
    ['box.sealwright:there', 'back'],
  ] as const) {
    const { status, stderr } = await ssh.run('scp', [...flags, '-q', from, to]);
    assert.deepEqual([status, stderr], [0, '']);
  }
  assert.ok(readFileSync(inFolder('back')).equals(bytes));
});

test('rsync copies a tree both ways', { skip: skip || withoutProgram('rsync') }, async () => {
  mkdirSync(inFolder('tree/a/b'), { recursive: true });
  const files = Array.from({ length: 100 }, (_, index) => `a/b/${index}`);
  for (const [index, file] of files.entries())
    writeFileSync(inFolder(`tree/${file}`), randomBytes(index * 100));
  for (const [from, to] of [
    ['tree/', 'box.sealwright:tree'],
    ['box.sealwright:tree/', 'returned'],
  ] as const) {
    const { status, stderr } = await ssh.run('rsync', ['-a', from, to]);
    assert.deepEqual([status, stderr], [0, '']);
  }
  for (const file of files)
    assert.ok(readFileSync(inFolder(`returned/${file}`)).equals(readFileSync(inFolder(`tree/${file}`))));
});

test('a reader that stalls holds the command up and is not cut', { skip }, async () => {
  const size = 50_000_000;
  const { child, ended } = ssh.start('ssh', [
    'box.sealwright',
    `head -c ${size} /dev/zero; echo all written >&2`,
  ]);
  child.stdout.pause();
  // Meanwhile the server has sent what the client, the pipes and the windows between take, and waits.
  assert.equal((await inBox('head -c 20000000 /dev/zero | wc -c')).stdout, '20000000\n');
  child.stdout.resume();
  child.stdin.end();
  const { status, stdout, stderr } = await ended;
  assert.deepEqual([status, stdout.length, stderr], [0, size, 'all written\n']);
});

test('a terminal that is read slowly is not lost: it goes on with the screen as it is then', {
  skip,
}, async () => {
  const line =
    "head -c 30000000 /dev/zero | tr '\\0' x; echo; echo the last line; read answer; echo got $answer; exit 6";
  const { child, ended } = ssh.start('ssh', ['-tt', 'box.sealwright', line]);
  child.stdout.pause();
  // Another terminal writes as much meanwhile, and is read.
  assert.equal((await inBox("head -c 40000000 /dev/zero | tr '\\0' x; exit 5", '-tt')).status, 5);
  const shown = new Promise<void>((resolve) => {
    let end = '';
    child.stdout.on('data', (bytes: Buffer) => {
      end = (end + bytes.toString('latin1')).slice(-10_000);
      if (end.includes('the last line')) resolve();
    });
  });
  child.stdout.resume();
  await shown;
  child.stdin.write('typed\n');
  const { status, stdout } = await ended;
  assert.equal(status, 6);
  assert.match(stdout.subarray(-4_000).toString(), /got typed/);
  const cuts = await cli(instance.home, [
    'audit',
    'events',
    '--action',
    'attach.disconnect',
    '--text',
    'slow',
  ]);
  assert.match(cuts.stdout.toString(), /"reason":"slow"/, 'it was cut, and came again');
});

test('-W reaches a port inside, and the refusal of others is said', { skip }, async () => {
  const server = ssh.start('ssh', ['box.sealwright', `perl -MIO::Socket::INET -e '${answering}'`]);
  const [first] = (await once(server.child.stdout, 'data')) as [Buffer];
  const port = first.toString().trim();
  const reached = await ssh.run('ssh', ['-W', `localhost:${port}`, 'box.sealwright']);
  assert.deepEqual([reached.status, reached.stdout.toString(), reached.stderr], [0, 'inside', '']);
  server.child.stdin.end();
  assert.equal((await server.ended).status, 0);
  const nobody = await ssh.run('ssh', ['-W', `localhost:${port}`, 'box.sealwright']);
  assert.equal(nobody.status, 255);
  assert.match(nobody.stderr, /^sealwright: Port \d+: /m);
});

const answering =
  '$| = 1; $s = IO::Socket::INET->new(Listen => 1, LocalAddr => "127.0.0.1") or die; print $s->sockport, "\\n"; ' +
  '$c = $s->accept; print $c "inside"; close $c';

test('without control:write, and where attaching is off, there is no way in, and it is said why', {
  skip,
}, async () => {
  const { token } = await instance.client.tokens.create({
    name: 'reader',
    scopes: ['run:read', 'session:read'],
    reach: 'all',
  });
  const all = ssh.environment;
  ssh.environment = { ...all, SEALWRIGHT_TOKEN: token };
  try {
    const reader = await inBox('true');
    assert.equal(reader.status, 125);
    assert.match(reader.stderr, /^sealwright: /);
  } finally {
    ssh.environment = all;
  }
  await startRun('closed');
  const path = inFolder('closed-config');
  writeFileSync(path, await config('closed'));
  const off = await ssh.run('ssh', ['-F', path, 'closed.sealwright', 'true']);
  assert.equal(off.status, 125);
  assert.match(off.stderr, /^sealwright: .*[Aa]ttach/);
  assert.equal((await inBox('true')).status, 0, 'the other run goes on');
});

test('a stranger’s key is not let in, and what is not SSH gets nothing', { skip }, async () => {
  writeStrangersKey(inFolder('stranger'));
  const path = inFolder('stranger-config');
  writeFileSync(
    path,
    readFileSync(ssh.config, 'utf8').replaceAll(/IdentityFile .*/g, `IdentityFile ${inFolder('stranger')}`),
  );
  const { status, stderr } = await ssh.run('ssh', [
    '-F',
    path,
    '-o',
    'BatchMode=yes',
    'box.sealwright',
    'true',
  ]);
  assert.equal(status, 255);
  assert.match(stderr, /Permission denied \(publickey\)/);
  const garbage = await cli(instance.home, ['ssh-proxy', 'box'], { input: 'GET / HTTP/1.1\r\n\r\n' });
  assert.equal(garbage.status, 1);
  assert.match(garbage.stderr, /Nobody spoke SSH/);
});

const sleeping =
  "for file in /proc/[0-9]*/cmdline; do tr '\\0' ' ' <$file; echo; done 2>/dev/null | grep -x 'sleep 4321 '";

test('what was started ends with ssh, and when attaching is switched off', { skip }, async () => {
  const killed = ssh.start('ssh', ['box.sealwright', 'echo up; exec sleep 4321']);
  await once(killed.child.stdout, 'data');
  assert.equal((await inBox(sleeping)).stdout, 'sleep 4321 \n');
  killed.child.kill('SIGKILL');
  await killed.ended;
  while ((await inBox(sleeping)).stdout !== '');

  const cut = ssh.start('ssh', ['box.sealwright', 'echo up; exec sleep 4321']);
  await once(cut.child.stdout, 'data');
  const began = performance.now();
  await instance.client.attach.configure(session, { enabled: false });
  const { status, stderr } = await cut.ended;
  assert.ok(performance.now() - began < 1_500);
  assert.equal(status, 125);
  assert.match(stderr, /^sealwright: Attaching was switched off/);
  await instance.client.attach.configure(session, { enabled: true });
});

test('each command is on record', { skip }, async () => {
  await inBox('echo recorded-by-ssh');
  const { stdout } = await cli(instance.home, [
    'audit',
    'events',
    '--action',
    'exec.',
    '--text',
    'recorded-by-ssh',
  ]);
  assert.match(stdout.toString(), /"action":"exec\.start"/);
});
