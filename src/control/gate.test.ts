import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import type { NewEvent } from '../audit/event.ts';
import { owedLimits } from '../audit/limits.ts';
import type { AuditLog } from '../audit/log.ts';
import { systemClock } from '../base/clock.ts';
import { Fault } from '../contract/faults.ts';
import type { Actor } from '../model/actor.ts';
import { decideByRole } from '../model/decide.ts';
import { newId } from '../model/ids.ts';
import type { Scope } from '../model/scopes.ts';
import type { Caller } from './control.ts';
import { type Act, openGate } from './gate.ts';

const logger = { debug() {}, info() {}, warn() {}, error() {} };

function caller(scopes: Scope[], name = 'ann', reach: Actor['reach'] = 'own'): Caller {
  const actor: Actor = { id: `user:${name}`, scopes: new Set(scopes), reach };
  return { actor, request: { id: 'req_1', address: '10.0.0.1', userAgent: 'test' } };
}

const stopIt: Act = {
  action: 'run.stop',
  resource: { kind: 'run', id: 'run_1', session: 'ses_1', owner: 'user:ann' },
};

function using() {
  const events: NewEvent[] = [];
  const state = { fails: false, now: 0 };
  const audit: AuditLog = {
    append: async (event) => {
      if (state.fails) throw new Fault('audit.unavailable', { detail: 'no' });
      events.push(event);
      return { id: newId('event', 1), seq: events.length, hash: '' };
    },
    health: () => (state.fails ? { ok: false, since: 0, reason: 'no' } : { ok: true }),
    probe: async () => ({ ok: true }),
    close: async () => undefined,
  };
  const clock = { now: systemClock.now, monotonic: () => state.now };
  return { events, state, gate: openGate({ audit, access: { decide: decideByRole }, clock, logger }) };
}

const withCode = (code: string) => (error: unknown) => error instanceof Fault && error.code === code;

