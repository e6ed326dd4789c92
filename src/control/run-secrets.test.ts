import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { actorOf, callerOf, TestControl, withCode } from '../../tests/support/test-control.ts';
import type { RunId } from '../model/ids.ts';
import { roles } from '../model/scopes.ts';

const owner = callerOf(actorOf('ann'));
const saying = (userAgent: string) => ({ ...owner, request: { ...owner.request, userAgent } });

describe('the secrets of a run', () => {
  it('are on no record from its first event on while it lives, and forgotten when it has ended', async () => {
    await using test = await TestControl.open();
    const session = await test.session(owner);
    const env = { DB_PASSWORD: 'correct-horse', PLAIN: 'plain-as-day' };
    const run = (await test.run(owner, session, { command: ['x=correct-horse', 'y'], env })).id as RunId;
    await test.runner.until(() => test.runner.live.has(run));
    await test.session(saying('correct-horse plain-as-day'));
    const token = test.runner.live.get(run)!.identity;
    await test.session(saying(Buffer.from(token).toString('base64').slice(0, 250)));
    const text = JSON.stringify(await test.events());
    assert.doesNotMatch(text, /correct-horse/);
    assert.ok(text.includes('"program":"x=[redacted:run-environment]"'));
    assert.ok(text.includes('[redacted:run-environment] plain-as-day'), 'what is not secret is left');
    assert.ok(text.includes('"userAgent":"[redacted:run-identity]'));
    test.runner.running(run);
    test.runner.finish(run);
    await test.finished(owner, run);
    assert.equal(test.secretValues.size, 0);
  });

  it('are those of commands beside it, too', async () => {
    await using test = await TestControl.open();
    const owner = callerOf(actorOf('ann', 'own', roles.operator));
    const session = await test.session(owner);
    await test.control.attach.configure(owner, session, { enabled: true });
    const run = (await test.run(owner, session)).id as RunId;
    await test.runner.until(() => test.runner.live.has(run));
    const command = ['psql-correct-horse'];
    await test.control.attach.exec(owner, run, { command, env: { DB_PASSWORD: 'correct-horse' } });
    const text = JSON.stringify(await test.events());
    assert.ok(text.includes('"program":"psql-[redacted:run-environment]"'), text.slice(-800));
    test.runner.running(run);
    test.runner.finish(run);
    await test.finished(owner, run);
    assert.equal(test.secretValues.size, 0);
  });

  it('are forgotten where the run comes to nothing', async () => {
    await using test = await TestControl.open({ config: { liveRunsPerOwnerMax: 0 } });
    const session = await test.session(owner);
    const refused = test.run(owner, session, { env: { DB_PASSWORD: 'correct-horse' } });
    await assert.rejects(refused, withCode('quota.exceeded'));
    assert.equal(test.secretValues.size, 0);
  });

  it('are looked for again when a later control starts the run', async () => {
    await using test = await TestControl.open({ config: { maxRuns: 1 } });
    const session = await test.session(owner);
    const first = (await test.run(owner, session)).id as RunId;
    await test.runner.until(() => test.runner.live.has(first));
    await test.run(owner, session, { env: { DB_PASSWORD: 'correct-horse' } });
    await test.restart();
    await test.connected();
    await test.session(saying('correct-horse'));
    assert.match(JSON.stringify(await test.events()), /\[redacted:run-environment\]/);
  });
});
