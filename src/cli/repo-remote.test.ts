import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, it } from 'node:test';
import fc from 'fast-check';
import { createSession } from '../contract/schemas.ts';
import { CliFailure, UsageFailure } from './failure.ts';
import { knownKeys } from './known-hosts.ts';
import { isRemote, remoteRepository } from './repo-remote.ts';
import { type TestEnvironment, testEnvironment } from './test-environment.ts';

let environment: TestEnvironment;

beforeEach(() => {
  environment = testEnvironment();
});
afterEach(() => environment.dispose());

const key = `ssh-ed25519 ${'A'.repeat(68)}`;
const another = `ssh-ed25519 AAAA${'B'.repeat(64)}`;
const remote = (repo: string, ref?: string) => remoteRepository(environment, { repo, ref });

function know(text: string): void {
  mkdirSync(join(environment.home, '.ssh'), { recursive: true });
  writeFileSync(join(environment.home, '.ssh', 'known_hosts'), text);
}

describe('--repo with a URL', () => {
  it('is told apart from a path of this machine', () => {
    for (const text of [
      'https://a.example/b',
      'ssh://a.example/b',
      'http://a.example/b',
      'git@a.example:b/c',
      'ext::x',
    ])
      assert.equal(isRemote(text), true, text);
    for (const text of [
      '.',
      '../a',
      'a.git',
      '/a/b',
      'file:///a',
      'FILE:a',
      'C:\\a',
      'C://a',
      './a@b:c/d',
      'a/b@c:d',
    ])
      assert.equal(isRemote(text), false, text);
  });

  it('is sent canonical, with its ref', async () => {
    assert.deepEqual(await remote('HTTPS://GitHub.com:443/a/b', 'v1'), {
      url: 'https://github.com/a/b',
      ref: 'v1',
    });
  });

  it('that git takes for ssh goes as a URL, with the keys that the host is known by and no other word of the file', async () => {
    know(`other.example ${another}\ngithub.com,140.82.121.3 ${key} a comment\n`);
    for (const text of ['git@github.com:a/b.git', 'ssh://git@GITHUB.com/a/b.git'])
      assert.deepEqual(await remote(text), { url: 'ssh://git@github.com/a/b.git', hostKeys: [key] });
    assert.equal(
      (await remote('git@github.com:~/a b?#%'))?.['url' as never],
      'ssh://git@github.com/~/a%20b%3F%23%25',
    );
  });

  it('whose host nobody knows is refused, and says how to get to know it', async () => {
    know(`github.com ${key}\n`);
    await assert.rejects(remote('ssh://git@github.com:2222/a'), (error: CliFailure) => {
      assert.match(error.hint ?? '', /ssh -p 2222 git@github\.com/);
      return error instanceof CliFailure;
    });
  });

  it('that cannot be cloned is refused without showing the password in it', async () => {
    for (const text of [
      'https://me:hunter2@a.example/b',
      'http://a.example/b',
      'ext::sh -c hunter2',
      'git://a.example/b',
    ])
      await assert.rejects(remote(text), (error: UsageFailure) => {
        assert.doesNotMatch(`${error.message} ${error.hint}`, /hunter2/);
        return error instanceof UsageFailure;
      });
    await assert.rejects(remote('https://a.example/b', '--upload-pack=x'), UsageFailure);
  });

  it('makes a request that the server takes', async () => {
    know(`[a.example]:2222 ${key}\n`);
    for (const text of ['https://a.example/b', 'ssh://git@a.example:2222/b'])
      assert.equal(createSession.safeParse({ repo: await remote(text) }).success, true);
  });
});

describe('known hosts', () => {
  const sshKeygen = (...words: string[]) =>
    execFileSync('ssh-keygen', words, { stdio: ['ignore', 'pipe', 'ignore'] });
  const made = () => {
    const file = join(environment.folder, `key-${Math.random()}`);
    sshKeygen('-q', '-t', 'ed25519', '-N', '', '-f', file);
    return readFileSync(`${file}.pub`, 'utf8').split(' ').slice(0, 2).join(' ').trim();
  };

  it('are found where OpenSSH hashed their names, with their ports', () => {
    const [first, second] = [made(), made()];
    know(`a.example ${first}\n[a.example]:2222 ${second}\n`);
    const file = join(environment.home, '.ssh', 'known_hosts');
    sshKeygen('-H', '-f', file);
    const text = readFileSync(file, 'latin1');
    assert.doesNotMatch(text, /example/);
    assert.deepEqual(knownKeys(text, 'a.example'), [first]);
    assert.deepEqual(knownKeys(text, '[a.example]:2222'), [second]);
    assert.deepEqual(knownKeys(text, 'b.example'), []);
  });

  it('are those that ssh-keygen finds, whatever patterns the file has', () => {
    const one = made();
    const pattern = fc
      .array(fc.constantFrom('a', 'b', '.', '*', '?', '-', '[', ']', ':22'), { minLength: 1, maxLength: 6 })
      .map((parts) => parts.join(''));
    const names = fc.array(fc.tuple(fc.boolean(), pattern), { minLength: 1, maxLength: 3 });
    const host = fc.constantFrom('a', 'a.b', 'b-a', '[a.b]:22');
    const file = join(environment.folder, 'hosts');
    fc.assert(
      fc.property(names, host, (patterns, name) => {
        const words = patterns.map(([negated, text]) => `${negated ? '!' : ''}${text}`).join(',');
        writeFileSync(file, `${words} ${one}\n`);
        let found = true;
        try {
          sshKeygen('-F', name, '-f', file);
        } catch {
          found = false;
        }
        assert.deepEqual(knownKeys(`${words} ${one}\n`, name), found ? [one] : [], words);
      }),
      { numRuns: 150 },
    );
  });

  it('that are revoked, certificate authorities or no keys are none', () => {
    const lines = [
      `a ${key}`,
      `@revoked * ${key}`,
      `@cert-authority a ${another}`,
      'a ssh-ed25519 x y',
      '# a',
      '',
    ];
    assert.deepEqual(knownKeys(lines.join('\n'), 'a'), []);
    assert.deepEqual(knownKeys(`a ${key}\r\na ${key}\r\n`, 'a'), [key]);
    assert.deepEqual(knownKeys(`a ${key}\n@revoked b ${key}\n`, 'a'), [key]);
  });
});
