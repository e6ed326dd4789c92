import assert from 'node:assert/strict';
import { hash } from 'node:crypto';
import { test } from 'node:test';
import fc from 'fast-check';
import { attempt } from '../../tests/support/audit.ts';
import { canonicalJson, type JsonObject, type JsonValue } from '../base/canonical-json.ts';
import { openRedactor } from '../redaction/redactor.ts';
import { SecretValues } from '../redaction/secret-values.ts';
import { type AuditEvent, clip, type EventId, eventParts, lineOf, type NewEvent, noHash } from './event.ts';
import { auditLimits, eventCharacters, scaffoldBytes } from './limits.ts';
import { readLine } from './line.ts';

const id = 'evt_00000000000000000000000000' as EventId;

function line(event: NewEvent): string {
  return lineOf(eventParts(event, 'control', id, 0), noHash, 1);
}

function stored(event: NewEvent): AuditEvent {
  return JSON.parse(line(event)) as AuditEvent;
}

/** Any text at all: control characters and lone surrogates included. */
const anyText = fc
  .array(fc.integer({ min: 0, max: 0xffff }), { maxLength: 400 })
  .map((units) => String.fromCharCode(...units));
const maybe = <T>(value: fc.Arbitrary<T>) => fc.option(value, { nil: undefined });

function dropUndefined<T extends object>(value: T): T {
  return Object.fromEntries(Object.entries(value).filter(([, member]) => member !== undefined)) as T;
}

const anyEvent: fc.Arbitrary<NewEvent> = fc
  .record({
    action: anyText,
    actor: fc
      .record({
        id: anyText,
        kind: fc.constant('agent' as const),
        token: maybe(anyText),
        onBehalfOf: maybe(anyText),
      })
      .map(dropUndefined),
    resource: fc.record({ kind: anyText, id: maybe(anyText), session: maybe(anyText) }).map(dropUndefined),
    decision: fc.record({ allow: fc.boolean(), rule: anyText }),
    request: maybe(fc.record({ id: anyText, address: fc.option(anyText), userAgent: fc.option(anyText) })),
    data: maybe(fc.dictionary(anyText, fc.jsonValue({ stringUnit: 'binary' })) as fc.Arbitrary<JsonObject>),
    ending: fc.constantFrom(
      { phase: 'attempt', outcome: 'denied' } as const,
      { phase: 'outcome', outcome: 'failed', of: id } as const,
      { phase: 'note', outcome: 'succeeded' } as const,
    ),
  })
  .map(({ ending, ...event }) => dropUndefined({ ...event, ...ending }) as NewEvent);

test('whatever the strings hold, the line is canonical, an event, and within its bound', () => {
  fc.assert(
    fc.property(anyEvent, (event) => {
      const text = line(event);
      assert.ok(text.isWellFormed());
      assert.equal(canonicalJson(JSON.parse(text) as JsonValue), text);
      const bytes = Buffer.from(text);
      assert.ok(bytes.length < auditLimits.lineBytesMax);
      assert.deepEqual(readLine(bytes), { stream: 'control', seq: 1, prev: noHash, v: 2 });
      assert.doesNotMatch(text, /[\u0000-\u001f]/);
    }),
  );
});

test('an event with every member at its worst fits a line, with the scaffold that the bound assumes', () => {
  const bytesOf = (text: string, data: JsonObject, eventId: EventId, stream: string) => {
    const event: NewEvent = {
      action: text,
      phase: 'outcome',
      of: text as EventId,
      actor: { id: text, kind: 'service', token: text, onBehalfOf: text },
      resource: { kind: text, id: text, session: text },
      decision: { allow: false, rule: text },
      outcome: 'succeeded',
      request: { id: text, address: text, userAgent: text },
      data,
    };
    return (
      Buffer.byteLength(lineOf(eventParts(event, stream, eventId, 0), noHash, Number.MAX_SAFE_INTEGER)) + 1
    );
  };
  assert.ok(bytesOf('', {}, '' as EventId, '') <= scaffoldBytes);
  const full = Object.fromEntries('123456'.split('').map((name) => [name, '\u0000'.repeat(160)]));
  const longestId = `evt_${'x'.repeat(eventCharacters.id - 4)}` as EventId;
  const most = bytesOf('\u0000'.repeat(1000), full, longestId, 's'.repeat(eventCharacters.stream));
  assert.ok(most > 12_000 && most <= auditLimits.lineBytesMax, `${most}`);
});

test('a string over its bound is clipped with a marker that counts what is gone', () => {
  const { actor, request } = stored(
    attempt('x', {
      actor: { id: 'user:alice', kind: 'user', token: 'tok_1' },
      request: { id: 'req_1', address: '127.0.0.1', userAgent: 'a'.repeat(100_000) },
    }),
  );
  assert.equal(actor.id, 'user:alice');
  assert.equal(request?.userAgent?.length, eventCharacters.userAgent - 16 + '…[+99760]'.length);
  assert.match(request?.userAgent ?? '', /^a+…\[\+99760\]$/);
});

test('clipping leaves no half of a surrogate pair', () => {
  fc.assert(
    fc.property(anyText, fc.integer({ min: 32, max: 64 }), (text, most) => {
      const clipped = clip(text, most);
      assert.ok(clipped.isWellFormed());
      assert.ok(clipped.length <= most);
    }),
  );
  assert.equal(clip('😀'.repeat(40), 49), `${'😀'.repeat(16)}\ufffd…[+47]`);
});

