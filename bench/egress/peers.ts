import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { chmodSync, chownSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as pause } from 'node:timers/promises';
import type { Ground } from './ground.ts';
import { openFilesMax, ports, upstreamAddress, upstreamName } from './ground.ts';
import { hex, type Keys, type Prefix } from './load.ts';

/** A way from a client to the upstream: ours, none at all, or that of another program. */
export type Way = {
  readonly name: string;
  /** Words that bring the load generator to where its clients are. */
  readonly enter: Prefix;
  /** The address at which the upstream is found there. */
  readonly address: string;
  /** The CONNECT proxy that leads there, where there is one. */
  readonly proxy: string | null;
  /** The process whose memory it takes; null where there is none. */
  readonly pid: number | null;
  readonly close: () => void;
};

/** A peer, or why there is none here. */
export type Peer = Way | { readonly name: string; readonly missing: string };

const startMs = 20_000;
const node = process.execPath;
const script = (name: string) => join(import.meta.dirname, name);

export const direct: Way = {
  name: 'direct',
  enter: [],
  address: upstreamAddress,
  proxy: null,
  pid: null,
  close: () => undefined,
};

function begin(words: readonly string[]): ChildProcess {
  const [program, ...rest] = words as [string, ...string[]];
  return spawn(program, rest, {
    stdio: ['ignore', 'pipe', 'ignore'],
    env: { PATH: '/usr/sbin:/usr/bin:/bin', HOME: '/nonexistent' },
  });
}

/** What a program that is ours says when it is ready. */
async function firstLine(child: ChildProcess): Promise<Record<string, number>> {
  for await (const line of createInterface({ input: child.stdout! })) return JSON.parse(line);
  throw new Error('a peer ended before it was ready');
}

async function untilListening(child: ChildProcess, port: number): Promise<void> {
  child.stdout!.resume();
  for (const end = performance.now() + startMs; performance.now() < end && child.exitCode === null; ) {
    const answered = await new Promise<boolean>((resolve) => {
      const socket = connect(port, '127.0.0.1', () => resolve(true)).on('error', () => resolve(false));
      socket.once('connect', () => socket.destroy());
    });
    if (answered) return;
    await pause(50);
  }
  throw new Error(`a peer does not listen at ${port}`);
}

function proxied(name: string, child: ChildProcess, port: number): Way {
  const close = () => void child.kill('SIGKILL');
  return { ...direct, name, proxy: `127.0.0.1:${port}`, pid: child.pid!, close };
}

/** To a port of the upstream, byte by byte. */
export function through({ address, proxy }: Way, port: number): Keys {
  return { to: `${address}:${port}`, ...(proxy !== null && { via: proxy }) };
}

/** To the upstream's HTTP, as a program asks that knows of the proxy. */
export function asking({ address, proxy }: Way, method = 'GET'): Keys {
  const host = `${upstreamName}:${ports.http}`;
  const target = proxy === null ? '/' : `http://${upstreamAddress}:${ports.http}/`;
  const first = hex(`${method} ${target} HTTP/1.1\r\nHost: ${host}\r\n\r\n`);
  return { to: proxy ?? `${address}:${ports.http}`, first };
}

export async function bareGateway(): Promise<Way> {
  const words = [ports.raw, ports.spliced, ports.http].map(String);
  const child = begin([node, script('bare-gateway.ts'), ...words]);
  const { namespace } = await firstLine(child);
  const enter = ['nsenter', `--net=/proc/${child.pid}/fd/${namespace}`];
  return {
    ...direct,
    name: 'bare Node gateway',
    enter,
    pid: child.pid!,
    close: () => void child.kill('SIGKILL'),
  };
}

export async function connectProxy(): Promise<Way> {
  const child = begin([node, script('connect-proxy.ts')]);
  const { port } = await firstLine(child);
  return proxied('Node CONNECT proxy', child, port!);
}

const programs = {
  tinyproxy: { path: '/usr/bin/tinyproxy', debian: 'tinyproxy' },
  squid: { path: '/usr/sbin/squid', debian: 'squid-openssl' },
  mitmproxy: { path: '/usr/bin/mitmdump', debian: 'mitmproxy' },
} as const;

/** Starts a Debian program, or says what would bring it here. */
async function packaged(name: keyof typeof programs, start: (path: string) => Promise<Way>): Promise<Peer> {
  const { path, debian } = programs[name];
  return existsSync(path) ? await start(path) : { name, missing: `needs the Debian package ${debian}` };
}

