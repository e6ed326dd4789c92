import { execFileSync, spawn } from 'node:child_process';
import { chmodSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { type HostBlock, hostBlock } from './host.ts';
import { openSshKeys } from './key-files.ts';

/** Why a test of this program cannot be tried; false where it can. */
export function withoutProgram(...names: readonly string[]): string | false {
  const folders = (process.env.PATH ?? '').split(delimiter);
  const missing = names.filter((name) => !folders.some((folder) => existsSync(join(folder, name))));
  return missing.length === 0 ? false : `needs ${missing.join(', ')}: see tools/fetch-test-programs`;
}

/** As `bin/sealwright` has it: programs that end while V8 compiles in another thread may hang. */
const asTheLauncher = ['--no-concurrent-sparkplug', '--no-concurrent-recompilation'];

export type Ended = { readonly status: number | null; readonly stdout: Buffer; readonly stderr: string };

/** For tests: Debian's ssh and its like, which know one host, `box`, whose ProxyCommand is `test-proxy.ts`. */
export class OpenSsh {
  readonly folder: string = mkdtempSync(join(tmpdir(), 'sealwright-openssh-'));
  readonly config: string = join(this.folder, 'config');
  /** Of every program, besides where programs are. */
  environment: Readonly<Record<string, string>> = {};

  async prepare(change: (block: string) => string = (block) => block): Promise<void> {
    const variables = { SEALWRIGHT_HOME: this.folder };
    const uid = process.getuid?.() ?? null;
    const place = { variables, home: this.folder, platform: process.platform, uid };
    const { identityFile, knownHostsFile } = await openSshKeys(place);
    const block: HostBlock = {
      ...{ run: 'run_box', name: 'box', url: 'http://127.0.0.1:1', identityFile, knownHostsFile },
      program: [process.execPath, ...asTheLauncher, join(import.meta.dirname, 'test-proxy.ts'), this.folder],
    };
    writeFileSync(this.config, change(hostBlock(block)));
  }

  /** What was asked of the sandbox, and how connections ended. */
  get asked(): string[] {
    return readFileSync(join(this.folder, 'asked'), 'utf8').trim().split('\n');
  }

  start(program: 'ssh' | 'scp' | 'sftp' | 'rsync', words: readonly string[]) {
    const config = program === 'rsync' ? ['-e', `ssh -F ${this.config}`] : ['-F', this.config];
    const child = spawn(program, [...config, ...words], {
      env: { PATH: process.env.PATH, HOME: this.folder, LC_ALL: 'C', ...this.environment },
      cwd: this.folder,
    });
    const kept = { stdout: [] as Buffer[], stderr: [] as Buffer[] };
    for (const name of ['stdout', 'stderr'] as const)
      child[name].on('data', (bytes: Buffer) => void kept[name].push(bytes));
    const ended = new Promise<Ended>((resolve, reject) => {
      child.once('error', reject);
      child.once('close', (status) => {
        const stderr = Buffer.concat(kept.stderr).toString();
        resolve({ status, stdout: Buffer.concat(kept.stdout), stderr });
      });
    });
    return { child, ended };
  }

  async run(
    program: Parameters<OpenSsh['start']>[0],
    words: readonly string[],
    input: string | Buffer = '',
  ): Promise<Ended> {
    const { child, ended } = this.start(program, words);
    child.stdin.on('error', () => {});
    child.stdin.end(input);
    return await ended;
  }

  dispose(): void {
    rmSync(this.folder, { recursive: true, force: true });
  }
}

/** Another key at `path`, such as a stranger has. */
export function writeStrangersKey(path: string): void {
  execFileSync('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-f', path]);
  chmodSync(path, 0o600);
}