test('data over its bound is replaced by its size and digest', () => {
  const data = Object.fromEntries(Array.from({ length: 100 }, (_, index) => [`k${index}`, 'v'.repeat(100)]));
  const text = canonicalJson(data);
  assert.deepEqual(stored(attempt('x', { data })).data, {
    clipped: true,
    bytes: text.length,
    sha256: hash('sha256', text, 'hex'),
  });
});

test('data nested too deep is cut, strings in it are clipped, and members keep their names', () => {
  const data = JSON.parse(
    `{"a":${'['.repeat(100)}1${']'.repeat(100)},"__proto__":{"b":"${'c'.repeat(2000)}"}}`,
  );
  const found = JSON.stringify(stored(attempt('x', { data })).data);
  assert.match(found, /^\{"__proto__":\{"b":"c+…\[\+992\]"\},"a":\[{7}"…\[nested\]"\]{7}\}$/);
});

test('data that is no JSON is a bug and throws', () => {
  for (const value of [undefined, Number.NaN, 1n, () => 1, new Date(0), new Map()]) {
    assert.throws(() => line(attempt('x', { data: { value: value as never } })), TypeError);
  }
});

/** Made here, so that no scanner takes this file for a leak. */
const token = `${'ghp'}_${'a1B2c3D4e5F6'.repeat(3)}`;

test('a secret is gone from every member, whatever stands around it', () => {
  const text = `a ${token} b`;
  const event = {
    ...attempt(text),
    actor: { id: text, kind: 'user' as const, token: text, onBehalfOf: text },
    resource: { kind: 'run', id: text, session: text },
    decision: { allow: true, rule: text },
    request: { id: text, address: text, userAgent: text },
    data: {
      [text]: text,
      list: [text, { deeper: [text] }],
      argv: ['--password', 'hunter2'],
      password: 'hunter2',
    },
  };
  const found = line(event);
  assert.doesNotMatch(found, /ghp_|hunter2/);
  assert.equal(found.match(/a \[redacted:github-token\] b/g)?.length, 14);
  assert.deepEqual((stored(event).data as JsonObject).argv, ['--password', '[redacted:by-name]']);
});

test('a secret that a bound goes through is gone whole, and its length with it', () => {
  for (const [most, of] of [
    [eventCharacters.userAgent, (found: AuditEvent) => found.request?.userAgent],
    [auditLimits.dataStringCharactersMax, (found: AuditEvent) => found.data?.text],
  ] as const) {
    for (let before = most - 45; before <= most + 5; before += 1) {
      const text = `${'-'.repeat(before)}${token}${'-'.repeat(3000)}`;
      const request = { id: 'req_1', address: null, userAgent: text };
      const shown = String(of(stored(attempt('x', { request, data: { text } }))));
      assert.doesNotMatch(shown, /[gh]hp|[a-zB-F]\d|D4e/);
      assert.ok(shown.length <= most);
    }
  }
});

test('data that is replaced by its digest is without secrets before', () => {
  const data = (secret: string) => ({
    secret: secret,
    ...Object.fromEntries(Array.from({ length: 90 }, (_, i) => [`k${i}`, 'v'.repeat(90)])),
  });
  assert.deepEqual(
    stored(attempt('x', { data: data('one') })).data,
    stored(attempt('x', { data: data('other, longer') })).data,
  );
});

test('wherever in an event a value that is held stands, in whatever spelling, the line is without it', () => {
  const secret = 'Zq7-Wx9_Kp3vLm5Tn8';
  const values = new SecretValues();
  values.hold('run', 'value', secret);
  const redactor = openRedactor(values);
  const bytes = Buffer.from(secret);
  const spellings = [
    secret,
    bytes.toString('base64'),
    bytes.toString('base64url'),
    bytes.toString('hex'),
  ].flatMap((text) => [
    text,
    encodeURIComponent(text),
    JSON.stringify([text]),
    text.replace(/.{6}/g, '$&\n'),
  ]);
  const around = fc.string({ unit: 'binary', maxLength: 1100 });
  const spelled = fc.constantFrom(...spellings, Buffer.from(`a${secret}`).toString('base64'));
  const holder = fc
    .tuple(around, spelled, around)
    .map(([before, text, after]) => `${before} ${text} ${after}`);
  const traces = spellings.flatMap((text) => text.match(/[\w-]{6}/g) ?? []);
  fc.assert(
    fc.property(
      holder,
      fc.array(holder, { maxLength: 3 }),
      fc.integer({ min: 1, max: 17 }),
      (text, list, at) => {
        const split = [secret.slice(0, at), secret.slice(at)];
        const data = { text, list, split, nested: { [text]: [{ deeper: text }] } };
        const request = { id: text, address: text, userAgent: text };
        const event = { ...attempt('x', { request, data }), decision: { allow: true, rule: text } };
        const found = lineOf(eventParts(event, 'control', id, 0, redactor), noHash, 1);
        assert.deepEqual(
          traces.filter((trace) => found.includes(trace)),
          [],
        );
        assert.ok(Buffer.byteLength(found) < auditLimits.lineBytesMax);
        assert.equal(canonicalJson(JSON.parse(found) as JsonValue), found);
      },
    ),
  );
});
