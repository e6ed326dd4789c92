import assert from 'node:assert/strict';
import test from 'node:test';
import { negotiate } from './negotiate.ts';

const offers = ['text/plain', 'application/octet-stream', 'text/event-stream'] as const;

test('the best offer that is accepted is chosen, the earlier of equals', () => {
  const cases: [string | undefined, string | null][] = [
    [undefined, 'text/plain'],
    ['', 'text/plain'],
    ['*/*', 'text/plain'],
    ['text/event-stream', 'text/event-stream'],
    ['TEXT/Event-Stream; charset=utf-8', 'text/event-stream'],
    ['text/event-stream, */*;q=0.1', 'text/event-stream'],
    ['text/*;q=0.5, application/*', 'application/octet-stream'],
    ['text/plain;q=0, text/*', 'text/event-stream'],
    ['text/plain;q=0.2, text/event-stream;q=0.3', 'text/event-stream'],
    ['application/json', null],
    ['*/*;q=0', null],
    ['text/plain;q=2', null],
    ['nonsense', null],
  ];
  for (const [accept, expected] of cases) assert.equal(negotiate(accept, offers), expected, accept);
});
