import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { newId, type RunId, type SessionId } from '../model/ids.ts';
import { Scheduler, type Waiting } from './scheduler.ts';

const sessions: SessionId[] = Array.from({ length: 4 }, () => newId('session', 1));
const [one, two, three] = sessions as [SessionId, SessionId, SessionId, SessionId];

function using(config: { maxRuns?: number; maxRunsPerSession?: number } = {}) {
  const started: RunId[] = [];
  const scheduler = new Scheduler({ maxRuns: 1, maxRunsPerSession: 1, ...config }, (run) =>
    started.push(run),
  );
  scheduler.setOpen(true);
  const enqueue = (session: SessionId, queuedAt: number, priority = 0): RunId => {
    const run = newId('run', queuedAt);
    scheduler.enqueue({ run, session, priority, queuedAt });
    return run;
  };
  return { scheduler, started, enqueue };
}

describe('the scheduler', () => {
  it('starts the first come first, one at a time', () => {
    const { scheduler, started, enqueue } = using();
    const [a, b, c] = [enqueue(one, 1), enqueue(two, 2), enqueue(three, 2)];
    assert.deepEqual(started, [a]);
    scheduler.release(a);
    scheduler.release(b);
    assert.deepEqual(started, [a, b, c]);
  });

  it('lets ten seconds of waiting weigh as much as a point of priority', () => {
    const { scheduler, started, enqueue } = using();
    const first = enqueue(one, 0);
    const old = enqueue(two, 0);
    const urgent = enqueue(three, 9_999, 1);
    const late = enqueue(sessions[3]!, 10_001, 1);
    for (const run of [first, urgent, old]) scheduler.release(run);
    assert.deepEqual(started, [first, urgent, old, late]);
  });

  it('passes over a session that is busy, so that it blocks nobody else', () => {
    const { scheduler, started, enqueue } = using({ maxRuns: 2 });
    const [a, b, c] = [enqueue(one, 1), enqueue(one, 2), enqueue(two, 3)];
    assert.deepEqual(started, [a, c]);
    scheduler.release(a);
    assert.deepEqual(started, [a, c, b]);
  });

  it('gives a free slot at once, but never past somebody who waits in the same session', () => {
    const { scheduler, enqueue } = using({ maxRuns: 2 });
    assert(scheduler.tryReserve(newId('run', 1), one));
    assert(!scheduler.tryReserve(newId('run', 1), one));
    const waiting = enqueue(one, 2);
    assert(scheduler.dequeue(waiting));
    assert(!scheduler.dequeue(waiting));
    assert(scheduler.tryReserve(newId('run', 1), two));
    assert(!scheduler.tryReserve(newId('run', 1), three));
  });

  it('starts nothing while it is closed', () => {
    const { scheduler, started, enqueue } = using();
    scheduler.setOpen(false);
    const run = enqueue(one, 1);
    assert(!scheduler.tryReserve(newId('run', 1), two));
    assert.deepEqual(started, []);
    scheduler.setOpen(true);
    assert.deepEqual(started, [run]);
  });

  it('releases only what holds a slot, and that once', () => {
    const { scheduler, enqueue } = using();
    const [a, b] = [enqueue(one, 1), enqueue(two, 2)];
    scheduler.release(newId('run', 1));
    scheduler.release(b);
    assert.equal(scheduler.running, 1);
    scheduler.release(a);
    scheduler.release(a);
    assert.equal(scheduler.running, 1);
  });

  it('serves a start that fails and releases at once without losing the rest', () => {
    const started: RunId[] = [];
    const scheduler: Scheduler = new Scheduler({ maxRuns: 1, maxRunsPerSession: 1 }, (run) => {
      started.push(run);
      scheduler.release(run);
    });
    const runs = [1, 2, 3].map(
      (at): Waiting => ({ run: newId('run', at), session: one, priority: 0, queuedAt: at }),
    );
    for (const waiting of runs) scheduler.enqueue(waiting);
    scheduler.setOpen(true);
    assert.deepEqual(
      started,
      runs.map(({ run }) => run),
    );
  });

  it('never exceeds a limit and starts everything in the end, whatever comes and goes', () => {
    const step = fc.oneof(
      fc.record({ session: fc.constantFrom(...sessions), priority: fc.integer({ min: -5, max: 5 }) }),
      fc.nat(10),
    );
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
        const live: { run: RunId; session: SessionId }[] = [];
        const sessionOf = new Map<RunId, SessionId>();
        const scheduler = new Scheduler({ maxRuns: 3, maxRunsPerSession: 2 }, (run) => {
          live.push({ run, session: sessionOf.get(run)! });
          assert(live.length <= 3);
          for (const session of sessions) assert(live.filter((one) => one.session === session).length <= 2);
        });
        scheduler.setOpen(true);
        let at = 0;
        for (const next of steps) {
          if (typeof next === 'number') {
            const [gone] = live.splice(next % Math.max(1, live.length), 1);
            if (gone !== undefined) scheduler.release(gone.run);
            continue;
          }
          const run = newId('run', ++at);
          sessionOf.set(run, next.session);
          scheduler.enqueue({ run, session: next.session, priority: next.priority, queuedAt: at });
        }
        while (live.length > 0) scheduler.release(live.shift()!.run);
        assert.equal(scheduler.waiting, 0);
      }),
    );
  });
});
