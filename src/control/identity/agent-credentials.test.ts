import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { generateKeyPairSync, X509Certificate } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { actorOf, callerOf, TestControl, withCode } from '../../../tests/support/test-control.ts';
import { clientSecret } from '../../identity/client-secret.ts';
import { secretHash } from '../../identity/token-secret.ts';
import type { ActorId } from '../../model/actor.ts';
import { roles } from '../../model/scopes.ts';
import type { Caller } from '../control.ts';
import { controlLimits } from '../limits.ts';

const admin = callerOf(actorOf('boss', 'all', roles.admin));
const helpdesk = callerOf(actorOf('help', 'all', ['identity:read', 'identity:write']));
const stranger = callerOf(actorOf('lead', 'own', ['identity:read', 'identity:write']));
const { request } = admin;
const denied = withCode('access.denied');
const id: ActorId = 'agent:a';

const publicJwk = () =>
  generateKeyPairSync('ed25519').publicKey.export({ format: 'jwk' }) as Record<string, unknown>;

async function opened(scopes: readonly 'run:read'[] = ['run:read']): Promise<TestControl> {
  const test = await TestControl.open();
  await test.control.agents.create(admin, { kind: 'agent', name: 'a', role: 'worker', scopes: [...scopes] });
  return test;
}

/** The agent behind a secret, as the token endpoint finds it. */
async function ofSecret(test: TestControl, secret: string): Promise<string | null> {
  const { agents } = test.store.identity;
  return (await agents.credentialByProof('secret', secretHash(secret), Date.now()))?.agent ?? null;
}

describe('a client secret', () => {
  it('is shown once, stored hashed, and one of several that work at a time', async () => {
    await using test = await opened();
    const { agentCredentials } = test.control;
    const first = await agentCredentials.addSecret(admin, id, { name: 'old', expiresInSeconds: 60 });
    const second = await agentCredentials.addSecret(admin, id, { expiresInSeconds: 60 });
    for (const { secret, clientId } of [first, second]) {
      assert(clientSecret.fits(secret) && secret.startsWith('sws_'));
      assert.deepEqual([clientId, await ofSecret(test, secret)], [id, id]);
    }
    const listed = await agentCredentials.list(admin, id);
    assert.deepEqual(
      listed.map((one) => [one.id, one.kind, one.name, one.thumbprint]),
      [
        [first.id, 'secret', 'old', null],
        [second.id, 'secret', null, null],
      ],
    );
    const everything = JSON.stringify([
      listed,
      await test.events(),
      await test.store.identity.agents.credential(first.id),
    ]);
    assert(!everything.includes(first.secret.slice(4, 34)));
    await agentCredentials.revoke(admin, id, first.id);
    assert.deepEqual([await ofSecret(test, first.secret), await ofSecret(test, second.secret)], [null, id]);
    await assert.rejects(agentCredentials.revoke(admin, id, first.id), withCode('resource.absent'));
  });

  it('ends, and with it what came from it', async () => {
    await using test = await opened();
    const made = await test.control.agentCredentials.addSecret(admin, id, { expiresInSeconds: 60 });
    const { signIns } = test.directory;
    const proof = { at: Date.now(), methods: [], mfa: false, provider: null, providerSession: null };
    const { record } = await signIns.openProgram({
      ...{ actor: id, proof, address: null, userAgent: null, client: id, scopes: null, reach: null },
      ...{ parent: made.id, refreshable: false },
    });
    assert.equal((await signIns.actorOf(record.id))?.id, id);
    await test.control.agentCredentials.revoke(admin, id, made.id);
    assert.equal(await signIns.actorOf(record.id), null);
  });

  it('of an agent that may do more is nobody’s to make who may do less', async () => {
    await using test = await opened();
    const { agentCredentials } = test.control;
    const expiresInSeconds = 60;
    await assert.rejects(agentCredentials.addSecret(helpdesk, id, { expiresInSeconds }), denied);
    await assert.rejects(agentCredentials.addKey(helpdesk, id, { jwk: publicJwk() }), denied);
    await assert.rejects(agentCredentials.issueCertificate(helpdesk, id, { request: '' }), denied);
    assert.deepEqual(await agentCredentials.list(admin, id), []);
    const events = (await test.events()).filter(({ outcome }) => outcome === 'denied');
    assert.deepEqual(
      events.map(({ action, decision }) => [action, decision.rule]),
      [['agent.credential.create', 'scope:run:read:missing']],
    );
    // Taking away is another matter.
    const made = await agentCredentials.addSecret(admin, id, { expiresInSeconds });
    await agentCredentials.revoke(helpdesk, id, made.id);
    assert.equal(await ofSecret(test, made.secret), null);
  });

  it('of another’s agent can be neither made, seen nor revoked', async () => {
    await using test = await opened();
    const { agentCredentials } = test.control;
    const made = await agentCredentials.addSecret(admin, id, { expiresInSeconds: 60 });
    const gone = withCode('resource.absent');
    await assert.rejects(agentCredentials.list(stranger, id), gone);
    await assert.rejects(agentCredentials.addSecret(stranger, id, { expiresInSeconds: 60 }), gone);
    await assert.rejects(agentCredentials.revoke(stranger, id, made.id), gone);
    await test.control.agents.create(admin, { kind: 'agent', name: 'b', role: 'worker' });
    await assert.rejects(agentCredentials.revoke(admin, 'agent:b', made.id), gone);
    assert.equal(await ofSecret(test, made.secret), id);
  });

  it('is one of so many at most', async () => {
    await using test = await opened();
    const { agentCredentials } = test.control;
    const add = () => agentCredentials.addSecret(admin, id, { expiresInSeconds: 60 });
    for (let count = 0; count < controlLimits.agentCredentialsMax; count += 1) await add();
    await assert.rejects(add(), withCode('quota.exceeded'));
    const [oldest] = await agentCredentials.list(admin, id);
    await agentCredentials.revoke(admin, id, oldest!.id);
    await add();
  });

  it('is revoked even while nothing can be recorded, and made by nobody then', async () => {
    await using test = await opened();
    const { agentCredentials } = test.control;
    const made = await agentCredentials.addSecret(admin, id, { expiresInSeconds: 60 });
    test.auditFails = true;
    await assert.rejects(
      agentCredentials.addSecret(admin, id, { expiresInSeconds: 60 }),
      withCode('audit.unavailable'),
    );
    await agentCredentials.revoke(admin, id, made.id);
    assert.equal(await ofSecret(test, made.secret), null);
  });
});

