import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, globSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { createServer, type Server } from 'node:https';
import { join } from 'node:path';
import { namespaceFlags, unshare } from '../../src/base/libc.ts';
import { notFetched, testProgram } from './test-programs.ts';

/** The SSH server that a test starts: the machine's, or Debian's unpacked. */
const sshd = existsSync('/usr/sbin/sshd') ? '/usr/sbin/sshd' : testProgram('ssh/usr/sbin/sshd');
export const lacksSshd = notFetched(sshd);
/** Where its libraries are that came with it: nothing of it is installed. */
const sshdLibraries = globSync(testProgram('ssh/usr/lib/*-linux-gnu')).join(':');

/**
 * Has everything that this process starts from now on trust a CA as it trusts the machine's own: a mount over the
 * system's file, in a mount namespace of this process's own. For root.
 */
export function trustCa(caFile: string, folder: string): void {
  const bundle = '/etc/ssl/certs/ca-certificates.crt';
  const both = join(folder, 'ca-certificates.crt');
  writeFileSync(both, `${readFileSync(bundle, 'utf8')}\n${readFileSync(caFile, 'utf8')}`);
  unshare(namespaceFlags.mount);
  execFileSync('mount', ['--make-rprivate', '/']);
  execFileSync('mount', ['--bind', both, bundle]);
}

export type GitRequest = { readonly method: string; readonly path: string };

/**
 * The repositories below a folder over https, as git's own server has them. Under `/private` it wants a sign-in,
 * under `/stalled` nothing ever comes, and `/moved/HOST` sends elsewhere.
 */
export async function serveGitHttps(
  root: string,
  tls: { readonly key: Buffer; readonly cert: Buffer },
  host: string,
): Promise<{ readonly server: Server; readonly requests: GitRequest[] }> {
  const requests: GitRequest[] = [];
  const server = createServer(tls, (request, response) => {
    const path = new URL(request.url ?? '/', 'https://x').pathname;
    requests.push({ method: request.method ?? '', path });
    if (path.startsWith('/stalled')) return;
    if (path.startsWith('/private'))
      response.writeHead(401, { 'www-authenticate': 'Basic realm="git"' }).end();
    else if (path.startsWith('/moved/'))
      response.writeHead(302, { location: `https://${request.url!.slice('/moved/'.length)}` }).end();
    else answer(root, request, response);
  });
  server.listen(443, host);
  await once(server, 'listening');
  return { server, requests };
}

/** git-http-backend(1): its head, then its body, on standard output. */
function answer(root: string, request: IncomingMessage, response: ServerResponse): void {
  const { pathname, searchParams } = new URL(request.url ?? '/', 'https://x');
  const child = spawn('git', ['http-backend'], {
    env: {
      PATH: process.env.PATH,
      GIT_PROJECT_ROOT: root,
      GIT_HTTP_EXPORT_ALL: '1',
      GIT_CONFIG_NOSYSTEM: '1',
      GIT_CONFIG_COUNT: '1',
      GIT_CONFIG_KEY_0: 'safe.directory',
      GIT_CONFIG_VALUE_0: '*',
      GIT_PROTOCOL: request.headers['git-protocol'] as string | undefined,
      HTTP_CONTENT_ENCODING: request.headers['content-encoding'],
      REQUEST_METHOD: request.method,
      PATH_INFO: decodeURIComponent(pathname),
      QUERY_STRING: searchParams.toString(),
      CONTENT_TYPE: request.headers['content-type'],
    },
    stdio: ['pipe', 'pipe', 'ignore'],
  });
  child.stdin.on('error', () => undefined);
  request.pipe(child.stdin);
  const chunks: Buffer[] = [];
  child.stdout.on('data', (chunk: Buffer) => chunks.push(chunk));
  child.on('close', () => {
    const said = Buffer.concat(chunks);
    const end = said.indexOf('\r\n\r\n');
    const lines = said.subarray(0, end).toString('latin1').split('\r\n');
    const head = lines.map((line) => line.split(': ', 2) as [string, string]);
    const status = head.find(([name]) => name === 'Status')?.[1] ?? '200';
    const headers = head.filter(([name]) => name !== 'Status');
    response.writeHead(Number.parseInt(status, 10), Object.fromEntries(headers)).end(said.subarray(end + 4));
  });
}

export const gitUid = 65_533;

/**
 * An SSH server whose user `git` needs no sign-in. Its accounts are its own, by mounts in a mount namespace of its
 * own; `hostKey` is what clients know it by. Ended by `kill`.
 */
export async function serveGitSsh(
  folder: string,
  host: string,
): Promise<{ readonly process: ChildProcess; readonly hostKey: string; readonly said: string[] }> {
  mkdirSync(folder);
  const file = (name: string, lines: readonly string[]) => {
    writeFileSync(join(folder, name), `${lines.join('\n')}\n`, { mode: name === 'shadow' ? 0o600 : 0o644 });
    return join(folder, name);
  };
  execFileSync('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-f', join(folder, 'host-key')]);
  const passwd = file('passwd', [
    'root:x:0:0:root:/root:/bin/sh',
    'sshd:x:65532:65534::/run/sshd:/usr/sbin/nologin',
    `git:x:${gitUid}:65534:git:/tmp:/bin/sh`,
  ]);
  const shadow = file('shadow', ['root:*:19000::::::', 'sshd:!:19000::::::', 'git::19000::::::']);
  const config = file('config', [
    `ListenAddress ${host}:22`,
    `HostKey ${join(folder, 'host-key')}`,
    'PidFile none',
    'UsePAM no',
    'StrictModes no',
    'PermitEmptyPasswords yes',
    'AuthenticationMethods none',
    'AcceptEnv GIT_PROTOCOL',
    'PrintMotd no',
    'LogLevel VERBOSE',
  ]);
  const script =
    'set -e; mount --bind "$1" /etc/passwd; mount --bind "$2" /etc/shadow; mount -t tmpfs tmpfs /run; ' +
    'mkdir -m 755 /run/sshd; exec "$3" -D -e -f "$4"';
  const words = ['--mount', '--propagation', 'private', '--', '/bin/sh', '-c', script, 'sh'];
  const child = spawn('unshare', [...words, passwd, shadow, sshd, config], {
    env: { ...process.env, LD_LIBRARY_PATH: sshdLibraries },
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  const said: string[] = [];
  await new Promise<void>((resolve, reject) => {
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      said.push(text);
      if (said.join('').includes('Server listening')) resolve();
    });
    child.on('exit', () => reject(new Error(`sshd ended: ${said.join('')}`)));
  });
  const hostKey = readFileSync(join(folder, 'host-key.pub'), 'utf8').split(' ').slice(0, 2).join(' ').trim();
  return { process: child, hostKey, said };
}
