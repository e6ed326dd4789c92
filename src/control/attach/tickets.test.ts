import assert from 'node:assert/strict';
import { test } from 'node:test';
import { actorOf, callerOf } from '../../../tests/support/test-control.ts';
import { attachLimits } from '../../contract/attach.ts';
import { newId } from '../../model/ids.ts';
import { controlAttachLimits } from './limits.ts';
import { type Ticket, Tickets, type TicketUse } from './tickets.ts';

const [run, other] = [newId('run', 1), newId('run', 2)];
const use: TicketUse = { kind: 'terminal', terminal: newId('terminal', 1), role: 'viewer' };
const of = (name: string, what: TicketUse = use): Ticket => ({
  caller: callerOf(actorOf(name)),
  run,
  use: what,
});

function movedClock() {
  let at = 0;
  return { now: () => 1_000_000 + at, monotonic: () => at, pass: (ms: number) => (at += ms) };
}

test('a ticket opens once what it was issued for, within thirty seconds', () => {
  const clock = movedClock();
  const tickets = new Tickets(clock);
  const ticket = of('ann');
  const { text, expiresAt } = tickets.issue(ticket)!;
  assert.match(text, /^sw_attach_[A-Za-z0-9_-]{43}$/);
  assert.equal(expiresAt, clock.now() + 30_000);
  clock.pass(29_999);
  assert.deepEqual(tickets.take(text, run), { ticket });
  assert.deepEqual(tickets.take(text, run), { refusal: 'ticket-used', caller: ticket.caller });
});

test('a ticket of another run, an expired one and an unknown one open nothing, and are used up', () => {
  const clock = movedClock();
  const tickets = new Tickets(clock);
  const { text } = tickets.issue(of('ann'))!;
  assert.equal('refusal' in tickets.take(text, other) && 'ticket-other-run', 'ticket-other-run');
  assert.equal((tickets.take(text, run) as { refusal: string }).refusal, 'ticket-used');
  const late = tickets.issue(of('ann'))!.text;
  clock.pass(30_000);
  assert.equal((tickets.take(late, run) as { refusal: string }).refusal, 'ticket-expired');
  for (const text of ['', 'sw_attach_', `${late}x`, late.slice(0, -1), `sw_attach_${'A'.repeat(43)}`])
    assert.deepEqual(tickets.take(text, run), { refusal: 'ticket-unknown', caller: null });
});

test('what an actor leaves unused is bounded, counted again once used, and forgotten once expired', () => {
  const clock = movedClock();
  const tickets = new Tickets(clock);
  const texts = Array.from({ length: attachLimits.ticketsPerActorMax }, () => tickets.issue(of('ann'))!.text);
  assert.equal(tickets.issue(of('ann')), null);
  assert.notEqual(tickets.issue(of('bob')), null);
  tickets.take(texts[0]!, run);
  assert.notEqual(tickets.issue(of('ann')), null);
  assert.equal(tickets.issue(of('ann')), null);
  clock.pass(2 * attachLimits.ticketLifeMs);
  assert.notEqual(tickets.issue(of('ann')), null);
  assert.equal(tickets.live, 1);
});

test('commands of tickets that wait take a bounded amount of memory', () => {
  const tickets = new Tickets(movedClock());
  const exec = { run, by: 'user:ann', command: ['x'.repeat(1_000_000)], env: {}, cwd: null } as const;
  const large = of('ann', { kind: 'exec', exec, terminal: null });
  const count = Math.floor(controlAttachLimits.ticketBytesPerActorMax / 1_000_000);
  const texts = Array.from({ length: count }, () => tickets.issue(large)!.text);
  assert.equal(tickets.issue(large), null);
  tickets.take(texts[0]!, run);
  assert.notEqual(tickets.issue(large), null);
});

test('everybody together has a bounded number of tickets, and expired ones make room', () => {
  const clock = movedClock();
  const tickets = new Tickets(clock);
  const { ticketsMax, ticketsPerActorMax } = attachLimits;
  for (let count = 0; count < ticketsMax; count += 1)
    assert.notEqual(tickets.issue(of(`user-${Math.floor(count / ticketsPerActorMax)}`)), null);
  assert.equal(tickets.issue(of('late')), null);
  clock.pass(attachLimits.ticketLifeMs);
  assert.notEqual(tickets.issue(of('late')), null);
});
