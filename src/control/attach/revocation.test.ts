import assert from 'node:assert/strict';
import { afterEach, beforeEach, describe, test } from 'node:test';
import {
  attach,
  attachable,
  driverCaller,
  operatorScopes,
  redeemed,
  TestClient,
} from '../../../tests/support/attach-clients.ts';
import { callerOf, TestControl } from '../../../tests/support/test-control.ts';
import type { TokenId } from '../../model/ids.ts';
import type { Caller } from '../control.ts';

const ann = driverCaller();
const root = callerOf({ id: 'user:root', scopes: new Set(['*']), reach: 'all' });
let control: TestControl;

beforeEach(async () => {
  control = await TestControl.open();
});
afterEach(async () => {
  await control[Symbol.asyncDispose]();
});

/** Somebody who came by an API token, which can be revoked. */
async function tokenCaller(actorId = 'service:ci'): Promise<{ caller: Caller; id: TokenId }> {
  const request = { name: 'ci', scopes: [...operatorScopes], actor: actorId, reach: 'all' as const };
  const made = await control.control.tokens.create(root, { request, idempotencyKey: null });
  const actor = await control.control.authenticate({ bearer: made.token }, root.request);
  return { caller: callerOf(actor!), id: made.id as TokenId };
}

async function user(name: string, role: string): Promise<void> {
  const made = await control.store.identity.users.create(
    {
      name,
      displayName: null,
      email: null,
      role,
      eligibleRoles: [],
      phase: 'active',
      passwordHash: null,
      totpSealed: null,
      createdAt: 1,
    },
    { external: null, teams: [] },
  );
  assert.equal(made.outcome, 'created');
  await control.directory.changes.look();
}

/** A client that drives, and one of somebody else who goes on whatever happens to the first. */
async function world(actorId?: string) {
  const made = await attachable(control, ann);
  made.terminal.echoes = true;
  const { caller, id } = await tokenCaller(actorId);
  const driver = await attach(control, caller, made.run, { role: 'driver' });
  await driver.until((client) => client.mayType);
  const witness = await attach(control, ann, made.run);
  await witness.until((client) => client.last('input') !== null);
  await driver.type('before');
  await witness.until(({ text }) => text.endsWith('before'));
  return { ...made, caller, token: id, driver, witness };
}

/** Nothing passes in either direction once `revoke` has resolved, and the connection ends within a second. */
async function cutBy(
  { driver, witness, terminal, caller }: Awaited<ReturnType<typeof world>>,
  revoke: () => Promise<unknown>,
  reason = 'revoked',
): Promise<void> {
  await revoke();
  const began = performance.now();
  const shown = driver.text.length;
  const typing = driver.type('after');
  terminal.write('later');
  await driver.until(({ closed }) => closed !== null);
  assert(performance.now() - began < 1_000);
  await typing;
  await driver.type('after');
  await driver.connection.control({ type: 'drive', takeover: true });
  terminal.write('still later');
  if (witness.closed === null) await witness.until(({ text }) => text.endsWith('still later'));
  assert.equal(driver.closed?.reason, reason);
  assert.equal(driver.text.length, shown, 'no byte later out');
  assert.equal(terminal.typed, 'before', 'no byte later in');
  assert.equal(driver.sentAfterClose, false);
  await control.stop();
  const ended = (await control.events()).filter(({ action }) => action === 'attach.disconnect');
  const own = ended.find(({ data }) => data?.role === 'driver');
  assert.deepEqual([own?.data?.reason, own?.data?.bytesIn, own?.actor.id], [reason, 6, caller.actor.id]);
  await control.start();
}

describe('whoever is attached is cut, and nothing passes later, when', () => {
  test('the token is revoked', async () => {
    const all = await world();
    await cutBy(all, () => control.control.tokens.revoke(root, all.token));
    assert.equal(all.witness.closed?.reason, 'goingAway', 'the others went on until the server stopped');
  });

  test('input of theirs waits for a program, which the runner is not to pass on any more', async () => {
    const all = await world();
    const { terminal, driver, witness } = all;
    const [channel] = terminal.channels;
    terminal.stalls = true;
    await driver.type('waits');
    await witness.until(({ text }) => text.endsWith('waits'));
    const shown = witness.text;
    await control.control.tokens.revoke(root, all.token);
    await driver.until(({ closed }) => closed !== null);
    // With its connection goes, in the runner, what came over it.
    await channel!.closed;
    terminal.stalls = false;
    await control.runner.until(() => terminal.channels.size === 1);
    terminal.write('goes on');
    await witness.until(({ text }) => text.endsWith('goes on'));
    assert.equal(witness.text, `${shown}goes on`);
    assert.equal(witness.closed, null);
  });

  test('the user is disabled', async () => {
    await user('dora', 'operator');
    const all = await world('user:dora');
    await cutBy(all, () => control.control.users.disable(root, 'dora'));
  });

  test('the user’s role no longer holds what driving needs', async () => {
    await user('dora', 'operator');
    const all = await world('user:dora');
    const { version } = await control.control.users.get(root, 'dora');
    await cutBy(all, () => control.control.users.update(root, 'dora', { role: 'auditor' }, version));
  });

  test('a policy forbids it', async () => {
    const all = await world();
    await cutBy(all, () =>
      control.control.accessPolicies.put(
        root,
        'contain',
        { text: 'forbid (principal, action, resource) when { principal.id == "service:ci" };' },
        null,
      ),
    );
  });

  test('attaching is switched off', async () => {
    const all = await world();
    await cutBy(
      all,
      () => control.control.attach.configure(ann, all.session, { enabled: false }),
      'switchedOff',
    );
  });

  test('the session is closed', async () => {
    const all = await world();
    await cutBy(all, () => control.control.sessions.close(ann, all.session), 'ended');
  });

  test('the token has expired', async () => {
    let offset = 0;
    await control[Symbol.asyncDispose]();
    control = await TestControl.open({
      clock: { now: () => Date.now() + offset, monotonic: () => performance.now() + offset },
    });
    const { run } = await attachable(control, ann);
    const request = {
      name: 'ci',
      scopes: ['run:read'],
      actor: 'service:ci',
      reach: 'all',
      expiresInSeconds: 60,
    } as const;
    const made = await control.control.tokens.create(root, {
      request: { ...request, scopes: ['run:read'] },
      idempotencyKey: null,
    });
    const actor = await control.control.authenticate({ bearer: made.token }, root.request);
    const client = await attach(control, callerOf(actor!), run);
    await client.until((viewer) => viewer.last('input') !== null);
    offset += 61_000;
    await client.until(({ closed }) => closed?.reason === 'revoked');
  });
});

