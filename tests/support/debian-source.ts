import { execFile } from 'node:child_process';
import { existsSync, globSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';

const run = promisify(execFile);
const aptTimeoutMs = 120_000;

/** Why source packages cannot be had on this machine, or null. */
export function whyNoSources(): string | null {
  if (process.getuid?.() !== 0) return 'apt-get needs root';
  if (!existsSync('/usr/bin/apt-get')) return 'there is no apt-get';
  if (sourceStanzas() === '') return 'no apt source of this machine serves Debian or Ubuntu';
  return null;
}

/** Installs what is missing of gcc, make and the C library's headers. Throws where apt cannot. */
export async function installCompiler(): Promise<void> {
  const there = ['/usr/bin/gcc', '/usr/bin/make', '/usr/include/stdio.h'].every((path) => existsSync(path));
  if (there) return;
  const words = ['install', '-y', '-qq', '--no-install-recommends', 'gcc', 'make', 'libc6-dev'];
  await run('apt-get', words, { env: aptEnvironment, timeout: aptTimeoutMs });
}

/** Where the lists of source packages are kept while tests run; the machine's own apt is left as it is. */
export type SourceLists = { readonly folder: string; readonly options: readonly string[] };

/** Fetches the lists of source packages from the machine's own apt sources into a folder. Throws where it cannot. */
export async function fetchSourceLists(folder: string): Promise<SourceLists> {
  mkdirSync(join(folder, 'lists', 'partial'), { recursive: true });
  mkdirSync(join(folder, 'cache', 'archives', 'partial'), { recursive: true });
  const file = join(folder, 'sealwright.sources');
  writeFileSync(file, sourceStanzas());
  const settings = {
    'Dir::State::lists': join(folder, 'lists'),
    'Dir::Cache': join(folder, 'cache'),
    'Dir::Etc::sourcelist': file,
    'Dir::Etc::sourceparts': '/dev/null',
    'APT::Sandbox::User': 'root',
    'Acquire::Languages': 'none',
    'Acquire::http::Timeout': '20',
  };
  const options = Object.entries(settings).flatMap(([name, value]) => ['-o', `${name}=${value}`]);
  await run('apt-get', [...options, '-qq', 'update'], { env: aptEnvironment, timeout: aptTimeoutMs });
  return { folder, options };
}

/** Downloads a source package and unpacks what its authors released, without Debian's changes. Answers with its folder. */
export async function unpackSource({ folder, options }: SourceLists, name: string): Promise<string> {
  const place = join(folder, name);
  mkdirSync(join(place, 'files'), { recursive: true });
  const words = [...options, '-qq', 'source', '--download-only', name];
  await run('apt-get', words, { env: aptEnvironment, timeout: aptTimeoutMs, cwd: join(place, 'files') });
  const archive = readdirSync(join(place, 'files')).find((file) => /\.orig\.tar\.\w+$/.test(file));
  if (archive === undefined) throw new Error(`the source package ${name} has no .orig archive`);
  const unpacked = join(place, 'source');
  mkdirSync(unpacked);
  const tar = ['-x', '--no-same-owner', '--strip-components=1', '-C', unpacked];
  await run('tar', [...tar, '-f', join(place, 'files', archive)], { env: aptEnvironment });
  return unpacked;
}

const aptEnvironment = {
  PATH: '/usr/sbin:/usr/bin:/sbin:/bin',
  DEBIAN_FRONTEND: 'noninteractive',
  LC_ALL: 'C.UTF-8',
};

/** The machine's sources of binary packages as sources of source packages, in deb822 form. */
function sourceStanzas(): string {
  const stanzas = globSync('/etc/apt/sources.list.d/*.sources')
    .flatMap((file) => readFileSync(file, 'utf8').split(/\n\s*\n/))
    .map((stanza) => stanza.replace(/^#.*\n?/gm, '').trim())
    .filter((stanza) => /^Types:.*\bdeb\b/m.test(stanza) && !/^Enabled:\s*no/im.test(stanza))
    .map((stanza) => stanza.replace(/^Types:.*$/m, 'Types: deb-src'));
  const lines = globSync(['/etc/apt/sources.list', '/etc/apt/sources.list.d/*.list'])
    .flatMap((file) => readFileSync(file, 'utf8').split('\n'))
    .flatMap((line) => stanzaOfLine(line) ?? []);
  return [...stanzas, ...lines]
    .filter((stanza) => /^URIs:.*(debian|ubuntu)/im.test(stanza))
    .map((stanza) => `${stanza}\n`)
    .join('\n');
}

/** sources.list(5): `deb [ option=value … ] uri suite component…`. */
function stanzaOfLine(line: string): string | null {
  const match = /^deb\s+(?:\[([^\]]*)\]\s+)?(\S+)\s+(\S+)\s+(.+)$/.exec(line.trim());
  if (match === null) return null;
  const signedBy = /signed-by=(\S+)/.exec(match[1] ?? '')?.[1];
  return [
    'Types: deb-src',
    `URIs: ${match[2]}`,
    `Suites: ${match[3]}`,
    `Components: ${match[4]}`,
    ...(signedBy === undefined ? [] : [`Signed-By: ${signedBy}`]),
  ].join('\n');
}
