import { execFileSync } from 'node:child_process';
import { chmodSync, mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';

/** For tests: a real repository in a folder, driven by the real git with no settings but these. */
export class TestRepository {
  readonly path: string;

  constructor(path: string, initArguments: readonly string[] = ['-b', 'main']) {
    this.path = path;
    mkdirSync(path, { recursive: true });
    this.git('init', '-q', ...initArguments);
  }

  git(...args: string[]): string {
    return this.gitBytes(...args)
      .toString('utf8')
      .trimEnd();
  }

  gitBytes(...args: string[]): Buffer {
    return gitIn(this.path, args);
  }

  write(name: string | Buffer, content: string | Buffer, mode?: number): void {
    const path = Buffer.concat([Buffer.from(`${this.path}/`), Buffer.from(name as string)]);
    if (typeof name === 'string') mkdirSync(dirname(join(this.path, name)), { recursive: true });
    writeFileSync(path, content);
    if (mode !== undefined) chmodSync(path, mode);
  }

  commit(message = 'change'): string {
    this.git('add', '-A');
    this.git('commit', '-q', '--allow-empty', '-m', message);
    return this.git('rev-parse', 'HEAD');
  }
}

export function gitIn(folder: string, args: readonly string[], input?: Buffer): Buffer {
  return execFileSync('git', ['-C', folder, ...args], {
    input: input ?? Buffer.alloc(0),
    maxBuffer: 64 * 1024 * 1024,
    stdio: ['pipe', 'pipe', 'pipe'],
    env: {
      PATH: process.env.PATH,
      HOME: '/nonexistent',
      GIT_CONFIG_NOSYSTEM: '1',
      GIT_CONFIG_GLOBAL: '/dev/null',
      GIT_AUTHOR_NAME: 'Test',
      GIT_AUTHOR_EMAIL: 'test@localhost',
      GIT_COMMITTER_NAME: 'Test',
      GIT_COMMITTER_EMAIL: 'test@localhost',
      GIT_ALLOW_PROTOCOL: 'file',
    },
  });
}