export function tinyproxy({ folder }: Ground): Promise<Peer> {
  return packaged('tinyproxy', async (path) => {
    const file = join(folder, 'tinyproxy.conf');
    const port = 3_101;
    writeFileSync(
      file,
      `Port ${port}\nListen 127.0.0.1\nMaxClients 20000\nTimeout 600\nLogLevel Critical\nLogFile "/dev/null"\n`,
    );
    const child = begin([path, '-d', '-c', file]);
    await untilListening(child, port);
    return proxied('tinyproxy', child, port);
  });
}

/** Lines for squid that every use of it shares: nothing cached, nothing logged, one process. */
function squidLines(folder: string, port: number): string[] {
  const own = join(folder, 'squid');
  mkdirSync(own, { recursive: true });
  chmodSync(folder, 0o755);
  const [uid, gid] = ['-u', '-g'].map((flag) => Number(execFileSync('id', [flag, 'proxy'])));
  chownSync(own, uid!, gid!);
  return [
    ...['cache deny all', 'access_log none', 'cache_log /dev/null', 'logfile_rotate 0', 'cache_mem 8 MB'],
    ...[`coredump_dir ${own}`, `pid_filename ${own}/${port}.pid`, 'shutdown_lifetime 0 seconds'],
    ...[`max_filedescriptors ${openFilesMax()}`, 'visible_hostname bench', 'dns_nameservers 127.0.0.1'],
    ...['client_persistent_connections on', 'server_persistent_connections on', 'pinger_enable off'],
  ];
}

async function startSquid(
  path: string,
  folder: string,
  port: number,
  lines: readonly string[],
): Promise<ChildProcess> {
  const file = join(folder, `squid-${port}.conf`);
  writeFileSync(file, `${[...squidLines(folder, port), ...lines].join('\n')}\n`);
  const child = begin([path, '-N', '-n', `bench${port}`, '-f', file]);
  await untilListening(child, port);
  return child;
}

export function squid({ folder }: Ground): Promise<Peer> {
  return packaged('squid', async (path) => {
    const port = 3_102;
    const rules = ['acl no dstdomain denied.example', 'http_access deny no', 'http_access allow all'];
    return proxied(
      'squid',
      await startSquid(path, folder, port, [`http_port 127.0.0.1:${port}`, ...rules]),
      port,
    );
  });
}

/** squid that looks into TLS and verifies the upstream. */
export function bumpingSquid({ folder, internet }: Ground): Promise<Peer> {
  return packaged('squid', async (path) => {
    const port = 3_103;
    const authority = join(folder, 'squid-ca.pem');
    makeAuthority(authority);
    const certificates = join(folder, 'squid-certificates');
    execFileSync('/usr/lib/squid/security_file_certgen', ['-c', '-s', certificates, '-M', '16MB']);
    execFileSync('chown', ['-R', 'proxy:', certificates]);
    const child = await startSquid(path, folder, port, [
      `http_port 127.0.0.1:${port} ssl-bump generate-host-certificates=on dynamic_cert_mem_cache_size=16MB tls-cert=${authority}`,
      `sslcrtd_program /usr/lib/squid/security_file_certgen -s ${certificates} -M 16MB`,
      ...['acl hello at_step SslBump1', 'ssl_bump peek hello', 'ssl_bump bump all', 'http_access allow all'],
      `tls_outgoing_options cafile=${internet.caFile}`,
    ]);
    return proxied('squid ssl-bump', child, port);
  });
}

export function mitmproxy({ folder, internet }: Ground): Promise<Peer> {
  return packaged('mitmproxy', async (path) => {
    const port = 3_104;
    const settings = [
      `confdir=${folder}`,
      `ssl_verify_upstream_trusted_ca=${internet.caFile}`,
      'http2=false',
    ];
    const words = settings.flatMap((setting) => ['--set', setting]);
    const where = ['--listen-host', '127.0.0.1', '--listen-port', String(port)];
    const child = begin([path, '--quiet', ...where, ...words]);
    await untilListening(child, port);
    return proxied('mitmproxy', child, port);
  });
}

function makeAuthority(file: string): void {
  const words = ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes'];
  execFileSync(
    'openssl',
    [...words, '-keyout', file, '-out', `${file}.crt`, '-days', '30', '-subj', '/CN=peer'],
    {
      stdio: 'ignore',
    },
  );
  writeFileSync(file, readFileSync(file, 'utf8') + readFileSync(`${file}.crt`, 'utf8'));
  chmodSync(file, 0o644);
}

/** Those that are here; for each that is not a line says why. */
export function present(peers: readonly Peer[]): Way[] {
  return peers.flatMap((peer) => {
    if (!('missing' in peer)) return [peer];
    process.stderr.write(`egress: ${peer.name} is left out: it ${peer.missing}\n`);
    return [];
  });
}