test('switching off and closing work while nothing can be recorded', async () => {
  const { driver, session } = await world();
  control.auditFails = true;
  await control.control.attach.configure(ann, session, { enabled: false });
  assert.equal(driver.closed?.reason, 'switchedOff');
  control.auditFails = false;
});

test('a ticket that is redeemed while its actor’s rights go shows nothing', async () => {
  const { run, terminal } = await attachable(control, ann);
  terminal.write('secret');
  const { caller, id } = await tokenCaller();
  const { ticket } = await control.control.attach.ticket(caller, run, {});
  const { begin } = await control.control.attach.redeem({ run, ticket, from: 0, request: caller.request });
  await control.control.tokens.revoke(root, id);
  const client = new TestClient();
  client.connection = begin(client);
  await client.until(({ closed }) => closed !== null);
  assert.deepEqual([client.text, client.frames], ['', []]);
});

test('the lease of whoever was sent away is free at once', async () => {
  const { run, driver, token } = await world();
  await control.control.tokens.revoke(root, token);
  await driver.until(({ closed }) => closed !== null);
  const next = await attach(control, ann, run, { role: 'driver' });
  await next.until((client) => client.mayType);
});

describe('while somebody else’s rights change', () => {
  test('whoever may go on misses no byte', async () => {
    const { witness, terminal } = await world();
    const { id } = await tokenCaller();
    const before = witness.text;
    const revoking = control.control.tokens.revoke(root, id);
    for (let count = 0; count < 50; count += 1) terminal.write(`${count} `);
    await revoking;
    terminal.write('end');
    await witness.until(({ text }) => text.endsWith('end'));
    assert.equal(witness.text, `${before}${Array.from({ length: 50 }, (_, at) => `${at} `).join('')}end`);
    assert.equal(witness.closed, null);
  });
});

describe('the record', () => {
  const failing = async (client: () => Promise<unknown>) => {
    control.auditFails = true;
    try {
      await assert.rejects(client(), (error: { code?: string }) => error.code === 'audit.unavailable');
    } finally {
      control.auditFails = false;
    }
  };

  test('lets nobody in, and starts nothing, while it cannot be written', async () => {
    const { run } = await attachable(control, ann);
    const { attach: uses } = control.control;
    await failing(() => uses.ticket(ann, run, {}));
    await failing(() => uses.exec(ann, run, { command: ['id'] }));
    const { ticket } = await uses.ticket(ann, run, {});
    await failing(() => redeemed(control, ann, run, ticket));
    const exec = await uses.exec(ann, run, { command: ['id'] });
    await failing(() => redeemed(control, ann, run, exec.ticket));
    assert.equal(control.runner.terminals.pipes.length, 0);
    assert.equal(control.runner.terminals.of(run).shown, 0);
  });

  test('takes no input while it cannot be written, says so, and takes it again afterwards', async () => {
    const { driver, terminal } = await world();
    control.auditFails = true;
    await driver.type('evil');
    await driver.until((client) => client.last('input')?.allowed === false);
    assert.equal((driver.last('input') as { bar?: string }).bar, 'unrecorded');
    assert.equal(driver.last('refused')?.code, 'audit.unavailable');
    assert.equal(driver.closed, null, 'looking on goes on');
    control.auditFails = false;
    await driver.until((client) => client.mayType);
    await driver.type('good');
    await control.runner.until(() => terminal.typed === 'beforegood');
  });

  test('gives no lease that it cannot hold', async () => {
    const { run, driver } = await world();
    const second = await attach(control, ann, run, { role: 'driver' });
    await second.until((client) => client.last('input') !== null);
    control.auditFails = true;
    await second.connection.control({ type: 'drive', takeover: true });
    control.auditFails = false;
    assert.equal(second.last('refused')?.code, 'audit.unavailable');
    await driver.until((client) => client.mayType);
    assert(!second.mayType);
  });
});

describe('a recording that cannot be written', () => {
  test('cuts everybody, and lets nobody in until it can be again', async () => {
    const { run, terminal, driver, witness } = await world();
    terminal.record(false);
    for (const client of [driver, witness])
      await client.until(({ closed }) => closed?.reason === 'unrecorded');
    terminal.write('unrecorded');
    await assert.rejects(attach(control, ann, run), /cannot be recorded/);
    terminal.record(true);
    const again = await attach(control, ann, run);
    await again.until((client) => client.last('welcome') !== null);
    assert(!driver.text.includes('unrecorded'));
  });
});
