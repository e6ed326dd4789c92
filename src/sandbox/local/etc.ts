import {
  chmodSync,
  cpSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { gatewayAddress } from '../../model/gateway-address.ts';
import { trustFiles, trustFolder, trustPlaces } from '../trust.ts';
import { sandboxUid } from './launcher.ts';

/** Files of the host's /etc that programs need and that hold no secret of it. */
const lent = [
  'alternatives',
  'ca-certificates',
  'debian_version',
  'fonts',
  'java-11-openjdk',
  'java-17-openjdk',
  'java-21-openjdk',
  'ld.so.cache',
  'ld.so.conf',
  'ld.so.conf.d',
  'localtime',
  'magic',
  'mime.types',
  'os-release',
  'perl',
  'protocols',
  'python3',
  'python3.10',
  'python3.11',
  'python3.12',
  'python3.13',
  'services',
  'ssl/certs',
  'ssl/openssl.cnf',
  'timezone',
] as const;

/** Files that are the sandbox's own: nothing in them is the host's. */
const made: Readonly<Record<string, string>> = {
  passwd: [
    'root:x:0:0:root:/root:/usr/sbin/nologin',
    `agent:x:${sandboxUid}:${sandboxUid}:agent:/home/agent:/bin/bash`,
    'nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n',
  ].join('\n'),
  group: `root:x:0:\nagent:x:${sandboxUid}:\nnogroup:x:65534:\n`,
  hosts: '127.0.0.1 localhost sandbox\n::1 localhost ip6-localhost\n',
  hostname: 'sandbox\n',
  'machine-id': `${'0'.repeat(31)}1\n`,
  'nsswitch.conf': 'passwd: files\ngroup: files\nhosts: files dns\nservices: files\nprotocols: files\n',
  'resolv.conf': `nameserver ${gatewayAddress}\noptions timeout:2 attempts:2\n`,
};

/**
 * Makes the folder that stands for /etc in every sandbox, anew at each start of the runner. One folder and one
 * mount, because every mount costs each sandbox a tenth of a millisecond. `machine` is the /etc it is made of.
 */
export function makeEtc(folder: string, machine = '/etc'): void {
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder, { recursive: true });
  for (const name of lent) {
    const source = join(machine, name);
    if (!existsSync(source)) continue;
    mkdirSync(dirname(join(folder, name)), { recursive: true });
    cpSync(source, join(folder, name), { recursive: true, verbatimSymlinks: true });
  }
  for (const [name, content] of Object.entries(made)) writeFileSync(join(folder, name), content);
  linkTrust(folder, machine);
  makeReadable(folder);
}

/** What the machine itself trusts, and how it is called in the folder of trust. */
const machineTrust = [
  ['ssl/certs/ca-certificates.crt', trustFiles.bundle],
  ['ssl/certs/java/cacerts', trustFiles.java],
] as const;

/**
 * Leads every place where programs look for certificates into the one folder that each sandbox has of its own. What
 * it covers is what the machine trusts, which sandboxes without a network see.
 */
function linkTrust(etc: string, machine: string): void {
  const base = join(etc, basename(trustFolder));
  mkdirSync(base);
  for (const [name, file] of machineTrust)
    if (existsSync(join(machine, name))) writeFileSync(join(base, file), readFileSync(join(machine, name)));
  for (const [name, file] of Object.entries(trustPlaces)) {
    // Without it there is no Java of Debian's.
    if (file === trustFiles.java && !existsSync(join(base, file))) continue;
    makeOwnFolder(etc, dirname(name));
    const place = join(etc, name);
    rmSync(place, { force: true });
    symlinkSync(join(trustFolder, file), place);
  }
}

/** Of folders all the way: a link that came along would lead back to the machine's own files. */
function makeOwnFolder(etc: string, name: string): void {
  let path = etc;
  for (const part of name.split('/')) {
    path = join(path, part);
    if (lstatSync(path, { throwIfNoEntry: false })?.isDirectory()) continue;
    rmSync(path, { force: true });
    mkdirSync(path);
  }
}

/** For all users: a server started with a tight umask still lends what it made. */
function makeReadable(folder: string): void {
  chmodSync(folder, 0o755);
  for (const entry of readdirSync(folder, { withFileTypes: true })) {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) makeReadable(path);
    else if (entry.isFile()) chmodSync(path, 0o644);
  }
}
