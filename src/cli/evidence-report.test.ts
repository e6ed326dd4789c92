import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { test } from 'node:test';
import type { EvidenceEvent, EvidenceVerdict } from '../audit/verify-evidence.ts';
import { reportOf } from './evidence-report.ts';

const hostile = [
  '<script>alert(1)</script>',
  '"><img src=x onerror=alert(1)>',
  "' onmouseover='x",
  '</style></code></pre><h1>Verified</h1>',
  '\u202egnp.exe\u2066',
  '\u001b[2J\u0007\u0000',
  '&lt;&amp;',
  'x'.repeat(5_000),
];

function eventOf(text: string): EvidenceEvent {
  return {
    v: 2,
    stream: text,
    seq: 1,
    at: text,
    prev: text,
    id: text as EvidenceEvent['id'],
    phase: 'attempt',
    outcome: 'allowed',
    action: text,
    actor: { id: text, kind: 'user', onBehalfOf: text },
    resource: { kind: text, id: text, session: text },
    decision: { allow: true, rule: text },
    request: { id: text, address: text, userAgent: text },
    data: { [text]: text, list: [text, { [text]: null }] },
  };
}

function verdictOf(text: string): EvidenceVerdict {
  return {
    path: text,
    status: 'tampered',
    request: { by: text, at: text, asked: { [text]: text } },
    streams: [
      {
        stream: text,
        origin: text,
        keys: [text],
        checkpoint: { size: 1, root: text, note: `${text}\n${text}` },
        events: 2,
        first: 1,
        last: 2,
        isWhole: true,
      },
    ],
    artifacts: [{ run: text, name: text, mediaType: text, bytes: 1, sha256: text }],
    events: 3,
    problem: { what: text },
  };
}

test('a report holds no markup, no control character and no reordering that its bundle brought', () => {
  for (const text of hostile) {
    const html = reportOf({
      verdict: verdictOf(text),
      events: [eventOf(text)],
      trusted: false,
      file: text,
      sha256: text,
    });
    const tags = new Set((html.match(/<\/?[a-z0-9!]+/g) ?? []).map((tag) => tag.replace(/[</]/g, '')));
    const own =
      'html head meta title style body h1 h2 h3 p dl dt dd code pre div table thead tbody tr th td !doctype';
    assert.deepEqual(
      [...tags].filter((tag) => !own.split(' ').includes(tag)),
      [],
      text,
    );
    assert(!/[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u202a-\u202e\u2066-\u2069]/.test(html), text);
    assert.equal(html.match(/<h1>/g)?.length, 1);
    assert(!/ on[a-z]+=(?=["'])/.test(html.replaceAll(/&#\d+;/g, '')), text);
  }
});

test('a report needs no script and nothing from elsewhere, and its policy allows nothing else', () => {
  const html = reportOf({ verdict: verdictOf('a'), events: [], trusted: true, file: 'f', sha256: 'b' });
  const style = /<style>(.*)<\/style>/s.exec(html)![1]!;
  const hash = createHash('sha256').update(style).digest('base64');
  assert(html.includes(`content="default-src 'none'; style-src 'sha256-${hash}'"`));
  assert(!/<script|src=|href=|url\(|@import|https?:/.test(html));
});

test('a report says first of all whether it is verified, and by whose word', () => {
  const intact = { ...verdictOf('a'), status: 'intact' } as const;
  const { problem: _, ...verdict } = intact;
  const of = (trusted: boolean, found: EvidenceVerdict) =>
    /<p class="(verdict[^"]*)">/.exec(
      reportOf({ verdict: found, events: [], trusted, file: 'f', sha256: '' }),
    )?.[1];
  assert.equal(of(true, verdict), 'verdict');
  assert.equal(of(false, verdict), 'verdict weak');
  assert.equal(of(true, intact), 'verdict bad');
  assert.equal(of(true, { ...verdict, status: 'unreadable' }), 'verdict bad');
});

test('a report says how many events it does not show', () => {
  const html = reportOf({
    verdict: verdictOf('a'),
    events: [eventOf('a')],
    trusted: true,
    file: 'f',
    sha256: '',
  });
  assert.match(html, /holds 2 more events/);
});
