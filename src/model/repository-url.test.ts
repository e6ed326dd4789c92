import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { canonicalHost } from './host-name.ts';
import { authorityOf, formatRepositoryUrl, parseRepositoryUrl } from './repository-url.ts';

function urlOf(text: string): string | null {
  const parsed = parseRepositoryUrl(text);
  return 'url' in parsed ? formatRepositoryUrl(parsed.url) : null;
}

function problemOf(text: string): string {
  const parsed = parseRepositoryUrl(text);
  return 'problem' in parsed ? parsed.problem : '';
}

describe('the URL of a repository', () => {
  for (const [given, canonical] of [
    ['https://github.com/a/b.git', 'https://github.com/a/b.git'],
    ['HTTPS://GitHub.COM.:443/a/b', 'https://github.com/a/b'],
    ['https://git.example:8443/~me/a%20b', 'https://git.example:8443/~me/a%20b'],
    ['https://bücher.example/a', 'https://xn--bcher-kva.example/a'],
    ['ssh://git@github.com/a/b.git', 'ssh://git@github.com/a/b.git'],
    ['ssh://git.example:22/srv/a', 'ssh://git.example/srv/a'],
    ['ssh://git@[FD00::0001]:2222/a', 'ssh://git@[fd00::1]:2222/a'],
    ['https://10.1.2.3/a', 'https://10.1.2.3/a'],
  ] as const)
    it(`is read, and has one spelling: ${given}`, () => assert.equal(urlOf(given), canonical));

  for (const hostile of [
    '',
    '-oProxyCommand=x',
    '--upload-pack=x',
    '/etc/passwd',
    'file:///etc/passwd',
    'ext::sh -c id',
    'https::https://a.example/b',
    'git://a.example/b',
    'git@a.example:b',
    'ssh://-oProxyCommand=x/b',
    'ssh://a@-oProxyCommand=x/b',
    'ssh://-l@a.example/b',
    'ssh://a b@c.example/b',
    'https://a.example',
    'https://a.example//',
    'https:///b',
    'https://a.example:0/b',
    'https://a.example:65536/b',
    'https://a.example:x/b',
    'https://a.example/b?c',
    'https://a.example/b#c',
    'https://a.example/b c',
    'https://a.example/b\nc',
    'https://a.example/b%0ac',
    'https://a.example/b%00',
    'https://a.example/b%7f',
    'https://a.example/b%',
    'https://a.example/b\\c',
    'https://a.example\\@c.example/b',
    'https://0x7f.1/b',
    'https://127.1/b',
    'https://2130706433/b',
    'https://[::1%25lo]/b',
    'https://[10.1.2.3]/b',
    'https://fd00::1/b',
    `https://a.example/${'b'.repeat(2_048)}`,
  ])
    it(`is refused: ${JSON.stringify(hostile.slice(0, 60))}`, () => assert.equal(urlOf(hostile), null));

  it('never holds a user or password for https, nor a password for ssh, and the problem does not repeat them', () => {
    for (const text of [
      'https://token@github.com/a/b',
      'https://me:hunter2@github.com/a/b',
      'https://:hunter2@github.com/a/b',
      'https://@github.com/a/b',
      'https://a@b@github.com/a/b',
      'ssh://git:hunter2@github.com/a/b',
    ]) {
      assert.match(problemOf(text), /user or password/);
      assert.doesNotMatch(problemOf(text), /hunter2|token/);
    }
  });

  it('of plain http is refused with what to do', () => {
    assert.match(problemOf('http://github.com/a/b'), /use https/);
  });

  it('names its authority as a client of it would', () => {
    const of = (text: string) => {
      const parsed = parseRepositoryUrl(text);
      return 'url' in parsed ? authorityOf(parsed.url) : null;
    };
    assert.equal(of('https://a.example:443/b'), 'a.example');
    assert.equal(of('ssh://a.example:443/b'), 'a.example:443');
    assert.equal(of('ssh://[fd00::1]/b'), '[fd00::1]');
  });

  it('is its own canonical form, and what URL parsers of the world read in it is the same host', () => {
    const label = fc.stringMatching(/^[a-z0-9](?:[a-z0-9-]{0,8}[a-z0-9])?$/);
    const host = fc
      .array(label, { minLength: 1, maxLength: 3 })
      .map((labels) => labels.join('.'))
      .filter((text) => canonicalHost(text) !== null);
    const path = fc.webPath({ size: 'small' }).filter((text) => /[^/]/.test(text));
    fc.assert(
      fc.property(host, fc.integer({ min: 1, max: 65_535 }), path, (name, port, where) => {
        const text = urlOf(`https://${name}:${port}${where}`);
        if (text === null) return;
        assert.equal(urlOf(text), text);
        const { hostname, port: read, username, search, hash } = new URL(text);
        assert.deepEqual(
          [hostname, Number(read || 443), username, search, hash],
          [canonicalHost(name), port, '', '', ''],
        );
      }),
    );
  });

  it('of any text is refused or free of what a shell, git or ssh would take for something else', () => {
    fc.assert(
      fc.property(
        fc.oneof(
          fc.string(),
          fc.webUrl().map((text) => text.replace('http:', 'https:')),
        ),
        (text) => {
          const url = urlOf(text);
          if (url !== null) assert.match(url, /^(?:https|ssh):\/\/[\x21-\x7e]+$/);
        },
      ),
      { numRuns: 2_000 },
    );
  });
});
