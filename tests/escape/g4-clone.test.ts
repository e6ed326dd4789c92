import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { chmodSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { after, before, beforeEach, describe, test } from 'node:test';
import { TestRepository } from '../../src/cli/test-repository.ts';
import type { Client } from '../../src/client/client.ts';
import type { CreateSession } from '../../src/contract/schemas.ts';
import { FakeInternet } from '../support/fake-internet.ts';
import {
  type GitRequest,
  gitUid,
  lacksSshd,
  serveGitHttps,
  serveGitSsh,
  trustCa,
} from '../support/git-servers.ts';
import { file, hostileBundle, link, program, treeOf } from '../support/hostile-bundle.ts';
import { cli, type Instance, startInstance } from '../support/instance.ts';
import { artifactText, flowsOf, type Ran, runOnce, sh, startRun } from '../support/workload.ts';

/** G4 for clones: a repository by its URL is fetched inside the sandbox, through the policy of the run that needs it. */

const asRoot = process.getuid?.() === 0;
const skip = asRoot ? false : 'needs root for a network namespace of its own';
const gitPlace = '93.184.216.50';
const otherPlace = '93.184.216.51';

const zone = {
  'git.example': [[gitPlace]],
  'other.example': [[otherPlace]],
  'inside.example': [['10.1.2.3']],
  'gone.example': [['93.184.216.200']],
  'nowhere.example': [[]],
} as const;

const names = ['git', 'inside', 'gone', 'nowhere'].map((name) => `${name}.example`);

describe('G4 of clones', { skip }, () => {
  let folder: string;
  let repositories: string;
  let internet: FakeInternet;
  let instance: Instance;
  let client: Client;
  let requests: GitRequest[];
  let close: () => void;
  let project: TestRepository;
  let first: string;

  before(async () => {
    folder = mkdtempSync(join(tmpdir(), 'sealwright-clone-'));
    chmodSync(folder, 0o755);
    repositories = join(folder, 'repositories');
    internet = await FakeInternet.open(zone);
    trustCa(internet.caFile, folder);
    const key = readFileSync(join(dirname(internet.caFile), 'key.pem'));
    const served = await serveGitHttps(repositories, { key, cert: readFileSync(internet.caFile) }, gitPlace);
    requests = served.requests;
    close = () => served.server.close().closeAllConnections();
    project = new TestRepository(join(repositories, 'project'));
    project.write('README', 'one\n');
    first = project.commit('first');
    project.git('tag', '-a', '-m', 'a release', 'v1');
    project.write('README', 'two\n');
    project.commit('second');
    project.git('branch', 'feature/x', first);
    new TestRepository(join(repositories, 'empty'));
    instance = await startInstance({ environment: { SEALWRIGHT_RESOLVERS: '127.0.0.1' } });
    client = instance.client;
    const hosts = [...names, 'other.example'];
    await client.policies.put('git', { document: { rules: names.map((host) => ({ host })) } });
    await client.policies.put('both', { document: { rules: hosts.map((host) => ({ host })) } });
    await client.policies.put('ssh', {
      document: { rules: [{ host: 'git.example', protocol: 'ssh' }] },
    });
  });

  beforeEach(() => {
    internet.arrivals.length = 0;
    internet.lookups.length = 0;
    requests.length = 0;
  });

  after(async () => {
    await instance?.remove();
    close?.();
    internet?.close();
    rmSync(folder, { recursive: true, force: true });
  });

  const sessionOf = async (repo: NonNullable<CreateSession['repo']>) =>
    (await client.sessions.create({ repo })).id;

  const cloned = async (
    repo: NonNullable<CreateSession['repo']>,
    script = 'git log --format=%s; git status --short --branch',
    more: Partial<Parameters<typeof runOnce>[2]> = {},
  ): Promise<Ran> =>
    await runOnce(client, sh(script), { session: await sessionOf(repo), egress: ['git'], ...more });

  const failed = async (repo: NonNullable<CreateSession['repo']>, more = {}) => {
    const { run } = await cloned(repo, 'true', more);
    assert.deepEqual([run.phase, run.exitCode], ['failed', null]);
    return `${run.cause}: ${run.reason}`;
  };

  test('a repository is cloned with its history, by the rule that allows it, and each flow is on record once', async () => {
    const ran = await cloned(
      { url: 'https://git.example/project' },
      'git log --format=%s; git status --branch --short; git remote -v; cat README; perl -e "gethostbyname(q(denied.example))"',
    );
    assert.equal(ran.run.phase, 'succeeded', `${ran.run.reason} ${ran.stderr}`);
    assert.match(
      ran.stdout,
      /^second\nfirst\n## main\.\.\.origin\/main\norigin\thttps:\/\/git\.example\/project \(fetch\)/,
    );
    assert.match(ran.stdout, /^two$/m);
    const flows = await flowsOf(client, ran.run.id);
    const ofClone = flows.filter(({ host }) => host === 'git.example');
    assert(ofClone.length > 0 && ofClone.every(({ rule, end }) => rule === 'git#1' && end !== null));
    const ofCommand = flows.find(({ host }) => host === 'denied.example');
    assert(ofCommand !== undefined, 'what the command does is not taken for one of them');
    assert(ofClone.every(({ id }) => id < ofCommand.id));
  });

  for (const [ref, shown] of [
    ['feature/x', /^first\n## feature\/x\.\.\.origin\/feature\/x\n$/],
    ['v1', /^first\n## HEAD \(no branch\)\n$/],
    ['commit', /^first\n## HEAD \(no branch\)\n$/],
  ] as const)
    test(`a ${ref === 'commit' ? 'commit' : `ref such as ${ref}`} can be asked for`, async () => {
      const ran = await cloned({
        url: 'https://git.example/project',
        ref: ref === 'commit' ? first : ref,
      });
      assert.equal(ran.run.phase, 'succeeded', `${ran.run.reason} ${ran.stderr}`);
      assert.match(ran.stdout, shown);
    });

  test('without a rule nothing is reached or looked up, and the cause is the network with what would allow it', async () => {
    const url = 'https://git.example/project';
    const text = await failed({ url }, { egress: [] });
    assert.equal(
      text,
      'network: The policy of this run does not allow https://git.example; a policy with the rule {"host":"git.example"} would.',
    );
    assert.deepEqual([requests, internet.arrivals, internet.lookups], [[], [], []]);
    const github = { url: 'https://github.com/a/b' };
    assert.match(
      await failed(github),
      /^network: .*does not allow https:\/\/github\.com; --egress github would\.$/,
    );
  });

  for (const [url, reason] of [
    ['https://inside.example/project', /^network: .*at an address that is not public/],
    ['https://gone.example/project', /^network: Nobody answers at https:\/\/gone\.example/],
    ['https://nowhere.example/project', /^network: .*has no address/],
    ['https://10.1.2.3/project', /^network: .*(does not allow|not public)/],
    [
      'https://git.example:8443/project',
      /^network: .*does not allow https:\/\/git\.example:8443; .*"ports":\[8443\]/,
    ],
    [
      'https://git.example/moved/other.example/project',
      /^network: .*does not allow https:\/\/other\.example/,
    ],
    ['https://git.example/none', /^repo-access: There is no such repository at https:\/\/git\.example/],
    ['https://git.example/private/project', /^repo-access: .*wants a sign-in\. Secrets/],
    ['https://git.example/empty', /^repo-access: .*the repository has no commit yet/],
  ] as const)
    test(`a clone that fails says why: ${url}`, async () => {
      assert.match(await failed({ url }), reason);
      assert(internet.arrivals.every(({ at }) => at !== otherPlace && at !== '10.1.2.3'));
    });

  for (const ref of ['nothing', 'f'.repeat(40)])
    test(`a ref that is not there is a failure of the repository: ${ref}`, async () => {
      const url = 'https://git.example/project';
      assert.match(
        await failed({ url, ref }),
        /^repo-access: The repository has no such branch, tag or commit/,
      );
    });

  test('a redirect leads where the policy leads, and is recorded', async () => {
    const other = await serveGitHttps(
      repositories,
      {
        key: readFileSync(join(dirname(internet.caFile), 'key.pem')),
        cert: readFileSync(internet.caFile),
      },
      otherPlace,
    );
    try {
      const url = 'https://git.example/moved/other.example/project';
      const ran = await cloned({ url }, 'git log --format=%s', { egress: ['both'] });
      assert.equal(ran.stdout, 'second\nfirst\n', ran.run.reason ?? ran.stderr);
      const hosts = new Set((await flowsOf(client, ran.run.id)).map(({ host }) => host));
      assert.deepEqual([...hosts].sort(), ['git.example', 'other.example']);
      assert(other.requests.length > 0);
    } finally {
      other.server.close().closeAllConnections();
    }
  });

  test('a certificate that nobody vouches for is a failure of the network', async () => {
    const [key, cert] = [join(folder, 'own-key.pem'), join(folder, 'own.pem')];
    const words = ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes'];
    const subject = ['-subj', '/CN=other.example', '-addext', 'subjectAltName=DNS:other.example'];
    execFileSync('openssl', [...words, '-keyout', key, '-out', cert, ...subject], { stdio: 'ignore' });
    const tls = { key: readFileSync(key), cert: readFileSync(cert) };
    const { server, requests: seen } = await serveGitHttps(repositories, tls, otherPlace);
    try {
      const text = await failed({ url: 'https://other.example/project' }, { egress: ['both'] });
      assert.match(text, /^network: TLS with https:\/\/other\.example failed/);
      assert.deepEqual(seen, []);
    } finally {
      server.close().closeAllConnections();
    }
  });

  test('a failed clone leaves nothing, the next run tries again, and the one after it does not clone', async () => {
    const session = await sessionOf({ url: 'https://git.example/project' });
    const run = (egress: string[]) =>
      runOnce(client, sh('git log --format=%s; echo more >> kept; cat kept'), { session, egress });
    assert.equal((await run([])).run.cause, 'network');
    assert.equal((await run(['git'])).stdout, 'second\nfirst\nmore\n');
    requests.length = 0;
    assert.equal((await run([])).stdout, 'second\nfirst\nmore\nmore\n');
    assert.deepEqual(requests, []);
  });

  test('the diff is the change of the run alone, and applies to a checkout of one’s own', async () => {
    const home = instance.home;
    const words = ['run', '--json', '--repo', 'https://git.example/project', '--egress', 'git', '--'];
    const ran = await cli(home, [
      ...words,
      ...sh('echo three >> README; echo x > new; git commit -qam third'),
    ]);
    assert.equal(ran.status, 0, ran.stderr);
    const { run } = JSON.parse(ran.stdout.toString('utf8').split('\n')[0]!) as { run: { id: string } };
    const patch = await artifactText(client, await client.runs.get(run.id), 'diff');
    assert.deepEqual(patch.match(/^[+-](?![+-]).*$/gm), ['+three', '+x']);
    const checkout = join(folder, 'checkout');
    execFileSync('git', ['clone', '-q', project.path, checkout], { stdio: 'ignore' });
    const applied = await cli(home, ['apply', '--yes', run.id], { cwd: checkout });
    assert.equal(applied.status, 0, applied.stderr);
    assert.equal(readFileSync(join(checkout, 'README'), 'utf8'), 'two\nthree\n');
    writeFileSync(join(checkout, 'README'), 'quite another\n');
    const refused = await cli(home, ['apply', '--yes', run.id], { cwd: checkout });
    assert.match(refused.stderr, /does not fit the checkout/);
  });

  test('what it is cloned from is shown with the session and on record', async () => {
    const id = await sessionOf({ url: 'HTTPS://GIT.example:443/project', ref: 'v1' });
    const { repo, remote } = await client.sessions.get(id);
    assert.deepEqual([repo, remote], [true, { url: 'https://git.example/project', ref: 'v1' }]);
    const { items } = await client.audit.list({ resource: id, action: 'session.create' });
    assert.match(JSON.stringify(items), /"url":"https:\/\/git\.example\/project"/);
    await assert.rejects(sessionOf({ url: 'https://me:hunter2@git.example/project' }), (error: Error) => {
      assert.match(error.message, /\/repo\/url: holds a user or password/);
      return !error.message.includes('hunter2');
    });
  });

  test('a clone that stalls ends when it is cancelled, and when its time is up', async () => {
    const session = await sessionOf({ url: 'https://git.example/stalled/project' });
    const live = await startRun(client, ['true'], { session, egress: ['git'] });
    await until(() => requests.length > 0);
    await client.runs.stop(live.id);
    assert.equal((await live.ended).run.phase, 'cancelled');
    const { run } = await runOnce(client, ['true'], { session, egress: ['git'], timeoutSeconds: 1 });
    assert.equal(run.phase, 'timed-out');
  });

  test('a policy that stops allowing a clone that is under way cuts it', async () => {
    await client.policies.put('moving', { document: { rules: [{ host: 'git.example' }] } });
    const session = await sessionOf({ url: 'https://git.example/stalled/project' });
    const live = await startRun(client, ['true'], { session, egress: ['moving'] });
    await until(() => requests.length > 0);
    await client.policies.put('moving', { document: { rules: [] } });
    assert.deepEqual([(await live.ended).run.phase, (await live.ended).run.cause], ['failed', 'network']);
  });

  test('a repository that does not fit into the disk limit is not kept', async () => {
    const large = new TestRepository(join(repositories, 'large'));
    large.write('noise', execFileSync('head', ['-c', '24M', '/dev/urandom'], { maxBuffer: 1 << 25 }));
    large.commit();
    const { run } = await cloned({ url: 'https://git.example/large' }, 'true', {
      limits: { diskBytes: 8 * 1024 * 1024 },
    });
    assert.deepEqual([run.phase, run.cause], ['failed', 'limit-disk'], run.reason ?? '');
    const kept = readdirSync(join(instance.home, 'runner/sessions'));
    assert(!kept.includes(run.session));
  });

  test('a hostile repository runs nothing: hooks, filters, submodules, aliases of .git', async () => {
    const evil = new TestRepository(join(repositories, 'evil'));
    const mark = 'touch /workspace/ran /tmp/ran';
    evil.write('.gitattributes', '* filter=evil diff=evil merge=evil\nlfs filter=lfs\n');
    evil.write(
      '.gitmodules',
      `[submodule "s"]\n\tpath = s\n\turl = ext::sh -c "${mark}"\n\tupdate = !${mark}\n`,
    );
    evil.write('.gitconfig', `[filter "evil"]\n\tsmudge = ${mark}\n\tclean = ${mark}\n`);
    evil.write('.lfsconfig', '[lfs]\n\turl = ssh://-oProxyCommand=touch/x\n');
    evil.write('lfs', 'version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n');
    evil.write('hooks/post-checkout', `#!/bin/sh\n${mark}\n`, 0o755);
    for (const hook of ['post-checkout', 'post-upload-pack', 'reference-transaction', 'post-index-change'])
      evil.write(`.git/hooks/${hook}`, `#!/bin/sh\n${mark}\n`, 0o755);
    evil.git('config', 'filter.evil.smudge', mark);
    evil.git('add', '-A');
    evil.git('update-index', '--add', '--cacheinfo', `160000,${first},s`);
    evil.git('-c', 'core.hooksPath=/dev/null', 'commit', '-q', '-m', 'evil');
    const ran = await cloned(
      { url: 'https://git.example/evil' },
      'ls -A . .git/hooks s 2>/dev/null; git config --list --show-origin; cat lfs',
    );
    assert.equal(ran.run.phase, 'succeeded', `${ran.run.reason} ${ran.stderr}`);
    assert.doesNotMatch(ran.stdout, /^ran$|^post-|filter\.|submodule\./m);
    assert.match(ran.stdout, /git-lfs/);
  });

  for (const [name, entries] of [
    ['.git', [treeOf('.git', treeOf('hooks', program('post-checkout', '#!/bin/sh\n')))]],
    ['.GIT', [treeOf('.GIT', file('config'))]],
    ['..', [treeOf('..', file('escaped'))]],
    ['link into .git', [link('a', '.git/hooks'), treeOf('a', program('post-checkout', '#!/bin/sh\n'))]],
  ] as const)
    test(`a tree with ${name} makes nothing outside of its files`, async () => {
      const served = join(repositories, 'tree');
      hostileBundle(served, entries);
      try {
        const { run, stdout } = await cloned(
          { url: 'https://git.example/tree' },
          'ls -A .git/hooks 2>/dev/null; true',
        );
        if (run.phase === 'failed') assert.equal(run.cause, 'repo-access', run.reason ?? '');
        assert.equal(stdout, '');
      } finally {
        rmSync(served, { recursive: true });
      }
    });

  describe('by ssh', { skip: lacksSshd }, () => {
    let hostKey: string;
    let endServer: () => void;
    let said: string[];
    const another = `ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI${'A'.repeat(43)}`;
    const url = () => `ssh://git@git.example${project.path}`;
    const ssh = { egress: ['ssh'] };

    before(async () => {
      execFileSync('chown', ['-R', String(gitUid), repositories]);
      const server = await serveGitSsh(join(folder, 'sshd'), gitPlace);
      ({ hostKey, said } = server);
      endServer = () => server.process.kill();
    });
    after(() => endServer?.());
    beforeEach(() => {
      said.length = 0;
    });

    test('a repository is cloned from the host whose key is known', async () => {
      const repo = { url: url(), hostKeys: [another, hostKey] };
      const ran = await cloned(repo, 'git log --format=%s', ssh);
      assert.equal(ran.stdout, 'second\nfirst\n', `${ran.run.reason} ${said.join('')}`);
      const [flow] = await flowsOf(client, ran.run.id);
      assert.deepEqual([flow?.host, flow?.protocol, flow?.rule], ['git.example', 'ssh', 'ssh#1']);
    });

    test('a commit is fetched by its id', async () => {
      const ran = await cloned({ url: url(), hostKeys: [hostKey], ref: first }, 'git log --format=%s', ssh);
      assert.equal(ran.stdout, 'first\n', ran.run.reason ?? '');
    });

    test('the command line sends the key that the caller knows the host by', async () => {
      const home = join(folder, 'caller');
      mkdirSync(join(home, '.ssh'), { recursive: true });
      writeFileSync(join(home, '.ssh/known_hosts'), `git.example ${hostKey}\n`);
      execFileSync('ssh-keygen', ['-q', '-H', '-f', join(home, '.ssh/known_hosts')], { stdio: 'ignore' });
      const words = [
        'run',
        '--repo',
        `git@git.example:${project.path}`,
        '--egress',
        'ssh',
        '--',
        'cat',
        'README',
      ];
      const ran = await cli(instance.home, words, { environment: { HOME: home } });
      assert.deepEqual([ran.status, ran.stdout.toString()], [0, 'two\n'], ran.stderr);
    });

    test('a host with another key is not asked for anything', async () => {
      const text = await failed({ url: url(), hostKeys: [another] }, ssh);
      assert.match(text, /^network: ssh:\/\/git\.example does not have the host key/);
      assert.doesNotMatch(said.join(''), /Accepted/);
    });

    test('without a rule nothing arrives', async () => {
      const text = await failed({ url: url(), hostKeys: [hostKey] });
      assert.match(
        text,
        /^network: .*does not allow ssh:\/\/git\.example; .*\{"host":"git\.example","protocol":"ssh"\}/,
      );
      assert.equal(said.join(''), '');
    });

    test('a sign-in that would be due, and a repository that is not there, are failures of access', async () => {
      const user = { url: url().replace('git@', 'nobody@'), hostKeys: [hostKey] };
      assert.match(await failed(user, ssh), /^repo-access: ssh:\/\/git\.example wants a sign-in/);
      const none = { url: 'ssh://git@git.example/none', hostKeys: [hostKey] };
      assert.match(await failed(none, ssh), /^repo-access: There is no such repository/);
    });
  });
});

async function until(holds: () => boolean): Promise<void> {
  while (!holds()) await new Promise((resolve) => setTimeout(resolve, 20));
}
