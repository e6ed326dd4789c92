import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { existsSync, mkdirSync, readFileSync, statSync, watch, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { sftpServerPaths } from './remote-command.ts';
import { OpenSsh, withoutProgram, writeStrangersKey } from './test-openssh.ts';

const skip = withoutProgram('ssh', 'scp', 'sftp', 'ssh-keygen');
const ssh = new OpenSsh();
before(async () => await ssh.prepare());
after(() => ssh.dispose());

const inFolder = (name: string): string => join(ssh.folder, name);

test('ssh runs a command with its input, both outputs and its status', { skip }, async () => {
  const ended = await ssh.run('ssh', ['box.sealwright', 'cat; echo problem >&2; exit 7'], 'typed');
  assert.deepEqual(
    { ...ended, stdout: ended.stdout.toString() },
    { status: 7, stdout: 'typed', stderr: 'problem\n' },
  );
});

test('ssh opens a terminal where it is asked to', { skip: skip || withoutProgram('script') }, async () => {
  const { status, stdout } = await ssh.run('ssh', ['-tt', 'box.sealwright', 'tty; echo $TERM; exit 3']);
  assert.equal(status, 3);
  assert.match(stdout.toString(), /^\/dev\/pts\/\d+\r\n/);
});

test('ssh hears of a signal', { skip }, async () => {
  const { status, stderr } = await ssh.run('ssh', ['-v', 'box.sealwright', 'kill -TERM $$']);
  assert.equal(status, 255);
  assert.match(stderr, /rtype exit-signal/);
});

test('what the gate refuses is said', { skip }, async () => {
  const { status, stderr } = await ssh.run('ssh', ['box.sealwright', 'refuse-me']);
  assert.deepEqual([status, stderr], [125, 'sealwright: The gate says no.\n']);
});

const sftp = sftpServerPaths.some((path) => existsSync(path)) ? false : 'needs openssh-sftp-server';

for (const [how, flags] of [
  ['by SFTP', []],
  ['by its own protocol', ['-O']],
] as const) {
  test(`scp copies 100 MB both ways ${how}`, { skip: skip || (how === 'by SFTP' && sftp) }, async () => {
    const bytes = randomBytes(100_000_000);
    writeFileSync(inFolder('here'), bytes);
    for (const [from, to] of [
      ['here', 'box.sealwright:there'],
      ['box.sealwright:there', 'back'],
    ] as const) {
      const { status, stderr } = await ssh.run('scp', [...flags, '-q', from, to]);
      assert.deepEqual([status, stderr], [0, '']);
    }
    assert.ok(readFileSync(inFolder('there')).equals(bytes) && readFileSync(inFolder('back')).equals(bytes));
  });
}

test('sftp lists, puts and gets', { skip: skip || sftp }, async () => {
  writeFileSync(inFolder('letter'), 'dear all');
  const batch = 'mkdir d\nput letter d/letter\nls -1 d\nget d/letter answer\n';
  const { status, stdout } = await ssh.run('sftp', ['-q', '-b', '-', 'box.sealwright'], batch);
  assert.equal(status, 0);
  assert.match(stdout.toString(), /^d\/letter *$/m);
  assert.equal(readFileSync(inFolder('answer'), 'utf8'), 'dear all');
});

test('keys are exchanged anew in the middle of a copy', { skip }, async () => {
  const bytes = randomBytes(8_000_000);
  const { status, stdout } = await ssh.run('ssh', ['-o', 'RekeyLimit=1M', 'box.sealwright', 'cat'], bytes);
  assert.equal(status, 0);
  assert.ok(stdout.equals(bytes));
});

test('-L reaches a port inside, and nothing else', { skip }, async () => {
  const server = createServer((socket) => socket.end('inside')).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as { port: number };
  const reached = await ssh.run('ssh', ['-W', `localhost:${port}`, 'box.sealwright']);
  assert.deepEqual([reached.status, reached.stdout.toString()], [0, 'inside']);
  const refused = await ssh.run('ssh', ['-W', `169.254.169.254:${port}`, 'box.sealwright']);
  assert.equal(refused.status, 255);
  assert.match(refused.stderr, /169\.254\.169\.254 is not in the sandbox/);
  server.close();
});

test('-R, -A and -X get nothing from the client’s machine', { skip }, async () => {
  const remote = await ssh.run('ssh', [
    '-o',
    'ExitOnForwardFailure=yes',
    '-R',
    '0:localhost:1',
    'box.sealwright',
    'true',
  ]);
  assert.match(remote.stderr, /remote port forwarding failed/i);
  const agent = await ssh.run('ssh', ['-A', 'box.sealwright', 'echo "agent=$SSH_AUTH_SOCK"']);
  assert.equal(agent.stdout.toString(), 'agent=\n');
});

test('several sessions share one connection', { skip }, async () => {
  const control = ['-o', `ControlPath=${inFolder('mux')}`];
  const master = ssh.start('ssh', [...control, '-M', 'box.sealwright', 'echo up; cat']);
  await once(master.child.stdout, 'data');
  const before = ssh.asked.filter((line) => line.startsWith('gone')).length;
  const answers = await Promise.all(
    Array.from({ length: 8 }, (_, index) => ssh.run('ssh', [...control, 'box.sealwright', `echo ${index}`])),
  );
  assert.deepEqual(
    answers.map(({ stdout }) => stdout.toString()),
    Array.from({ length: 8 }, (_, index) => `${index}\n`),
  );
  assert.equal(
    ssh.asked.filter((line) => line.startsWith('gone')).length,
    before,
    'none was a connection of its own',
  );
  master.child.stdin.end();
  assert.equal((await master.ended).status, 0);
});

test('the command ends when ssh is killed', { skip }, async () => {
  const { child, ended } = ssh.start('ssh', ['box.sealwright', 'echo up; exec sleep 1000']);
  await once(child.stdout, 'data');
  const lines = ssh.asked.length;
  const gone = new Promise<void>((resolve) => {
    const watcher = watch(inFolder('asked'), look);
    function look(): void {
      if (!ssh.asked.slice(lines).includes('gone true')) return;
      watcher.close();
      resolve();
    }
    look();
  });
  child.kill('SIGKILL');
  await Promise.all([ended, gone]);
  assert.deepEqual(ssh.asked.slice(lines), ['close', 'gone true']);
});

test('a stranger’s key is not taken, nor a password, nor nothing', { skip }, async () => {
  writeStrangersKey(inFolder('stranger'));
  const other = (block: string) => block.replace(/IdentityFile .*/, `IdentityFile ${inFolder('stranger')}`);
  await ssh.prepare(other);
  try {
    const { status, stderr } = await ssh.run('ssh', ['-o', 'BatchMode=yes', 'box.sealwright', 'true']);
    assert.equal(status, 255);
    assert.match(stderr, /Permission denied \(publickey\)/);
  } finally {
    await ssh.prepare();
  }
  const methods = [
    '-o',
    'PreferredAuthentications=password,keyboard-interactive,none',
    '-o',
    'BatchMode=yes',
  ];
  assert.equal((await ssh.run('ssh', [...methods, 'box.sealwright', 'true'])).status, 255);
  assert.equal((await ssh.run('ssh', ['box.sealwright', 'true'])).status, 0, 'its own key is');
});

test('a server with another host key is not spoken to', { skip }, async () => {
  const [, clientKey = ''] = readFileSync(inFolder('ssh/id_ed25519.pub'), 'utf8').split(' ');
  const hosts = readFileSync(inFolder('ssh/known_hosts'), 'utf8').replace(/AAAA\S+/, clientKey);
  writeFileSync(inFolder('other_hosts'), hosts);
  await ssh.prepare((block) =>
    block.replace(/UserKnownHostsFile .*/, `UserKnownHostsFile ${inFolder('other_hosts')}`),
  );
  try {
    const { status, stderr } = await ssh.run('ssh', ['box.sealwright', 'true']);
    assert.equal(status, 255);
    assert.match(stderr, /Host key verification failed/);
  } finally {
    await ssh.prepare();
  }
});

test('another user is told which one there is', { skip }, async () => {
  const { status, stderr } = await ssh.run('ssh', ['root@box.sealwright', 'true']);
  assert.equal(status, 255);
  assert.equal(stderr.match(/Sandboxes have one user: set "User agent"/g)?.length, 1);
});

test('rsync copies a tree both ways', { skip: skip || withoutProgram('rsync') }, async () => {
  mkdirSync(inFolder('tree/a/b'), { recursive: true });
  for (let file = 0; file < 200; file += 1)
    writeFileSync(inFolder(`tree/a/b/${file}`), randomBytes(file * 100));
  writeFileSync(inFolder('tree/run'), '#!/bin/sh\n', { mode: 0o755 });
  for (const [from, to] of [
    ['tree/', 'box.sealwright:remote'],
    ['box.sealwright:remote/', 'returned'],
  ] as const) {
    const { status, stderr } = await ssh.run('rsync', ['-a', from, to]);
    assert.deepEqual([status, stderr], [0, '']);
  }
  for (let file = 0; file < 200; file += 1)
    assert.ok(
      readFileSync(inFolder(`returned/a/b/${file}`)).equals(readFileSync(inFolder(`tree/a/b/${file}`))),
    );
  assert.equal(statSync(inFolder('returned/run')).mode & 0o777, 0o755);
});
