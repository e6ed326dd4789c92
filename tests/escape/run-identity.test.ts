import assert from 'node:assert/strict';
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { createRemoteJWKSet, decodeJwt, jwtVerify } from 'jose';
import { ApiError } from '../../src/client/api-error.ts';
import type { Client } from '../../src/client/client.ts';
import { createClient } from '../../src/client/client.ts';
import type { Instance } from '../support/instance.ts';
import { answersOf, modes, perl, probe, runOnce, sh, startIn, startRun } from '../support/workload.ts';

/** A run proves to others who it is; nobody else has its token, and it is worth nothing once the run has ended. */

const file = '/run/secrets/sealwright/identity.jwt';
const token = /\beyJ[\w-]+\.[\w-]+\.[\w-]+/;

for (const { mode, skip } of modes) {
  describe(`the identity of a run as ${mode}`, { skip }, () => {
    let instance: Instance;
    let client: Client;
    before(async () => {
      instance = await startIn(mode, {
        SEALWRIGHT_TRUST_DOMAIN: 'agents.example',
        SEALWRIGHT_RUN_IDENTITY_AUDIENCES: 'https://vault.example',
        SEALWRIGHT_LOG_LEVEL: 'debug',
      });
      client = instance.client;
    });
    after(() => instance.remove());

    /** Whether the token is active, as a relying party is told. */
    async function introspected(jwt: string): Promise<Record<string, unknown>> {
      const response = await fetch(`${instance.url}/oauth2/introspect`, {
        method: 'POST',
        headers: { authorization: `Bearer ${instance.bootstrapToken}` },
        body: new URLSearchParams({ token: jwt }),
      });
      assert.equal(response.status, 200);
      return (await response.json()) as Record<string, unknown>;
    }

    test('is read by the workload, verified by the published keys, and active until the run has ended', async () => {
      const run = await startRun(client, sh(`cat "$SEALWRIGHT_IDENTITY_FILE"; echo; sleep 60`));
      const [jwt] = await run.shows(token);
      const discovered = await fetch(`${instance.url}/.well-known/oauth-authorization-server`);
      const { issuer, jwks_uri } = (await discovered.json()) as { issuer: string; jwks_uri: string };
      const keys = createRemoteJWKSet(new URL(new URL(jwks_uri).pathname, instance.url));
      const { payload } = await jwtVerify(jwt, keys, {
        issuer,
        audience: 'https://vault.example',
        typ: 'JWT',
      });
      assert.equal(payload.sub, `spiffe://agents.example/session/${run.session}/run/${run.id}`);
      assert.deepEqual([payload.run, payload.session], [run.id, run.session]);
      const { active, sub, owner } = await introspected(jwt);
      assert.deepEqual([active, sub, owner], [true, payload.sub, (await client.runs.get(run.id)).owner]);
      const bearer = createClient({ url: instance.url, token: jwt });
      await assert.rejects(
        bearer.runs.get(run.id),
        (error) => error instanceof ApiError && error.status === 401,
      );
      await client.runs.stop(run.id);
      await run.ended;
      await client.runs.wait(run.id);
      assert.deepEqual(await introspected(jwt), { active: false });
    });

    test('cannot be changed, removed or replaced by the workload', async () => {
      const answers = await probe(
        client,
        perl(`
for my $way (['open', sub { open my $f, '>>', '${file}' }], ['unlink', sub { unlink '${file}' }],
  ['rename', sub { rename '${file}', '/run/secrets/sealwright/x' }], ['create', sub { open my $f, '>', '/run/secrets/sealwright/x' }],
  ['chmod', sub { chmod 0666, '${file}' }], ['folder', sub { chmod 0777, '/run/secrets/sealwright' }],
  ['link', sub { symlink '/etc/passwd', '/run/secrets/sealwright/y' }], ['over', sub { rename '/workspace', '/run/secrets/sealwright' }]) {
  my ($name, $act) = @$way;
  say($name, $act->() ? 'done' : 'refused');
}
say('read', -r '${file}' ? 1 : 0);
say('there', join ' ', sort map { s{.*/}{}r } glob '/run/secrets/sealwright/*');
my $mode = (stat '${file}')[2] & 07777; say('mode', sprintf '%o', $mode);`),
      );
      for (const way of ['open', 'unlink', 'rename', 'create', 'chmod', 'folder', 'link', 'over'])
        assert.equal(answers.get(way), 'refused', way);
      assert.deepEqual(
        [answers.get('read'), answers.get('there'), answers.get('mode')],
        ['1', 'identity.jwt', '400'],
      );
    });

    test('is its own: two runs of one session, and those of others, see no other one', async () => {
      const show = sh(`cat ${file}; echo; find / -name 'identity.jwt*' 2>/dev/null; echo done; sleep 60`);
      const first = await startRun(client, show);
      const second = await startRun(client, show, { session: first.session });
      const stranger = await startRun(client, show);
      const runs = [first, second, stranger];
      const subjects = new Set<unknown>();
      for (const run of runs) {
        await run.shows(/done/);
        const [jwt] = await run.shows(token);
        const claims = decodeJwt(jwt);
        assert.equal(claims.run, run.id);
        subjects.add(claims.sub);
        const [found] = await run.shows(/(?:^\/.*\n)+done/m);
        assert.equal(found, `${file}\ndone`);
      }
      assert.equal(subjects.size, 3);
      for (const run of runs) await client.runs.stop(run.id);
      await Promise.all(runs.map((run) => run.ended));
    });

    test('is on the host for the session’s uid alone, nowhere else, and gone with the run', async () => {
      const run = await startRun(client, sh(`cat ${file}; echo; sleep 60`));
      const [jwt] = await run.shows(token);
      const folder = join(instance.home, 'runner', 'identities');
      const kept = join(folder, run.id, 'identity.jwt');
      assert.equal(readFileSync(kept, 'utf8'), jwt);
      assert.equal(statSync(kept).mode & 0o777, 0o400);
      assert.equal(statSync(join(folder, run.id)).mode & 0o007, 0);
      const workspace = statSync(join(instance.home, 'runner', 'sessions', run.session));
      assert.equal(statSync(kept).uid, workspace.uid);
      const signature = jwt.slice(-40);
      const words = readdirSync('/proc')
        .filter((name) => /^\d+$/.test(name) && name !== String(process.pid))
        .flatMap((pid) => ['cmdline', 'environ'].map((part) => textOf(`/proc/${pid}/${part}`)));
      assert(!words.some((text) => text.includes(signature)));
      const spooled = join(instance.home, 'runner', 'runs', run.id);
      for (const path of filesOf(instance.home))
        if (path !== kept && !path.startsWith(spooled)) assert(!textOf(path).includes(signature), path);
      await client.runs.stop(run.id);
      await run.ended;
      await client.runs.wait(run.id);
      assert.deepEqual(readdirSync(folder), []);
    });

    test('is another one after control was killed, whole at every moment', async () => {
      const watch = `
my $seen = ''; my $bad = 0;
while (1) {
  open my $f, '<', '${file}' or do { $bad++; next };
  local $/; my $text = <$f>;
  $bad++ unless $text =~ /^[\\w-]+\\.[\\w-]+\\.[\\w-]+$/;
  if ($text ne $seen) { $seen = $text; say('token', $text); say('bad', $bad) }
  pause(0.002);
}`;
      const run = await startRun(client, perl(watch));
      const [first] = await run.shows(token);
      process.kill(instance.pids().control, 'SIGKILL');
      const [, second] = await run.shows(/token\t\S+\n[\s\S]*token\t(\S+)\nbad\t0/);
      assert.notEqual(second, first);
      assert.equal(decodeJwt(second!).run, run.id);
      await untilAnswers(instance);
      assert.equal((await introspected(second!)).active, true);
      await client.runs.stop(run.id);
      const { stdout } = await run.ended;
      assert.equal(answersOf(stdout).get('bad'), '0');
    });

    test('is gone after a run that failed to start, too', async () => {
      const { run } = await runOnce(client, ['true'], { cwd: '/nowhere' });
      assert.equal(run.phase, 'failed');
      assert.deepEqual(readdirSync(join(instance.home, 'runner', 'identities')), []);
    });
  });
}

function filesOf(folder: string): string[] {
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name));
}

/** Latin-1, so that no byte is lost; empty where it is gone or nobody's to read. */
function textOf(path: string): string {
  try {
    return readFileSync(path, 'latin1');
  } catch {
    return '';
  }
}

async function untilAnswers(instance: Instance): Promise<void> {
  const isReady = () =>
    instance.client.readiness().then(
      ({ ready }) => ready,
      () => false,
    );
  while (!(await isReady())) await new Promise((resolve) => setTimeout(resolve, 50));
}
