import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { newId } from '../../model/ids.ts';
import { attachModes, leaseMs } from '../../model/terminal.ts';
import {
  dropLease,
  exclusiveHolder,
  grantLease,
  handLease,
  type Leases,
  lapsedLeases,
  leaseOf,
  leaveLease,
  renewLease,
} from './leases.ts';

const drivers = Array.from({ length: 4 }, (_, index) => ({
  connection: newId('connection', index + 1),
  key: `user:${'ab'[index % 2]}`,
}));
const [a, b, c] = drivers as [(typeof drivers)[0], (typeof drivers)[0], (typeof drivers)[0]];
const ask = (leases: Leases, driver: typeof a, now: number, takeover = false) =>
  grantLease(leases, 'exclusive', driver, { takeover, now });

function taken(driver: typeof a, now: number): Leases {
  const granted = ask([], driver, now);
  assert(granted.outcome === 'granted');
  return granted.leases;
}

test('a free lease is granted, one that is held is not, and a takeover takes it', () => {
  const leases = taken(a, 0);
  assert.equal(ask(leases, a, 1).outcome, 'holds');
  assert.equal(ask(leases, b, 1).outcome, 'held');
  const over = ask(leases, b, 1, true);
  assert(over.outcome === 'granted' && over.from?.holder === a.connection);
  assert.equal(leaseOf(over.leases, a.connection, 1), null);
  assert.notEqual(leaseOf(over.leases, b.connection, 1), null);
});

test('a lease lapses after thirty seconds unless it is renewed, and then another has it', () => {
  const leases = taken(a, 0);
  assert.equal(ask(leases, b, leaseMs - 1).outcome, 'held');
  assert.equal(ask(leases, b, leaseMs).outcome, 'granted');
  const renewed = renewLease(leases, a.connection, leaseMs - 1);
  assert.equal(ask(renewed, b, leaseMs).outcome, 'held');
  assert.deepEqual(renewLease(leases, a.connection, leaseMs), leases, 'a lapsed one is not renewed');
  assert.deepEqual(lapsedLeases(leases, leaseMs), leases);
});

test('who comes back within the time has it again, and nobody else by that', () => {
  const left = leaveLease(taken(a, 0), a.connection);
  assert.equal(leaseOf(left, a.connection, 1), null, 'nobody types who is not there');
  assert.equal(ask(left, b, 1).outcome, 'held', 'another actor');
  const back = ask(left, c, 1);
  assert(back.outcome === 'granted' && back.from?.holder === a.connection, 'the same actor and credential');
  assert.equal(ask(taken(a, 0), c, 1).outcome, 'held', 'a second connection takes nothing from the first');
});

test('a hand-over gives it to another whoever has it', () => {
  const handed = handLease(taken(a, 0), b, 1);
  assert(handed.outcome === 'granted');
  assert.deepEqual([handed.lease.holder, handed.lease.until], [b.connection, 1 + leaseMs]);
  assert.equal(handLease(handed.leases, b, 2).outcome, 'holds');
});

test('collaborating drivers have leases of their own', () => {
  const first = grantLease([], 'collaborative', a, { takeover: false, now: 0 });
  assert(first.outcome === 'granted');
  const both = grantLease(first.leases, 'collaborative', b, { takeover: false, now: 10 });
  assert(both.outcome === 'granted' && both.leases.length === 2 && both.from === null);
  assert.equal(leaseOf(both.leases, a.connection, leaseMs), null);
  assert.notEqual(leaseOf(both.leases, b.connection, leaseMs), null);
});

test('whatever happens in whatever order: one driver at a time in exclusive mode, and none past its time', () => {
  const driver = fc.nat({ max: 3 });
  const step = fc.oneof(
    fc.record({ do: fc.constant('drive' as const), driver, takeover: fc.boolean() }),
    fc.record({ do: fc.constantFrom('renew', 'leave', 'release', 'hand'), driver }),
    fc.record({ do: fc.constant('pass' as const), ms: fc.nat({ max: leaseMs }) }),
  );
  fc.assert(
    fc.property(fc.constantFrom(...attachModes), fc.array(step, { maxLength: 40 }), (mode, steps) => {
      let leases: Leases = [];
      let now = 0;
      /** When each last did what grants or renews; the model of who may type. */
      const until = new Map<string, number>();
      for (const one of steps) {
        if (one.do === 'pass') {
          now += one.ms;
          continue;
        }
        const who = drivers[one.driver]!;
        const holder = exclusiveHolder(leases, mode, now);
        const granted =
          one.do === 'drive'
            ? grantLease(leases, mode, who, { takeover: one.takeover, now })
            : one.do === 'hand' && mode === 'exclusive'
              ? handLease(leases, who, now)
              : null;
        if (granted?.outcome === 'granted') {
          if (mode === 'exclusive') until.clear();
          until.set(who.connection, now + leaseMs);
          leases = granted.leases;
        } else if (granted?.outcome === 'held') assert(holder !== null && holder.holder !== who.connection);
        if (one.do === 'renew') {
          if ((until.get(who.connection) ?? 0) > now) until.set(who.connection, now + leaseMs);
          leases = renewLease(leases, who.connection, now);
        }
        if (one.do === 'leave') leases = leaveLease(leases, who.connection);
        if (one.do === 'release') leases = dropLease(leases, who.connection);
        if (one.do === 'leave' || one.do === 'release') until.delete(who.connection);
        for (const { connection } of drivers)
          assert.equal(leaseOf(leases, connection, now) !== null, (until.get(connection) ?? 0) > now);
        const driving = drivers.filter(({ connection }) => leaseOf(leases, connection, now) !== null);
        if (mode === 'exclusive') assert(driving.length <= 1);
        assert(leases.length <= drivers.length * 2, 'no more leases than there are drivers and their ghosts');
      }
    }),
    { numRuns: 500 },
  );
});
