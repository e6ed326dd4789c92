import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { type EgressFlow, type EgressPolicy, unlimitedEgress } from '../model/egress.ts';
import { newId } from '../model/ids.ts';
import { parseRepositoryUrl, type RepositoryUrl } from '../model/repository-url.ts';
import { CloneWatch, cloneFailure } from './clone-failure.ts';

const run = newId('run', 1);
const https = urlOf('https://git.example/a/b');
const ssh = urlOf('ssh://git@git.example/a');

const open: EgressPolicy = {
  mode: 'restricted',
  generation: 1,
  rules: [
    { name: 'web#1', target: { host: 'git.example' }, ports: [443], protocol: 'https' },
    { name: 'web#2', target: { host: 'git.example' }, ports: [22], protocol: 'ssh' },
  ],
  limits: unlimitedEgress,
};
const closed: EgressPolicy = { ...open, rules: [] };

function urlOf(text: string): RepositoryUrl {
  const parsed = parseRepositoryUrl(text);
  assert('url' in parsed);
  return parsed.url;
}

function denied(more: Partial<EgressFlow>): CloneWatch {
  const watch = new CloneWatch();
  const nothing = { host: null, address: null, protocol: null, method: null, path: null, rule: null };
  const flow = { ...nothing, id: 1, run, at: 1, port: 443, generation: 1, count: 1, ...more };
  watch.see({ flows: [{ verdict: 'denied', denial: 'no-rule', ...flow }], ends: [] });
  return watch;
}

function said(url: RepositoryUrl, complaint: string, watch = new CloneWatch(), policy = open): string {
  const { cause, reason } = cloneFailure(url, policy, watch, complaint);
  return `${cause}: ${reason}`;
}

describe('why a clone failed', () => {
  it('is the policy where the gateway denied something, whatever git says of it', () => {
    const lookup = denied({ host: 'git.example', port: 53, protocol: 'dns' });
    assert.equal(
      said(ssh, 'fatal: Authentication failed', lookup, closed),
      'network: The policy of this run does not allow ssh://git.example; a policy with the rule {"host":"git.example","protocol":"ssh"} would.',
    );
    const elsewhere = denied({ host: 'objects.githubusercontent.com', port: 53, protocol: 'dns' });
    assert.match(
      said(https, '', elsewhere),
      /allow https:\/\/objects\.githubusercontent\.com; --egress github would\.$/,
    );
    for (const [denial, text] of [
      ['unresolved', /has no address/],
      ['address-class', /not public/],
      ['no-record', /could not be recorded/],
      ['name-mismatch', /The gateway refused/],
    ] as const)
      assert.match(said(https, '', denied({ host: 'git.example', denial })), text);
  });

  it('is the policy where nothing of it names the place, though nobody was there to deny it', () => {
    assert.match(said(urlOf('https://git.example:8443/a'), 'fatal: x'), /"ports":\[8443\]} would/);
    assert.match(
      said(urlOf('https://10.1.2.3/a'), 'fatal: x'),
      /{"cidr":"10\.1\.2\.3\/32","ports":\[443\],"protocol":"https"} would/,
    );
    assert.match(said(urlOf('https://[fd00::1]/a'), 'fatal: x'), /https:\/\/\[fd00::1\]; .*"fd00::1\/128"/);
    const full: EgressPolicy = { ...closed, mode: 'full' };
    assert.match(said(https, 'fatal: x', undefined, full), /could not be cloned: x/);
  });

  it('is the network where nobody answered', () => {
    const watch = new CloneWatch();
    watch.see({ flows: [], ends: [{ id: 1, run, at: 1, bytesIn: 0, bytesOut: 0, outcome: 'unreachable' }] });
    assert.match(said(https, 'fatal: x', watch), /^network: Nobody answers at https:\/\/git\.example: x/);
  });

  for (const [complaint, expected] of [
    [
      "fatal: unable to access 'https://git.example/a/b/': server certificate verification failed. CAfile: none",
      /^network: TLS/,
    ],
    [
      "fatal: unable to access 'https://git.example/a/b/': SSL certificate problem: unable to get local issuer certificate",
      /^network: TLS/,
    ],
    [
      "fatal: unable to access 'https://git.example/a/b/': gnutls_handshake() failed: The TLS connection was non-properly terminated.",
      /^network: TLS/,
    ],
    [
      "fatal: unable to access 'https://git.example/a/b/': The requested URL returned error: 503",
      /^network: The connection/,
    ],
    [
      "fatal: unable to access 'https://git.example/a/b/': The requested URL returned error: 403",
      /^repo-access: .*sign-in/,
    ],
    [
      "fatal: could not read Username for 'https://git.example': terminal prompts disabled",
      /^repo-access: .*sign-in/,
    ],
    ["fatal: repository 'https://git.example/a/b/' not found", /^repo-access: There is no such repository/],
    [
      'warning: Could not find remote branch x to clone.\nfatal: Remote branch x not found in upstream origin',
      /^repo-access: .*no such branch/,
    ],
    [
      'error: cannot run ssh: No such file or directory\nfatal: unable to fork',
      /^repo-access: .*install openssh-client/,
    ],
    ["fatal: couldn't find remote ref f00", /^repo-access: .*no such branch/],
    ['Host key verification failed.\nfatal: Could not read from remote repository.', /^network: .*host key/],
    [
      'git@git.example: Permission denied (publickey).\nfatal: Could not read from remote repository.',
      /^repo-access: .*sign-in/,
    ],
    [
      'error: RPC failed; curl 56 Recv failure: Connection reset by peer\nfatal: early EOF',
      /^network: The connection/,
    ],
    [
      "error: invalid path '.git/config'\nfatal: Could not reset index file to revision 'HEAD'.",
      /^repo-access: .*could not be cloned/,
    ],
    ['', /^repo-access: The repository could not be cloned\.$/],
  ] as const)
    it(`is read from what git says: ${complaint.slice(-50)}`, () =>
      assert.match(said(https, complaint), expected));

  it('is not read from what the other side says, as far as git marks it', () => {
    const text = said(
      https,
      "remote: Host key verification failed.\nremote: fatal: TLS\nfatal: repository 'x' not found",
    );
    assert.match(
      text,
      /^repo-access: There is no such repository at https:\/\/git\.example, or it wants a sign-in: repository 'x' not found$/,
    );
  });

  it('is not read from the name of the repository or the ref', () => {
    const name = "fatal: repository 'https://git.example/mbedtls/timed out/certificate problem' not found";
    assert.match(said(https, name), /^repo-access: There is no such repository/);
    const ref = 'fatal: Remote branch TLS-timeout not found in upstream origin';
    assert.match(said(https, ref), /^repo-access: .*no such branch/);
  });

  it('is short, whatever is said', () => {
    assert(said(https, `fatal: ${'x'.repeat(100_000)}`).length < 500);
  });
});
