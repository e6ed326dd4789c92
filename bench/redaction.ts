import { randomBytes } from 'node:crypto';
import { type EventId, eventParts, type NewEvent } from '../src/audit/event.ts';
import { systemClock } from '../src/base/clock.ts';
import { newId } from '../src/model/ids.ts';
import { openRedactor, type Redactor } from '../src/redaction/redactor.ts';
import { SecretValues } from '../src/redaction/secret-values.ts';
import { TextStream } from '../src/redaction/text-stream.ts';
import type { Row } from './row.ts';

const turns = 15;
const eventsPerTurn = 20_000;
const id = newId('event', 0) as EventId;

/** As the gate writes them: a request of a person's browser and of a program, and a verdict of the gateway. */
const events: readonly NewEvent[] = [
  {
    action: 'run.create',
    phase: 'attempt',
    actor: { id: 'user:alice', kind: 'user', token: newId('token', 1) },
    resource: { kind: 'run', id: newId('run', 2), session: newId('session', 3) },
    decision: { allow: true, rule: 'scope:run:write' },
    outcome: 'allowed',
    request: {
      id: newId('request', 4),
      address: '192.0.2.7',
      userAgent:
        'Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 Safari/537.36',
    },
    data: { parent: null, program: 'make', arguments: 3, egress: ['npm', 'github'], reason: null },
  },
  {
    action: 'egress.connect',
    phase: 'note',
    actor: { id: 'user:alice', kind: 'user' },
    resource: { kind: 'run', id: newId('run', 2), session: newId('session', 3) },
    decision: { allow: true, rule: 'egress:npm/1' },
    outcome: 'allowed',
    data: {
      ...{
        flow: 12,
        at: '2026-11-28T12:00:00.000Z',
        host: 'packages.example.org',
        address: '203.0.113.9',
        port: 443,
      },
      ...{ protocol: 'https', method: null, path: null, denial: null, generation: 1, count: 1 },
    },
  },
];

/** As if there were no redaction. */
const nothing: Redactor = {
  text: (value) => value,
  start: (value, most) => ({ text: value.slice(0, most), beyond: Math.max(0, value.length - most) }),
  starts: (list, most) => list.map((value) => nothing.start(value, most)),
  stream: () => new TextStream(() => []),
  named: () => null,
  document: (value) => value,
};

function holding(count: number): Redactor {
  const values = new SecretValues();
  for (let index = 0; index < count; index += 1)
    values.hold(`run_${index}`, 'value', randomBytes(30).toString('base64url'));
  return openRedactor(values);
}

function nanosecondsPerEvent(redactor: Redactor): number {
  const start = systemClock.monotonic();
  for (let index = 0; index < eventsPerTurn; index += 1)
    eventParts(events[index % events.length]!, 'control', id, 0, redactor);
  return ((systemClock.monotonic() - start) * 1e6) / eventsPerTurn;
}

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[values.length >> 1]!;
}

/** What taking secrets out costs an ordinary event that holds none, beside building it without. */
export async function benchRedaction(): Promise<Row[]> {
  return [0, 10, 1_000].map((count) => {
    const redactor = holding(count);
    const taken = Array.from({ length: turns }, () => ({
      without: nanosecondsPerEvent(nothing),
      with: nanosecondsPerEvent(redactor),
    }));
    const cost = taken.map((turn) => turn.with - turn.without).toSorted((a, b) => a - b);
    const without = median(taken.map((turn) => turn.without));
    return {
      what: `redaction: an event, ${count} values held`,
      figure: `+${Math.round(median(cost))} ns (${Math.round(cost[1]!)}–${Math.round(cost.at(-2)!)})`,
      peer: `${Math.round(without)} ns to build it without`,
      ratio: (median(cost) + without) / without,
      note: `median of ${turns} turns of ${eventsPerTurn}, two kinds of event in turn`,
    };
  });
}

if (import.meta.main) console.table(await benchRedaction());
