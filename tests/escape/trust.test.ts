import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { X509Certificate } from 'node:crypto';
import { existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { authorityHash, createAuthority } from '../../src/base/certificates.ts';
import { certificatesIn } from '../../src/base/der.ts';
import type { Client } from '../../src/client/client.ts';
import { trustEnvironment, trustPlaces } from '../../src/sandbox/trust.ts';
import { processesOf, untilNone } from '../support/host-traces.ts';
import type { Instance } from '../support/instance.ts';
import { modes, probe, runOnce, sh, startIn, startRun } from '../support/workload.ts';

/** A sandbox trusts an authority that it alone has, and neither has its key nor can change whom it trusts. */

const missing = (program: string) =>
  existsSync(`/usr/bin/${program}`) ? false : `${program} is not installed`;

for (const { mode, skip } of modes) {
  describe(`trust as ${mode}`, { skip }, () => {
    let instance: Instance;
    let client: Client;
    before(async () => {
      instance = await startIn(mode, { SEALWRIGHT_LOG_LEVEL: 'debug' });
      client = instance.client;
    });
    after(async () => {
      client?.close();
      await instance?.remove();
    });

    placeTests(() => client);
    programTests(() => client);
    wallTests(() => client);
    keyTests(() => ({ client, instance }));
  });
}

/** A run's standard output; it has to succeed. */
async function said(client: Client, script: string, env: Record<string, string> = {}): Promise<string> {
  const { run, stdout, stderr } = await runOnce(client, sh(script), { env });
  assert.equal(run.phase, 'succeeded', stderr);
  return stdout;
}

function placeTests(client: () => Client): void {
  test('every place where programs look has the authority, and the bundle what the machine trusts too', async () => {
    const files = ['ca.pem', 'ca-certificates.crt', 'browser-policy.json'];
    const stdout = await said(
      client(),
      files.map((file) => `cat /etc/sealwright/${file}; echo ====`).join('\n'),
    );
    const [authority, bundle, policy] = stdout.split('====\n') as [string, string, string];
    assert.ok(new X509Certificate(authority).ca);
    const machine = '/etc/ssl/certs/ca-certificates.crt';
    assert.equal(bundle, (existsSync(machine) ? readFileSync(machine, 'latin1') : '') + authority);
    assert.deepEqual(JSON.parse(policy).CACertificates, [certificatesIn(authority)[0]!.toString('base64')]);
    const places = Object.entries(trustPlaces).filter(
      ([place]) => !place.includes('java') || existsSync(`/etc/${place}`),
    );
    const compare = places.map(([place, file]) => `cmp /etc/${place} /etc/sealwright/${file}`);
    await said(client(), compare.join(' && '));
  });

  test('two sandboxes have two authorities, also two runs of one session', async () => {
    const session = (await client().sessions.create({})).id;
    const read = ['cat', '/etc/sealwright/ca.pem'];
    const runs = [
      await runOnce(client(), read, { session }),
      await runOnce(client(), read, { session }),
      await runOnce(client(), read),
    ];
    const keys = runs.map(({ stdout }) =>
      String(new X509Certificate(stdout).publicKey.export({ type: 'spki', format: 'pem' })),
    );
    assert.equal(new Set(keys).size, 3);
  });
}

function programTests(client: () => Client): void {
  test('OpenSSL trusts it by its defaults, by file and by folder, and that of another sandbox by neither', {
    skip: missing('openssl'),
  }, async () => {
    const foreign = await said(client(), 'cat /etc/sealwright/ca.pem');
    const verify = 'env -u SSL_CERT_FILE openssl verify -x509_strict';
    const script = [
      'set -e',
      `openssl x509 -noout -subject -in /etc/ssl/certs/${authorityHash}.0`,
      `${verify} /etc/sealwright/ca.pem`,
      `${verify} -no-CAfile -no-CAstore /etc/sealwright/ca.pem`,
      `${verify} -no-CApath -no-CAstore /etc/sealwright/ca.pem`,
      'printf %s "$FOREIGN" > /tmp/foreign.pem',
      `! ${verify} /tmp/foreign.pem`,
      `! ${verify} -no-CAfile -no-CAstore /tmp/foreign.pem`,
    ].join('\n');
    const stdout = await said(client(), script, { FOREIGN: foreign });
    assert.match(stdout, /^subject=CN ?= ?Sealwright sandbox CA$/m);
    assert.equal(stdout.match(/ca\.pem: OK/g)?.length, 3);
  });

  test('Node takes it without a warning', { skip: missing('node') }, async () => {
    const context = "node -e 'require(`tls`).createSecureContext()'";
    const ran = await runOnce(client(), sh(`${context}; NODE_EXTRA_CA_CERTS=/none ${context}`));
    assert.equal(ran.stderr.match(/Warning/g)?.length, 1, `the control alone warns: ${ran.stderr}`);
    assert.match(ran.stderr, /`?\/none`?/);
  });

  test('Java has it in its default store', { skip: missing('keytool') }, async () => {
    const list = 'keytool -list -cacerts -storepass changeit -alias sealwright';
    assert.match(await said(client(), list), /trustedCertEntry/);
  });

  test("the variables lead to it, and the caller's own win", async () => {
    const names = Object.keys(trustEnvironment);
    const print = names.map((name) => `printf '%s\\t%s\\n' ${name} "$${name}"`).join('\n');
    assert.deepEqual(Object.fromEntries(await probe(client(), sh(print))), trustEnvironment);
    const files = Object.values(trustEnvironment).filter((value) => value.startsWith('/'));
    await said(client(), files.map((file) => `test -s ${file}`).join(' && '));
    const own = { SSL_CERT_FILE: '/tmp/mine', NODE_EXTRA_CA_CERTS: '' };
    assert.deepEqual(Object.fromEntries(await probe(client(), sh(print), { env: own })), {
      ...trustEnvironment,
      ...own,
    });
  });
}

function wallTests(client: () => Client): void {
  test('nothing of it can be changed, replaced, covered or added to', async () => {
    const attempts = (folder: string) => [
      `echo x >> ${folder}/ca.pem`,
      `: > ${folder}/ca-certificates.crt`,
      `chmod 666 ${folder}/ca.pem`,
      `chown 10001 ${folder}/ca.pem`,
      `touch ${folder}/ca.pem`,
      `mv ${folder}/ca.pem ${folder}/away.pem`,
      `rm -f ${folder}/ca-certificates.crt`,
      `touch ${folder}/new.pem`,
      `ln -s /tmp/x ${folder}/link`,
    ];
    const places = [
      'ln -sfn /tmp/x /etc/ssl/certs/ca-certificates.crt',
      `rm -f /etc/ssl/certs/${authorityHash}.0`,
      'mv /etc/sealwright /etc/away',
      'mount --bind /tmp/mine /etc/sealwright',
      'umount /etc/sealwright',
    ];
    const lines = [...attempts('/etc/sealwright'), ...places].map(
      (line) => `( ${line} ) 2> /dev/null && echo "did: ${line}"`,
    );
    const control = attempts('/tmp/mine').map((line) => `( ${line} ) || echo "failed: ${line}"`);
    const hash = 'cat /etc/ssl/certs/ca-certificates.crt /etc/sealwright/* | sha256sum';
    const [first, ...rest] = (
      await said(
        client(),
        ['cp -r /etc/sealwright /tmp/mine', hash, ...lines, hash, ...control, ':'].join('\n'),
      )
    )
      .trim()
      .split('\n');
    assert.deepEqual(rest, [first]);
  });
}

/** Prints which files that a sandbox can read have a key. The pattern is none of the words that it finds. */
const searchForKeys = `
printf 'PRIVATE %s\\n' KEY > /tmp/control
export CONTROL="$(cat /tmp/control)"
sh -c 'sleep 5; :' & child=$!
for top in /* /dev/shm; do
  case $top in /usr|/proc|/dev) continue ;; esac
  [ -L "$top" ] || grep -rlasD skip 'PRIVATE[ ]KEY' "$top"
done
grep -lasD skip 'PRIVATE[ ]KEY' /proc/[0-9]*/environ /proc/[0-9]*/cmdline /proc/[0-9]*/fd/* | sed "s/^.proc.$child./child-/;s/^.proc.[0-9]*./other-/" | sort -u
kill $child
:`;

/** How every key of an authority begins, in base64: PKCS#8 for P-256. */
const keyHead = 'MIGHAgEAMBMGByqGSM49';

function keyTests(scene: () => { client: Client; instance: Instance }): void {
  test('no key is in any file that a sandbox can read, nor with any process of it', async () => {
    const found = (await said(scene().client, searchForKeys)).trim().split('\n');
    assert.ok(found.includes('/tmp/control') && found.includes('child-environ'), 'the controls');
    const rest = found.filter((name) => !['/tmp/control', 'child-environ', 'other-environ'].includes(name));
    assert.deepEqual(rest, []);
  });

  test("no key is in the server's data folder while sandboxes live, nor in its log; the certificate goes with its run", async () => {
    const { client, instance } = scene();
    const search = (pattern: string, folder: string) => {
      const { stdout } = spawnSync('grep', ['-rlasFD', 'skip', pattern, folder], { encoding: 'utf8' });
      return stdout.split('\n').filter(Boolean);
    };
    const live = await startRun(client, sh('cat /etc/sealwright/ca.pem; echo ready; exec sleep 60'));
    const [, certificate] = await live.shows(/(-----BEGIN.*)ready/s);
    const trust = join(instance.home, 'runner', 'sandbox', 'trust');
    const line = certificate!.split('\n').at(-4)!; // Of the signature: the beginnings are alike.
    assert.equal(search(line, trust).length, 3, 'the control: its certificate is there');
    // All keys are sent once more.
    const gateway = processesOf(instance.home).find(({ command }) => command.includes('dist/gateway.js'));
    process.kill(gateway!.pid, 'SIGKILL');
    const restarts = () => search('the gateway ended and is started again', join(instance.home, 'logs'));
    await untilNone(() => (restarts().length === 0 ? [gateway] : []), 5_000);
    assert.equal(restarts().length, 1, 'the control: the log is among what is searched');
    const bait = join(instance.home, 'bait');
    writeFileSync(bait, JSON.stringify(createAuthority(0)));
    assert.deepEqual(search(keyHead, instance.home), [bait]);
    rmSync(bait);
    await client.runs.stop(live.id);
    await live.ended;
    assert.deepEqual(search(line, trust), []);
    assert.ok(readdirSync(trust).length > 0);
  });
}
