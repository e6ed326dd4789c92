import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { chainOf } from '../../tests/support/audit.ts';
import { type EgressFlow, type EgressFlowEnd, egressDenials, egressProtocols } from '../model/egress.ts';
import { newId } from '../model/ids.ts';
import { endsEvents, endsPerLine, flowEvent, strangeFlowEvent, toldFlows } from './egress-events.ts';
import type { AuditEvent, NewEvent } from './event.ts';

const owned = { run: newId('run', 1), session: newId('session', 1), owner: 'user:ann' } as const;
const denied: EgressFlow = {
  ...{ id: 1, run: owned.run, at: 1, host: 'a.example', address: null, port: 443, protocol: null },
  ...{ method: null, path: null, verdict: 'denied', rule: null, denial: 'no-rule', generation: 1, count: 1 },
};
const asLine = (event: NewEvent) => JSON.parse(chainOf('runner-aaaaaa', [event])[0]!) as AuditEvent;
const timeMax = 8.64e15;

const text = (max: number) => fc.option(fc.string({ maxLength: max, unit: 'grapheme-ascii' }));
const anyFlow: fc.Arbitrary<EgressFlow> = fc
  .record({
    id: fc.nat(),
    at: fc.integer({ min: 0, max: timeMax }),
    host: text(253),
    address: text(45),
    port: fc.integer({ min: 0, max: 65_535 }),
    protocol: fc.constantFrom(null, 'dns' as const, ...egressProtocols),
    method: text(32),
    path: text(1_024),
    generation: fc.nat(),
    count: fc.integer({ min: 1, max: 2 ** 31 }),
    denial: fc.option(fc.constantFrom(...egressDenials)),
    rule: fc.constantFrom('web#1', 'full'),
  })
  .map(({ denial, rule, ...flow }) => ({
    ...{ ...flow, run: owned.run, denial, rule: denial === null ? rule : null },
    verdict: denial === null ? 'allowed' : 'denied',
  }));

test('a flow is read back from its line as it was, however it is spelled', () => {
  fc.assert(
    fc.property(anyFlow, (flow) => {
      assert.deepEqual(toldFlows(asLine(flowEvent(flow, owned))), { flows: [flow], ends: [] });
    }),
    { numRuns: 300 },
  );
});

const most = Number.MAX_SAFE_INTEGER;

test('as many ends as a line holds are read back, with the largest numbers there are', () => {
  const ends = Array.from({ length: 2 * endsPerLine + 1 }, (_, at): EgressFlowEnd => {
    return {
      id: most - at,
      run: owned.run,
      at: timeMax,
      bytesIn: most,
      bytesOut: most,
      outcome: 'unreachable',
    };
  });
  const events = endsEvents(ends, owned);
  assert.equal(events.length, 3);
  // What was owed says when it happened besides.
  const late = { late: true, happenedAt: new Date(timeMax).toISOString() };
  const told = events.map((event) => toldFlows(asLine({ ...event, data: { ...event.data, ...late } })));
  assert.deepEqual(
    told.flatMap(({ ends: back }) => back),
    ends,
  );
});

test('a path of a hostile program that is long in JSON is cut, and the flow is on the record all the same', () => {
  const path = '\u0001'.repeat(1_024);
  const flow: EgressFlow = {
    ...{ id: 1, run: owned.run, at: 1, host: '\u0001'.repeat(253), address: '\u0001'.repeat(45), port: 1 },
    ...{ protocol: 'tcp', method: '\u0001'.repeat(32), path, verdict: 'allowed', rule: 'a#1', denial: null },
    ...{ generation: most, count: most },
  };
  const [told] = toldFlows(asLine(flowEvent(flow, owned))).flows;
  assert.deepEqual({ ...told, path: '' }, { ...flow, path: '' });
  assert.match(told?.path ?? '', /^\u0001{500}…$/);
});

test('nothing is told by other events, by flows of runs that nobody knows, and by counted denials', () => {
  const counted = { ...flowEvent(denied, owned), data: { repeated: 2, windowMs: 1 } };
  for (const event of [
    strangeFlowEvent(denied, 'system:runner'),
    counted,
    { ...counted, action: 'audit.gap' },
  ])
    assert.deepEqual(toldFlows(asLine(event)), { flows: [], ends: [] });
});

test('what no gateway says is refused', () => {
  const { data, ...event } = flowEvent(denied, owned);
  const hostile: object[] = [
    { ...data, flow: -1 },
    { ...data, host: 1 },
    { ...data, at: 'never' },
    { ...data, port: 65_536 },
    { ...data, extra: 1 },
    { clipped: true, flow: 1 },
  ];
  for (const wrong of hostile)
    assert.throws(() => toldFlows(asLine({ ...event, data: wrong } as NewEvent)), JSON.stringify(wrong));
  const ended = { ...event, action: 'egress.ended', outcome: 'succeeded', data: { ends: [{ flow: 'x' }] } };
  assert.throws(() => toldFlows(asLine(ended as NewEvent)));
});
