import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { decodeJwt } from 'jose';
import { actorOf, callerOf, TestControl } from '../../tests/support/test-control.ts';
import type { RunId } from '../model/ids.ts';
import { controlLimits } from './limits.ts';

const owner = callerOf(actorOf('ann'));

class MovedClock {
  aheadMs = 0;
  now = () => Date.now() + this.aheadMs;
  monotonic = () => performance.now() + this.aheadMs;
}

async function started(test: TestControl): Promise<RunId> {
  const run = (await test.run(owner, await test.session(owner))).id as RunId;
  await test.runner.until(() => test.runner.live.has(run));
  return run;
}

describe('the identity of a run', () => {
  it('comes with its start, is dead once its end is stored, and is on no record', async () => {
    await using test = await TestControl.open();
    const run = await started(test);
    const { identity } = test.runner.live.get(run)!;
    const { runIdentity } = test.directory;
    const verified = await runIdentity.verify(identity);
    assert.deepEqual([verified?.run, verified?.owner], [run, 'user:ann']);
    assert.deepEqual(verified?.audiences, ['http://localhost:7717/runs']);
    test.runner.running(run);
    test.runner.finish(run);
    await test.finished(owner, run);
    assert.equal(await runIdentity.verify(identity), null);
    const shown = JSON.stringify([await test.events(), await test.control.runs.get(owner, run)]);
    assert(!shown.includes(identity.slice(-40)));
  });

  it('is renewed when it is no longer young, and not before', async () => {
    const clock = new MovedClock();
    await using test = await TestControl.open({ clock });
    const run = await started(test);
    const first = test.runner.live.get(run)!.identity;
    const reconnected = async () => {
      test.runner.cut();
      const before = test.runner.countOf('status');
      await test.runner.until(() => test.runner.countOf('status') > before);
      await test.connected();
    };
    await reconnected();
    assert.equal(test.runner.countOf('identity'), 0);
    clock.aheadMs += controlLimits.identityRenewMs;
    await reconnected();
    await test.runner.until(() => test.runner.countOf('identity') === 1);
    const second = test.runner.live.get(run)!.identity;
    assert(decodeJwt(second).exp! >= decodeJwt(first).exp! + controlLimits.identityRenewMs / 1000);
    assert(await test.directory.runIdentity.verify(second));
  });

  it('is renewed at once by a control that did not make it', async () => {
    await using test = await TestControl.open();
    const run = await started(test);
    await test.restart();
    await test.runner.until(() => test.runner.countOf('identity') === 1);
    assert.equal((await test.directory.runIdentity.verify(test.runner.live.get(run)!.identity))?.run, run);
  });

  it('that could not be delivered is delivered on the next connection', async () => {
    const clock = new MovedClock();
    await using test = await TestControl.open({ clock });
    const run = await started(test);
    const first = test.runner.live.get(run)!.identity;
    clock.aheadMs += controlLimits.identityRenewMs;
    test.runner.dropOrders.add('identity');
    test.runner.cut();
    const before = test.runner.countOf('status');
    await test.runner.until(() => test.runner.countOf('status') > before + 1);
    assert.equal(test.runner.live.get(run)!.identity, first);
    test.runner.dropOrders.clear();
    await test.runner.until(() => test.runner.live.get(run)!.identity !== first);
  });
});