describe('the gate', () => {
  it('records an attempt before its effect and the outcome after it', async () => {
    const { gate, events } = using();
    const seen: number[] = [];
    const result = await gate.act(caller(['run:write']), stopIt, async () => {
      seen.push(events.length);
      return 7;
    });
    await gate.settled();
    assert.equal(result, 7);
    assert.deepEqual(seen, [1]);
    assert.deepEqual(
      events.map(({ phase, outcome }) => [phase, outcome]),
      [
        ['attempt', 'allowed'],
        ['outcome', 'succeeded'],
      ],
    );
    assert.equal(events[0]?.decision.rule, 'scope:run:write');
    assert.deepEqual(events[0]?.resource, { kind: 'run', id: 'run_1', session: 'ses_1' });
  });

  it('records an effect that failed as failed, with its code and nothing else', async () => {
    const { gate, events } = using();
    const effect = async () => {
      throw new Fault('state.conflict', { detail: 'a detail' });
    };
    await assert.rejects(gate.act(caller(['run:write']), stopIt, effect), withCode('state.conflict'));
    await gate.settled();
    assert.deepEqual([events[1]?.outcome, events[1]?.data], ['failed', { code: 'state.conflict' }]);
  });

  it('lets nothing happen that it cannot record', async () => {
    const { gate, events, state } = using();
    state.fails = true;
    const effect = async () => assert.fail('it happened');
    await assert.rejects(gate.act(caller(['run:write']), stopIt, effect), withCode('audit.unavailable'));
    await assert.rejects(gate.privileged(caller(['run:write']), stopIt), withCode('audit.unavailable'));
    assert.deepEqual(events, []);
  });

  it('lets containment happen all the same, and records it late', async () => {
    const { gate, events, state } = using();
    state.fails = true;
    assert.equal(await gate.contain(caller(['run:write']), stopIt, async () => 'stopped'), 'stopped');
    await gate.settled();
    assert.equal(gate.health().ok, false);
    state.fails = false;
    assert.equal(gate.health().ok, false, 'unhealthy while something is owed');
    while (!gate.health().ok) await pause(owedLimits.retryMinMs / 5);
    assert.deepEqual(
      events.map(({ action, outcome, data }) => [action, outcome, data?.late]),
      [
        ['run.stop', 'allowed', true],
        ['run.stop', 'succeeded', true],
      ],
    );
    assert.match(events[0]!.decision.rule, /containment/);
  });

  it('decides containment like everything else', async () => {
    const { gate } = using();
    const effect = async () => assert.fail('it happened');
    await assert.rejects(gate.contain(caller(['run:read']), stopIt, effect), withCode('access.denied'));
    await assert.rejects(
      gate.contain(caller(['run:write'], 'bob'), stopIt, effect),
      withCode('resource.absent'),
    );
  });

  it('owes the outcome that it could not write, and says so in its health', async () => {
    const { gate, state, events } = using();
    await gate.act(caller(['run:write']), stopIt, async () => {
      state.fails = true;
    });
    await gate.settled();
    state.fails = false;
    assert.match(gate.health().detail ?? '', /1 events/);
    await gate.close();
    assert.deepEqual([events[1]?.phase, events[1]?.data?.late], ['outcome', true]);
  });

  it('answers for what is foreign exactly as for what is absent, and records that it was asked', async () => {
    const { gate, events } = using();
    await assert.rejects(gate.read(caller(['run:write'], 'bob'), stopIt), (error: unknown) => {
      assert(error instanceof Fault);
      assert.deepEqual(
        [error.code, error.detail],
        ['resource.absent', 'No such run, or you may not see it.'],
      );
      assert.deepEqual(error.extra, {});
      return true;
    });
    await gate.settled();
    assert.deepEqual([events[0]?.outcome, events[0]?.decision.rule], ['denied', 'ownership:foreign']);
  });

  it('says what may be done and what a policy forbids, and records neither', async () => {
    const { gate, events } = using();
    assert.equal(gate.may(caller(['run:write']), stopIt), true);
    assert.equal(gate.may(caller(['run:read']), stopIt), false);
    assert.equal(gate.may(caller(['run:write'], 'eve'), stopIt), false);
    assert.equal(gate.forbids(caller(['run:read']), stopIt), false, 'a role forbids nothing, it lacks');
    await gate.settled();
    assert.deepEqual(events, []);
  });

  it('names the scope that a visible denial lacks', async () => {
    const { gate, events } = using();
    await assert.rejects(gate.read(caller(['run:read']), stopIt), (error: unknown) => {
      assert(error instanceof Fault && error.code === 'access.denied');
      assert.deepEqual(error.extra, { required: 'run:write' });
      return true;
    });
    assert.equal(events[0]?.outcome, 'denied');
  });

  it('writes no line for an ordinary read and one for a privileged one', async () => {
    const { gate, events } = using();
    await gate.read(caller(['run:write']), stopIt);
    assert.equal(events.length, 0);
    await gate.privileged(caller(['run:write']), stopIt);
    assert.deepEqual([events[0]?.phase, events[0]?.outcome], ['note', 'succeeded']);
  });

  it('writes the first of identical denials at once and counts the others', async () => {
    const { gate, events, state } = using();
    const deny = () => assert.rejects(gate.read(caller(['run:read']), stopIt));
    for (let count = 0; count < 1000; count += 1) await deny();
    assert.equal(events.length, 1);
    await assert.rejects(gate.read(caller(['run:read'], 'ann2', 'all'), stopIt));
    assert.equal(events.length, 2);
    state.now += owedLimits.denialWindowMs;
    await deny();
    await gate.close();
    assert.deepEqual(
      events.map(({ data }) => data?.repeated ?? null),
      [null, null, 999, null],
    );
  });

  it('bounds what it remembers of denials and of what it owes', async () => {
    const { gate, events, state } = using();
    for (let count = 0; count < owedLimits.denialsTrackedMax + 500; count += 1) {
      const act = { ...stopIt, resource: { kind: 'run', id: `run_${count}` } } as const;
      await assert.rejects(gate.read(caller([]), act));
    }
    assert(events.length <= owedLimits.denialsTrackedMax + 1);
    events.length = 0;
    state.fails = true;
    for (let count = 0; count < owedLimits.eventsMax + 10; count += 1)
      gate.note({
        action: 'x.y',
        actor: { id: 'system:control' },
        resource: { kind: 'cluster' },
        outcome: 'succeeded',
        rule: 'r',
      });
    await gate.settled();
    state.fails = false;
    await gate.close();
    const lost = events.filter(({ action }) => action === 'audit.lost');
    assert.deepEqual(
      lost.map(({ data }) => data),
      [{ events: 10 }],
    );
  });
});