describe('a public key', () => {
  it('proves one agent alone, and once it was revoked nobody', async () => {
    await using test = await opened();
    const { agents, agentCredentials } = test.control;
    await agents.create(admin, { kind: 'agent', name: 'b', role: 'worker' });
    const jwk = publicJwk();
    const made = await agentCredentials.addKey(admin, id, { jwk, name: 'laptop' });
    assert.deepEqual([made.kind, made.name, made.expiresAt], ['public-key', 'laptop', null]);
    const taken = withCode('state.conflict');
    await assert.rejects(agentCredentials.addKey(admin, id, { jwk }), taken);
    await assert.rejects(agentCredentials.addKey(admin, 'agent:b', { jwk: { ...jwk, kid: 'x' } }), taken);
    await agentCredentials.revoke(admin, id, made.id);
    await assert.rejects(agentCredentials.addKey(admin, 'agent:b', { jwk }), taken);
    const attempt = (await test.events()).find(({ action }) => action === 'agent.credential.create');
    assert.deepEqual(attempt?.data, {
      credential: made.id,
      kind: 'public-key',
      expiresAt: null,
      thumbprint: made.thumbprint,
    });
  });

  it('that is a private one is refused and stays on no record', async () => {
    await using test = await opened();
    const jwk = generateKeyPairSync('ed25519').privateKey.export({ format: 'jwk' });
    await assert.rejects(
      test.control.agentCredentials.addKey(admin, id, { jwk: { ...jwk } }),
      withCode('request.invalid'),
    );
    assert(!JSON.stringify(await test.events()).includes(jwk.d!));
  });
});

