import assert from 'node:assert/strict';
import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, afterEach, before, describe, it } from 'node:test';
import { pino } from 'pino';
import { systemClock } from '../../src/base/clock.ts';
import { ApiError } from '../../src/client/api-error.ts';
import { type Client, createClient } from '../../src/client/client.ts';
import { openFlags } from '../../src/flags/flags.ts';
import { openChangeFeed } from '../../src/identity/change-feed.ts';
import type { ActorId } from '../../src/model/actor.ts';
import { type GrantableScope, type Role, roleReach, roles } from '../../src/model/scopes.ts';
import { type OpenServer, openServer } from '../../src/server/server.ts';
import { openSqliteStore } from '../../src/store/sqlite/open.ts';
import { ownerActor } from '../support/fake-control.ts';
import { TestControl } from '../support/test-control.ts';
import { wideRates } from '../support/test-server.ts';

/** Feature flags over HTTP, from a file, and in a second process on the same store. */

const flag = 'sso-tickets';

/** The second process: says what the flag says to one actor, at the start and after every change. */
async function follow(file: string, folder: string): Promise<void> {
  const store = await openSqliteStore({ file });
  const flags = await openFlags({
    store: store.identity.flags,
    place: { folder },
    onProblems: () => undefined,
    lookEveryMs: 3_600_000,
  });
  const changes = await openChangeFeed({
    store: store.identity.changes,
    clock: systemClock,
    onError: () => {},
  });
  const say = async () => process.send?.(await flags.isOn(flag, { id: 'user:ada' }));
  changes.on(({ kind }) => {
    if (kind === 'flag') void flags.look().then(say);
  });
  process.on('disconnect', () => process.exit());
  await say();
}

if (process.argv[2] === 'follow') await follow(process.argv[3]!, process.argv[4]!);
else describe('feature flags', suite);

