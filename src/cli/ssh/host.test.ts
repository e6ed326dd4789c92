import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { type HostBlock, hostBlock } from './host.ts';
import { withoutProgram } from './test-openssh.ts';

const folder = mkdtempSync(join(tmpdir(), 'sealwright-host-'));
after(() => rmSync(folder, { recursive: true, force: true }));

const block: HostBlock = {
  ...{ run: 'run_01kamcq5r8v0x4m2e7hj9n3tzb', name: 'fix-tests', url: 'https://sealwright.example' },
  program: ['/opt/it is 100% "here"/bin/sealwright'],
  identityFile: '/home/me/a b/%d/id_ed25519',
  knownHostsFile: '/home/me/a b/%d/known_hosts',
};

/** What ssh itself makes of a block. */
function read(text: string, host: string): Record<string, string> {
  const path = join(folder, 'config');
  writeFileSync(path, text);
  const lines = execFileSync('ssh', ['-F', path, '-G', host], { encoding: 'utf8' }).trim().split('\n');
  return Object.fromEntries(lines.map((line) => [line.split(' ')[0], line.slice(line.indexOf(' ') + 1)]));
}

test('ssh reads a block as it is meant, with blanks, quotes and per cents in paths', {
  skip: withoutProgram('ssh'),
}, () => {
  for (const host of [`${block.run}.sealwright`, 'fix-tests.sealwright']) {
    const options = read(hostBlock(block), host);
    assert.equal(options.user, 'agent');
    assert.equal(options.stricthostkeychecking, 'true');
    assert.equal(options.identitiesonly, 'yes');
    assert.equal(options.preferredauthentications, 'publickey');
    assert.equal(options.forwardagent, 'no');
    assert.equal(options.hostkeyalias, 'sealwright-sandbox');
    const path = `'/opt/it is 100%% "here"/bin/sealwright'`;
    assert.equal(options.proxycommand, `${path} --url ${block.url} ssh-proxy ${block.run}`);
    assert.equal(options.identityfile, '/home/me/a b/%%d/id_ed25519');
  }
  assert.equal(read(hostBlock(block), 'other.sealwright').proxycommand, undefined);
});

test('a name that ssh would read as something else is left out', () => {
  for (const name of [
    '*',
    '!run',
    'a b',
    'a\nProxyCommand evil',
    '-oProxyCommand=evil',
    'ü',
    '',
    'a?',
    'a,b',
  ]) {
    const [first] = hostBlock({ ...block, name }).split('\n');
    assert.equal(first, `Host ${block.run}.sealwright`);
  }
  assert.match(hostBlock(block), /^Host run_\S+\.sealwright fix-tests\.sealwright\n/);
});
