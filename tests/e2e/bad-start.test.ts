import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { once } from 'node:events';
import {
  chmodSync,
  chownSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { type AddressInfo, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { after, afterEach, test } from 'node:test';
import { homeAt } from '../../src/main/home.ts';
import { type CliEnd, startCli } from '../support/cli-process.ts';
import { remains, sandboxGroups, untilNone } from '../support/host-traces.ts';
import { launcher, startInstance } from '../support/instance.ts';
import { openSmallDisk } from '../support/small-disk.ts';

/** What stops a start: each has its own clear error with the fix, and leaves nothing behind. */

const folder = mkdtempSync(join(tmpdir(), 'sealwright-start-'));
chmodSync(folder, 0o755);
const asRoot = process.getuid?.() === 0;
const needsRoot = asRoot ? false : 'needs root';
const nobody = ['/usr/bin/setpriv', '--reuid=65534', '--regid=65534', '--clear-groups', '--'];
let count = 0;
let home = '';

/** A data folder of its own for each test; its folder is there, itself it is not. */
function newHome(): string {
  home = join(folder, String(++count), 'home');
  mkdirSync(dirname(home));
  return home;
}

after(() => rmSync(folder, { recursive: true, force: true }));

afterEach(async () => {
  assert.deepEqual(await untilNone(() => [...remains(home), ...sandboxGroups(home)], 1_000), []);
  assert(!existsSync(join('/run/sealwright', homeAt(home).instance)));
});

type Start = { readonly environment?: Record<string, string>; readonly prefix?: readonly string[] };

/** `sealwright up` ends with 1 and says why, in a few lines and without a stack. */
async function refused(
  why: RegExp,
  { environment = {}, prefix = [] }: Start,
  ...flags: string[]
): Promise<CliEnd> {
  const end = await startCli(home, ['up', ...flags], { cwd: '/', environment, prefix }).ended;
  const said = end.stderr.toString();
  assert.match(said, why);
  assert.match(said, /^sealwright: /);
  assert.doesNotMatch(said, /\n {4}at |bug in Sealwright/);
  assert.deepEqual([end.status, end.stdout.toString()], [1, '']);
  return end;
}

/** Words that run a program in a mount namespace of its own after a shell command, which sees the data folder as $0. */
const behindMount = (command: string) => [
  ...['/usr/bin/unshare', '--mount', '--propagation', 'private', '--', '/bin/sh', '-euc'],
  ...[`${command}; exec "$@"`, home],
];

test('a port that is taken', async (t) => {
  newHome();
  const other = createServer().listen(0, '127.0.0.1');
  t.after(() => other.close());
  await once(other, 'listening');
  const listen = `127.0.0.1:${(other.address() as AddressInfo).port}`;
  const why =
    /The address is taken by another program: stop that one or choose another with SEALWRIGHT_LISTEN/;
  await refused(why, { environment: { SEALWRIGHT_LISTEN: listen } });
  await refused(why, { environment: {} }, '--listen', listen);
});

test('a second start on the same data folder is refused, and the first goes on', async () => {
  const first = await startInstance({ home: newHome() });
  try {
    const { status, stderr } = await startCli(home, ['up'], { cwd: '/' }).ended;
    assert.equal(status, 1);
    assert.match(
      stderr.toString(),
      /Another sealwright is running on the data folder .*Stop it first, or set SEALWRIGHT_HOME/,
    );
    assert.equal((await first.client.readiness()).ready, true);
    const session = await first.client.sessions.create({});
    const run = await first.client.runs.create({ session: session.id, command: ['true'] });
    assert.equal((await first.client.runs.wait(run.id)).phase, 'succeeded');
  } finally {
    await first.stop();
  }
});

test('an address that is not loopback without proxies to trust, before anything is made', async () => {
  newHome();
  for (const listen of ['0.0.0.0:0', '[::]:0', '192.0.2.1:7717']) {
    await refused(/listen: .* is not a loopback address.*SEALWRIGHT_TRUSTED_PROXIES/, {
      environment: { SEALWRIGHT_LISTEN: listen },
    });
  }
  assert(!existsSync(home));
});

const settings: readonly (readonly [string, RegExp, Record<string, string>, ...string[]])[] = [
  [
    'an address that is none',
    /SEALWRIGHT_LISTEN: 'here' is not an address and a port/,
    { SEALWRIGHT_LISTEN: 'here' },
  ],
  [
    'a port out of range',
    /SEALWRIGHT_LISTEN: '127.0.0.1:99999' is not/,
    { SEALWRIGHT_LISTEN: '127.0.0.1:99999' },
  ],
  [
    'a number out of range',
    /SEALWRIGHT_MAX_RUNS: '0' is not a whole number from 1 to 2000/,
    { SEALWRIGHT_MAX_RUNS: '0' },
  ],
  ['a mode that is none', /CP_ENV: 'live' is not one of dev, prod/, { CP_ENV: 'live' }],
  [
    'proxies that are none',
    /SEALWRIGHT_TRUSTED_PROXIES: '10\.0\.0\.0\/40' is not/,
    { SEALWRIGHT_TRUSTED_PROXIES: '10.0.0.0/40' },
  ],
  [
    'a flag that is none',
    /Unknown option '--lisen'[\s\S]*Usage: sealwright up/,
    {},
    '--lisen',
    '127.0.0.1:1',
  ],
  ['a flag with a wrong value', /--max-runs: 'many' is not a whole number/, {}, '--max-runs', 'many'],
];

for (const [name, why, environment, ...flags] of settings) {
  test(`a setting with ${name}`, async () => {
    newHome();
    await refused(why, { environment }, ...flags);
    assert(!existsSync(home));
  });
}

test('a bootstrap token that is too short is refused, and not shown', async () => {
  newHome();
  const environment = { SEALWRIGHT_BOOTSTRAP_TOKEN: 'hunter2hunter2' };
  const { stderr } = await refused(/SEALWRIGHT_BOOTSTRAP_TOKEN: .* is not at least 32 characters/, {
    environment,
  });
  assert.doesNotMatch(stderr.toString(), /hunter2/);
});

const files: readonly (readonly [string, string, RegExp])[] = [
  ['an unknown setting', 'maxRun: 4\n', /config\.yaml: there is no setting 'maxRun'/],
  [
    'a value out of range',
    'maxRuns: 100000\n',
    /config\.yaml: maxRuns: '100000' is not a whole number from 1 to 2000/,
  ],
  ['a value of another kind', 'maxRuns:\n  most: 4\n', /config\.yaml: maxRuns: .* is not a whole number/],
  [
    'a value that is missing',
    'logLevel:\n',
    /config\.yaml: logLevel: .* is not one of debug, info, warn, error/,
  ],
  ['a list', '- maxRuns\n', /config\.yaml is not a list of settings/],
  ['one word', 'maxRuns\n', /config\.yaml is not a list of settings/],
  ['broken YAML', 'listen: "127.0.0.1:1\nmaxRuns: [', /config\.yaml: \S/],
  ['a setting twice', 'maxRuns: 1\nmaxRuns: 2\n', /config\.yaml: .*unique/],
];

for (const [name, text, why] of files) {
  test(`a config.yaml with ${name}`, async () => {
    mkdirSync(newHome());
    writeFileSync(join(home, 'config.yaml'), text);
    await refused(why, {});
    assert.deepEqual(readdirSync(home), ['config.yaml']);
  });
}

test('a config.yaml that is a folder', async () => {
  mkdirSync(join(newHome(), 'config.yaml'), { recursive: true });
  await refused(/config\.yaml cannot be read \(EISDIR\)/, {});
});

test('a good config.yaml is followed, and flags and environment go before it', async () => {
  mkdirSync(newHome());
  writeFileSync(join(home, 'config.yaml'), 'requestsPerMinute: 7\nlogLevel: warn\n');
  const instance = await startInstance({ home, environment: { SEALWRIGHT_REQUESTS_PER_MINUTE: '' } });
  try {
    const ask = () => fetch(`${instance.url}/healthz`).then(({ status }) => status);
    const statuses: number[] = [];
    for (let turn = 0; turn < 8; turn += 1) statuses.push(await ask());
    assert.deepEqual(statuses, [...Array<number>(7).fill(200), 429]);
  } finally {
    await instance.stop();
  }
});

/** Why this clone cannot be tried as an ordinary user, or false. */
function noOrdinaryUser(): string | false {
  if (!asRoot) return false;
  const [program = launcher, ...words] = [...nobody, launcher, '--version'];
  const { status } = spawnSync(program, words, { cwd: '/', stdio: 'ignore' });
  return status === 0 ? false : 'an ordinary user cannot read this clone';
}

test('a data folder that this user may not write to', { skip: noOrdinaryUser() }, async (t) => {
  newHome();
  chmodSync(dirname(home), 0o555);
  t.after(() => chmodSync(dirname(home), 0o755));
  await refused(
    /The data folder .* cannot be used \(EACCES\): choose a folder this user may write to with SEALWRIGHT_HOME/,
    { prefix: asRoot ? nobody : [], environment: { HOME: '/nonexistent' } },
  );
  assert.deepEqual(readdirSync(dirname(home)), []);
});

test('a data folder of another user', { skip: needsRoot || noOrdinaryUser() }, async () => {
  mkdirSync(newHome(), { mode: 0o711 });
  await refused(/The data folder .* cannot be used \(E(PERM|ACCES)\)/, {
    prefix: nobody,
    environment: { HOME: '/nonexistent' },
  });
  assert.deepEqual(readdirSync(home), []);
});

test('an ordinary user’s data folder works', { skip: needsRoot || noOrdinaryUser() }, async () => {
  chownSync(dirname(newHome()), 65534, 65534);
  const instance = await startInstance({ home, prefix: nobody, environment: { HOME: dirname(home) } });
  try {
    const { id } = await instance.client.sessions.create({});
    const run = await instance.client.runs.create({ session: id, command: ['true'] });
    assert.equal((await instance.client.runs.wait(run.id)).phase, 'succeeded');
  } finally {
    await instance.stop();
  }
});

test('a data folder on a read-only file system', { skip: needsRoot }, async () => {
  mkdirSync(newHome());
  const prefix = behindMount('mount --bind "$0" "$0"; mount -o remount,bind,ro "$0"');
  await refused(/The data folder .* cannot be used \(EROFS\)/, { prefix });
  assert.deepEqual(readdirSync(home), []);
});

test('a data folder that is a file', async () => {
  writeFileSync(newHome(), '');
  await refused(/The data folder .* cannot be used \((EEXIST|ENOTDIR)\)|is not a folder/, {});
});

test('a data folder whose path is too long for a socket, as an ordinary user', {
  skip: noOrdinaryUser(),
}, async () => {
  newHome();
  home = join(dirname(home), 'x'.repeat(110));
  if (asRoot) chownSync(dirname(home), 65534, 65534);
  const prefix = asRoot ? nobody : [];
  await refused(/is too long for a socket .*: set SEALWRIGHT_HOME to a shorter one/, {
    prefix,
    environment: { HOME: '/nonexistent' },
  });
});

test('a disk that is full', { skip: needsRoot }, async () => {
  mkdirSync(newHome());
  const disk = await openSmallDisk(home, '16m');
  const why = /The disk that holds .* is full: make room and start again/;
  await refused(why, { prefix: disk.prefix });
  assert.equal(disk.run('ls "$0/app"'), '', 'no half of a copy is kept');
  disk.run('head -c 32M /dev/zero > "$0/ballast" 2>&- || true');
  await refused(why, { prefix: disk.prefix });
  await disk.close();
});