function suite(): void {
  let test: TestControl;
  let server: OpenServer;
  const clients: Client[] = [];

  before(async () => {
    test = await TestControl.open({ withRunner: false });
    server = await openServer({
      control: test.control,
      logger: pino({ level: 'silent' }),
      listen: { host: '127.0.0.1', port: 0 },
      localSocketPath: null,
      identity: { localOwner: ownerActor },
      version: '0.0.0-test',
      rateLimits: wideRates,
    });
  });
  afterEach(async () => {
    rmSync(join(test.folder, 'flags.yaml'), { force: true });
    for (const { name } of await test.store.identity.flags.list())
      await test.store.identity.flags.remove(name);
    await test.flags.look();
  });
  after(async () => {
    for (const client of clients) client.close();
    await server.close();
    await test[Symbol.asyncDispose]();
  });

  async function as(name: string, scopes: readonly GrantableScope[]): Promise<Client> {
    const actor: ActorId = `user:${name}`;
    const issued = await test.directory.tokens.issue(
      { name, actor, scopes: [...scopes], reach: 'all', expiresAt: null },
      null,
    );
    assert('secret' in issued);
    const client = createClient({ url: server.address, token: issued.secret });
    clients.push(client);
    return client;
  }
  const admin = () => as('root', roles.admin);
  const refused = (code: string) => (error: unknown) => error instanceof ApiError && error.code === code;

  it('answer nobody', async () => {
    const nobody = createClient({ url: server.address });
    clients.push(nobody);
    for (const call of [
      () => nobody.flags.list(),
      () => nobody.flags.get(flag),
      () => nobody.flags.put(flag, { rule: 'on' }),
      () => nobody.flags.remove(flag),
      () => nobody.flags.explain(flag, { actor: 'user:ada' }),
    ])
      await assert.rejects(call(), refused('auth.missing'));
  });

  it('are read and changed by whose role has the scope, and by nobody else', async () => {
    for (const role of Object.keys(roleReach) as Role[]) {
      const held: readonly GrantableScope[] = roles[role];
      const client = await as(`one-${role}`, held);
      const may = async (call: Promise<unknown>, scope: GrantableScope) => {
        if (held.includes(scope)) await call;
        else await assert.rejects(call, refused('access.denied'), `${role} ${scope}`);
      };
      await may(client.flags.list(), 'cluster:read');
      await may(client.flags.explain(flag, { actor: 'user:ada' }), 'identity:read');
      const put = () => client.flags.put(flag, { rule: 'on' });
      if (held.includes('cluster:read')) await may(put(), 'flag:write');
      await may(client.flags.remove(flag), 'flag:write');
      assert.equal(await test.flags.isOn(flag, { id: 'user:ada' }), false, `after ${role}`);
    }
  });

  it('are off until an administrator opens them, in stages, and off again when they are unset', async () => {
    const client = await admin();
    const isOn = async (actor: string) => (await client.flags.explain(flag, { actor })).on;
    assert.deepEqual(
      (await client.flags.list()).items.map(({ name, rule, source }) => [name, rule, source]),
      [[flag, 'off', 'default']],
    );
    assert.equal(await isOn('user:ada'), false);
    await client.flags.put(flag, { rule: [{ percentage: 100 }] });
    assert.equal(await isOn('user:ada'), true);
    const changed = await client.flags.put(flag, { rule: ['admins', { teams: ['platform'] }] });
    assert.deepEqual([changed.source, changed.set?.author], ['api', 'user:root']);
    assert.equal(await isOn('user:ada'), false);
    await client.flags.put(flag, { rule: 'on' });
    assert.equal(await isOn('user:ada'), true);
    await client.flags.remove(flag);
    assert.equal(await isOn('user:ada'), false);
    await assert.rejects(client.flags.remove(flag), refused('resource.absent'));
  });

  it('look at the role and the teams that somebody has now', async () => {
    const { identity } = test.store;
    const user = { displayName: null, email: null, eligibleRoles: [], phase: 'active' } as const;
    const secrets = { passwordHash: null, totpSealed: null, createdAt: 1 };
    for (const [name, role, teams] of [
      ['grace', 'admin', []],
      ['linus', 'developer', ['platform']],
      ['eve', 'developer', []],
    ] as const)
      await identity.users.create({ name, role, ...user, ...secrets }, { external: null, teams: [...teams] });
    const client = await admin();
    await client.flags.put(flag, { rule: ['admins', { teams: ['platform'] }] });
    const by = async (actor: string) => (await client.flags.explain(flag, { actor })).by;
    assert.equal(await by('user:grace'), 'admins');
    assert.equal(await by('user:linus'), 'team:platform');
    assert.equal(await by('user:eve'), 'none');
    assert.equal(await by('user:nobody-of-this-name'), 'none');
    for (const actor of ['system:local', 'ada', 'user:', 'user:Ada', ''])
      await assert.rejects(client.flags.explain(flag, { actor }), refused('request.invalid'), actor);
  });

  it('that nobody made and rules that are none are refused', async () => {
    const client = await admin();
    for (const name of ['no-such-flag', 'constructor']) {
      await assert.rejects(client.flags.put(name, { rule: 'on' }), refused('resource.absent'));
      await assert.rejects(client.flags.get(name), refused('resource.absent'));
    }
    for (const rule of [
      'ON',
      true,
      [],
      [{ percentage: 101 }],
      ['admins', 'admins'],
      [{ teams: ['a'], until: 1 }],
    ])
      await assert.rejects(client.flags.put(flag, { rule } as never), refused('request.invalid'));
    assert.equal((await client.flags.get(flag)).set, null);
  });

  it('are not changed over somebody else’s change', async () => {
    const client = await admin();
    await client.flags.put(flag, { rule: 'on' });
    const token = await test.directory.tokens.issue(
      { name: 'raw', actor: 'user:root', scopes: [...roles.admin], reach: 'all', expiresAt: null },
      null,
    );
    assert('secret' in token);
    const put = async (ifMatch: string | null) => {
      const headers = {
        authorization: `Bearer ${token.secret}`,
        'content-type': 'application/json',
        ...(ifMatch === null ? {} : { 'if-match': ifMatch }),
      };
      const body = JSON.stringify({ rule: 'off' });
      return await fetch(`${server.address}/api/v1/flags/${flag}`, { method: 'PUT', headers, body });
    };
    assert.equal((await put(null)).status, 428);
    for (const tag of ['"v0"', '"v9"', '*']) assert.equal((await put(tag)).status, 412, tag);
    assert.equal((await client.flags.get(flag)).rule, 'on');
    const read = await fetch(`${server.address}/api/v1/flags/${flag}`, {
      headers: { authorization: `Bearer ${token.secret}` },
    });
    const changed = await put(read.headers.get('etag'));
    assert.equal(changed.status, 200);
    assert.notEqual(changed.headers.get('etag'), read.headers.get('etag'));
  });

  it('are on the record with who changed them to what', async () => {
    const client = await admin();
    await client.flags.put(flag, { rule: ['admins'] });
    await client.flags.remove(flag);
    const events = (await test.events()).filter(
      ({ phase, resource }) => phase === 'attempt' && resource.id === flag,
    );
    const last = events.slice(-2).map(({ action, actor, data }) => [action, actor.id, data?.rule]);
    assert.deepEqual(last, [
      ['flag.put', 'user:root', ['admins']],
      ['flag.remove', 'user:root', undefined],
    ]);
  });

  it('are not opened while nothing can be recorded, and are closed all the same', async () => {
    const client = await admin();
    await client.flags.put(flag, { rule: 'on' });
    test.auditFails = true;
    try {
      await assert.rejects(client.flags.put(flag, { rule: ['admins'] }), refused('audit.unavailable'));
      assert.equal(await test.flags.isOn(flag, { id: 'user:ada' }), true);
      await client.flags.put(flag, { rule: 'off' });
      assert.equal(await test.flags.isOn(flag, { id: 'user:ada' }), false);
      await client.flags.remove(flag);
    } finally {
      test.auditFails = false;
    }
  });

  it('are what the file says, and a broken file is said in the list and in readiness', async () => {
    const client = await admin();
    await client.flags.put(flag, { rule: 'on' });
    const write = async (text: string) => {
      writeFileSync(join(test.folder, 'flags.yaml'), text);
      await test.flags.look();
      return (await client.flags.list()).items[0]!;
    };
    const said = await write('sso-tickets: off');
    assert.deepEqual([said.rule, said.source, said.set?.rule], ['off', 'file', 'on']);
    const broken = await write('sso-tickets: on\nno-such-flag: on\n');
    assert.deepEqual([broken.rule, broken.source], ['off', 'file']);
    assert.match((await client.flags.list()).problems.join(), /no-such-flag is not a flag/);
    const { flags } = (await client.readiness()).checks;
    assert.equal(flags?.ok, false);
    assert(!flags?.detail?.includes('no-such-flag'), 'what a file holds is not for everybody');
    const mended = await write('sso-tickets: on');
    assert.deepEqual([mended.rule, (await client.flags.list()).problems], ['on', []]);
    assert.equal((await client.readiness()).checks.flags?.ok, true);
  });

  it('changed in one process are followed by another, and what it was told comes from the store alone', async () => {
    const other: ChildProcess = fork(import.meta.filename, [
      'follow',
      join(test.folder, 'store.db'),
      test.folder,
    ]);
    const next = async () =>
      (await once(other, 'message', { signal: AbortSignal.timeout(10_000) }))[0] as boolean;
    try {
      assert.equal(await next(), false);
      const client = await admin();
      for (const [change, isOn] of [
        [() => client.flags.put(flag, { rule: 'on' }), true],
        [() => client.flags.put(flag, { rule: ['admins'] }), false],
        [() => client.flags.put(flag, { rule: [{ percentage: 100 }] }), true],
        [() => client.flags.remove(flag), false],
      ] as const) {
        const [answer] = await Promise.all([next(), change()]);
        assert.equal(answer, isOn);
      }
    } finally {
      other.kill();
    }
  });
}
