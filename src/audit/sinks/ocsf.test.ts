import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { attempt, chainOf } from '../../../tests/support/audit.ts';
import type { JsonObject } from '../../base/canonical-json.ts';
import { faultTable } from '../../contract/faults.ts';
import { actions } from '../../model/actions.ts';
import type { AuditEvent } from '../event.ts';
import { ocsfOf } from './ocsf.ts';
import { namedOcsfActions, ocsfClasses, ocsfKindOf } from './ocsf-classes.ts';

const source = join(import.meta.dirname, '..', '..');

/** The actions that product code writes by name, besides those of the table of acts. */
function notedActions(): string[] {
  const files = readdirSync(source, { recursive: true, encoding: 'utf8' }).filter(
    (name) => name.endsWith('.ts') && !/test|conformance/.test(name),
  );
  const found = files.flatMap((name) => {
    const text = readFileSync(join(source, name), 'utf8');
    return [
      ...text.matchAll(/\baction: '([a-z-]+(?:\.[a-z-]+)+)'/g),
      ...text.matchAll(/#(?:note|event)\('([a-z-]+(?:\.[a-z-]+)+)'/g),
      ...text.matchAll(/[?:|] '((?:egress|sign-in|audit|token|user|invitation|account)\.[a-z.-]+)'/g),
    ].map((match) => match[1]!);
  });
  return [...new Set(found.filter((name) => !Object.hasOwn(faultTable, name)))].sort();
}

const noted = notedActions();
const all = [...new Set([...Object.keys(actions), ...noted, ...namedOcsfActions])].sort();

function eventOf(more: Partial<AuditEvent> & Pick<AuditEvent, 'action'>): AuditEvent {
  const [line] = chainOf('control', [attempt(more.action)]);
  return { ...(JSON.parse(line!) as AuditEvent), ...more };
}

/** What OCSF 1.3.0 requires of every class, and of each, by the schema's own `requirement` and `at_least_one`. */
const base = ['activity_id', 'category_uid', 'class_uid', 'metadata', 'severity_id', 'time', 'type_uid'];
const required: Readonly<Record<number, { all: string[]; one?: string[] }>> = {
  3001: { all: ['user'] },
  3002: { all: ['user'], one: ['service', 'dst_endpoint'] },
  3003: { all: ['user'], one: ['privileges', 'group'] },
  3004: { all: ['entity'] },
  3005: { all: ['user', 'privileges'] },
  4001: { all: ['dst_endpoint'], one: ['dst_endpoint', 'src_endpoint'] },
  4003: { all: ['src_endpoint'] },
  6002: { all: ['app'] },
  6003: { all: ['actor', 'api', 'src_endpoint'] },
};

function assertFits(object: JsonObject): void {
  const text = `${object.message}: ${JSON.stringify(object)}`;
  const { all: names, one = [] } = required[Number(object.class_uid)]!;
  for (const name of [...base, ...names])
    assert(object[name] !== undefined && object[name] !== null, `${name}: ${text}`);
  assert(one.length === 0 || one.some((name) => object[name] !== undefined), text);
  assert.equal(object.type_uid, Number(object.class_uid) * 100 + Number(object.activity_id), text);
  assert.equal(Math.floor(Number(object.class_uid) / 1000), object.category_uid, text);
  const { product, uid, version } = object.metadata as { product: JsonObject; uid: string; version: string };
  assert.deepEqual([version, product.vendor_name], ['1.3.0', 'Sealwright']);
  assert.match(uid, /^evt_/);
  for (const name of ['user', 'dst_endpoint', 'src_endpoint', 'entity'] as const)
    if (object[name] !== undefined)
      assert(Object.keys(object[name] as JsonObject).length > 0, `${name}: ${text}`);
}

test('the source is read for the actions that are noted', () => {
  for (const action of [
    'run.end',
    'sign-in.lockout',
    'token.verify',
    'audit.opened',
    'egress.lookup',
    'audit.gap',
  ])
    assert(noted.includes(action), action);
});

test('every action becomes an object with what its class requires, whatever came of it', () => {
  for (const action of all)
    for (const outcome of ['allowed', 'denied', 'succeeded', 'failed'] as const)
      for (const request of [undefined, { id: 'req_1', address: null, userAgent: null }] as const) {
        const event = eventOf({ action, outcome, ...(request === undefined ? {} : { request }) });
        const { resource, ...rest } = event;
        assertFits(ocsfOf({ ...rest, resource: { kind: resource.kind } }, '1.2.3'));
        assertFits(
          ocsfOf(
            { ...event, data: { host: 'a.example', address: '192.0.2.1', port: 443, role: 'admin' } },
            '1',
          ),
        );
      }
});

test('every activity is one of its class, and only what no verb fits is called other', () => {
  const others = all.filter((action) => {
    const kind = ocsfKindOf(action);
    assert(kind.activity in ocsfClasses[kind.class].activities, action);
    return kind.activity === 99;
  });
  const known =
    /^(account\.recovery-codes|attach\.(connect|disconnect|input)$|audit\.(gap|gap-found|heartbeat|index-behind|lost|recovered|redeliver|witness-conflict)$|egress\.full|sign-in\.reuse|user\.(link|unlink|update)|agent\.update|run\.|session\.)/;
  assert.deepEqual(
    others.filter((action) => !known.test(action)),
    [],
  );
  assert.equal(others.includes('run.create'), false);
});

test('the table names no action that nobody writes', () => {
  const written = new Set([...Object.keys(actions), ...noted]);
  assert.deepEqual(
    namedOcsfActions.filter((action) => !written.has(action)),
    [],
  );
});

test('an action is of the class that a SIEM looks for it in', () => {
  const classOf = (action: string) => ocsfClasses[ocsfKindOf(action).class].uid;
  const expected: Record<string, number> = {
    'sign-in.open': 3002,
    'user.disable': 3001,
    'account.device.approve': 3003,
    'elevation.decide': 3005,
    'policy.put': 3004,
    'policy.read': 6003,
    'egress.connect': 4001,
    'egress.lookup': 4003,
    'run.create': 6003,
    'run.end': 6002,
    'audit.opened': 6002,
    'something.unheard': 6003,
    constructor: 6003,
  };
  for (const [action, uid] of Object.entries(expected)) assert.equal(classOf(action), uid, action);
});

test('a denied connection is refused, of medium severity, and holds the event as it is', () => {
  const event = eventOf({
    action: 'egress.connect',
    outcome: 'denied',
    actor: { id: 'agent:eve', kind: 'agent' },
    data: { host: 'evil.example', address: '192.0.2.7', port: 443, protocol: 'tls' },
  });
  const object = ocsfOf(event, '1.2.3');
  assert.deepEqual(
    [object.class_uid, object.activity_name, object.type_uid, object.status, object.severity],
    [4001, 'Refuse', 400105, 'Failure', 'Medium'],
  );
  assert.deepEqual(object.dst_endpoint, { hostname: 'evil.example', ip: '192.0.2.7', port: 443 });
  assert.deepEqual((object.unmapped as { event: unknown }).event, event);
  const alarm = ocsfOf(eventOf({ action: 'audit.gap', outcome: 'succeeded' }), '1');
  assert.deepEqual([alarm.severity, alarm.severity_id], ['High', 4]);
});
