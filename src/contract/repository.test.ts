import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { canonicalRepositoryUrl } from './repository.ts';
import { createSession } from './schemas.ts';

const key = `ssh-ed25519 AAAA${'B'.repeat(64)}`;

function problemsOf(repo: unknown): string[] {
  const { error } = createSession.safeParse({ repo });
  return (error?.issues ?? []).map(({ path, message }) => `${path.join('/')} ${message}`);
}

describe('the repository of a session', () => {
  it('is an upload or a URL', () => {
    for (const repo of [
      { upload: 'upl_01kamcq5r8v0x4m2e7hj9n3tzb' },
      { url: 'https://git.example/a' },
      { url: 'https://git.example/a', ref: 'v1', hostKeys: [] },
      { url: 'ssh://git.example/a', hostKeys: [key] },
    ])
      assert.deepEqual(problemsOf(repo), []);
  });

  it('that is neither, or both, is refused as that', () => {
    const both = { upload: 'upl_01kamcq5r8v0x4m2e7hj9n3tzb', url: 'https://git.example/a' };
    for (const repo of [{}, both, { ref: 'v1' }, 'https://git.example/a'])
      assert.match(problemsOf(repo).join(), /^repo is neither an upload/);
  });

  it('says which member is wrong and how', () => {
    for (const [repo, problem] of [
      [{ url: 'https://me:hunter2@git.example/a' }, /^repo\/url holds a user or password/],
      [{ url: 'https://git.example/a', token: 'x' }, /^repo Unrecognized key: "token"/],
      [{ url: 'http://git.example/a' }, /^repo\/url is plain http/],
      [{ url: 'https://git.example/a', ref: '-x' }, /^repo\/ref is not the name of a branch/],
      [{ url: 'ssh://git.example/a' }, /^repo\/hostKeys are due/],
      [{ url: 'https://git.example/a', hostKeys: [key] }, /^repo\/hostKeys are for ssh/],
    ] as const)
      assert.match(problemsOf(repo).join(), problem);
  });

  it('takes no key of a host that is more, or other, than a key', () => {
    for (const text of [
      `* ${key}`,
      `${key} comment`,
      `${key}\n${key}`,
      '@revoked x',
      'ssh-rsa AAAA',
      `${key} `,
      '',
    ])
      assert.notDeepEqual(problemsOf({ url: 'ssh://git.example/a', hostKeys: [text] }), [], text);
    assert.notDeepEqual(problemsOf({ url: 'ssh://git.example/a', hostKeys: Array(17).fill(key) }), []);
  });

  it('has a URL that is canonical once control has it, whatever was given', () => {
    fc.assert(
      fc.property(fc.webUrl({ validSchemes: ['https'] }), (url) => {
        if (problemsOf({ url }).length > 0) return;
        const canonical = canonicalRepositoryUrl(url);
        assert.equal(canonicalRepositoryUrl(canonical), canonical);
        assert.deepEqual(problemsOf({ url: canonical }), []);
      }),
    );
  });
});