describe('a certificate', () => {
  let folder: string;
  let csr: string;
  before(() => {
    folder = mkdtempSync(join(tmpdir(), 'sealwright-csr-'));
    const words = 'req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=x -keyout key.pem';
    const stdio = ['ignore', 'pipe', 'ignore'] as const;
    csr = execFileSync('openssl', words.split(' '), { cwd: folder, stdio: [...stdio] }).toString('utf8');
  });
  after(() => rmSync(folder, { recursive: true, force: true }));

  async function callerBy(test: TestControl, certificate: string): Promise<Caller | null> {
    const fingerprint = new X509Certificate(certificate).fingerprint256.replaceAll(':', '').toLowerCase();
    const actor = await test.control.authenticate({ certificate: fingerprint }, request);
    return actor === null ? null : { actor, request };
  }

  it('proves its agent until it is revoked, and is told with the authority afterwards', async () => {
    await using test = await opened();
    const { agentCredentials, authority } = test.control;
    const made = await agentCredentials.issueCertificate(admin, id, { request: csr });
    assert.equal(Date.parse(made.expiresAt!), +new X509Certificate(made.certificate).validToDate);
    const before = await authority.get(admin);
    assert.deepEqual(
      made.authorities,
      before.certificates.map((one) => one.certificate),
    );
    assert.deepEqual([before.trustDomain, before.revoked], ['sealwright.test', []]);
    const caller = await callerBy(test, made.certificate);
    assert.deepEqual([caller?.actor.id, caller?.actor.narrowed], [id, true]);
    await agentCredentials.revoke(admin, id, made.id);
    assert.equal(await callerBy(test, made.certificate), null);
    assert.equal(await test.control.renew(caller!), null);
    const [revoked] = (await authority.get(admin)).revoked;
    assert.deepEqual(
      [revoked?.credential, revoked?.agent, revoked?.fingerprint],
      [made.id, id, made.thumbprint],
    );
  });

  it('is renewed by the agent that has it, and on record before it is handed out', async () => {
    await using test = await opened();
    const { agentCredentials } = test.control;
    const made = await agentCredentials.issueCertificate(admin, id, { request: csr });
    const caller = (await callerBy(test, made.certificate))!;
    const next = await agentCredentials.renewCertificate(caller, { request: csr, expiresInSeconds: 600 });
    assert.equal((await callerBy(test, next.certificate))?.actor.id, id);
    const event = (await test.events()).find(({ action }) => action === 'agent.certificate.renew');
    const { credential, with: held } = (event?.data ?? {}) as Record<string, string>;
    assert.deepEqual([event?.actor.id, credential, held], [id, next.id, made.id]);
    assert.equal(event?.actor.token, made.id, 'a note says by which credential');
    test.auditFails = true;
    await assert.rejects(
      agentCredentials.renewCertificate(caller, { request: csr }),
      withCode('audit.unavailable'),
    );
    test.auditFails = false;
    assert.equal((await agentCredentials.list(admin, id)).length, 2);
    await agentCredentials.revoke(admin, id, made.id);
    await assert.rejects(agentCredentials.renewCertificate(caller, { request: csr }), denied);
  });

  it('comes of nothing else that an agent, or anybody, has', async () => {
    await using test = await opened();
    const { agentCredentials, tokens } = test.control;
    const secret = await agentCredentials.addSecret(admin, id, { expiresInSeconds: 60 });
    const token = await tokens.create(admin, {
      request: { name: 't', scopes: ['run:read'], actor: id },
      idempotencyKey: null,
    });
    const bearer = (await test.control.authenticate({ bearer: token.token }, request))!;
    assert.equal(bearer.id, id);
    const bySecret = { ...actorOf('x'), id, credential: secret.id };
    for (const actor of [bearer, bySecret, admin.actor, { ...actorOf('y'), id: 'agent:never' as const }])
      await assert.rejects(agentCredentials.renewCertificate({ actor, request }, { request: csr }), denied);
  });

  it('that somebody asks for wrongly leaves nothing behind', async () => {
    await using test = await opened();
    const bad = csr.replace(/\n.{20}/, '\nAAAAAAAAAAAAAAAAAAAA');
    await assert.rejects(
      test.control.agentCredentials.issueCertificate(admin, id, { request: bad }),
      withCode('request.invalid'),
    );
    assert.deepEqual(await test.control.agentCredentials.list(admin, id), []);
  });

  it('ends with its authority, where that is replaced without an overlap', async () => {
    await using test = await opened();
    const { agentCredentials, authority } = test.control;
    const first = await agentCredentials.issueCertificate(admin, id, { request: csr });
    assert(await callerBy(test, first.certificate));
    await authority.rotate(admin, {});
    assert(await callerBy(test, first.certificate));
    const second = await agentCredentials.issueCertificate(admin, id, { request: csr });
    assert.equal(second.authorities.length, 2);
    await authority.rotate(admin, { overlapSeconds: 0 });
    assert.equal(await callerBy(test, first.certificate), null);
    assert.equal(await callerBy(test, second.certificate), null);
    assert.equal((await authority.get(admin)).certificates.length, 1);
    await assert.rejects(authority.rotate(callerOf(actorOf('dev')), {}), denied);
    await assert.rejects(authority.get(callerOf(actorOf('dev'))), denied);
  });
});
