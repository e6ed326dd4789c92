import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  advanceRun,
  type Ending,
  exitFromStatus,
  exitStatusOf,
  isTerminal,
  type RunChange,
  type RunState,
  runPhases,
} from './run.ts';
import { mayAdvanceSession, sessionPhases } from './session.ts';

const exit = { code: 0, signal: null };
const endings: readonly Ending[] = [
  { phase: 'succeeded', exit },
  { phase: 'failed', cause: 'exit', reason: '', exit },
  { phase: 'cancelled', reason: 'stopped', exit },
  { phase: 'timed-out', reason: 'time', exit },
];
const start: RunState = { phase: 'queued', queuedAt: 1 };

function reach(...changes: RunChange[]): RunState {
  return changes.reduce<RunState>((state, change) => {
    const next = advanceRun(state, change);
    assert.ok(next !== null);
    return next;
  }, start);
}

test('the table of transitions: everything that is not queued → starting → running → an end is refused', () => {
  const states: Record<string, RunState> = {
    queued: start,
    starting: reach({ to: 'starting', at: 2 }),
    running: reach({ to: 'starting', at: 2 }, { to: 'running', at: 3 }),
    ...Object.fromEntries(endings.map((ending) => [ending.phase, reach({ to: 'finished', at: 2, ending })])),
  };
  assert.deepEqual(Object.keys(states).sort(), [...runPhases].sort());
  const legal = new Set([
    'queued starting',
    'queued finished',
    'starting running',
    'starting finished',
    'running finished',
  ]);
  const changes: RunChange[] = [
    { to: 'starting', at: 9 },
    { to: 'running', at: 9 },
    ...endings.map((ending) => ({ to: 'finished', at: 9, ending }) as const),
  ];
  for (const [phase, state] of Object.entries(states)) {
    for (const change of changes)
      assert.equal(
        advanceRun(state, change) !== null,
        legal.has(`${phase} ${change.to}`),
        `${phase} → ${change.to}`,
      );
    assert.equal(
      isTerminal(state.phase),
      endings.some((ending) => ending.phase === phase),
    );
  }
});

test('a finished run keeps when it queued, started and ran, and has a cause exactly when it failed', () => {
  const failed = reach(
    { to: 'starting', at: 2 },
    { to: 'running', at: 3 },
    { to: 'finished', at: 4, ending: endings[1]! },
  );
  assert.deepEqual(failed, {
    phase: 'failed',
    queuedAt: 1,
    startingAt: 2,
    runningAt: 3,
    finishedAt: 4,
    cause: 'exit',
    reason: '',
    exit,
  });
  const cancelled = reach({ to: 'finished', at: 4, ending: endings[2]! });
  assert.equal(cancelled.phase === 'cancelled' && cancelled.cause, null);
});

test('the exit status is the command’s own, 124 for time, 125 where nothing ran, 130 for a cancel before it', () => {
  const none = { code: null, signal: null };
  assert.equal(exitStatusOf({ phase: 'failed', exit: exitFromStatus(3) }), 3);
  assert.equal(exitStatusOf({ phase: 'failed', exit: exitFromStatus(139) }), 139);
  assert.equal(exitStatusOf({ phase: 'timed-out', exit: exitFromStatus(143) }), 124);
  assert.equal(exitStatusOf({ phase: 'failed', exit: none }), 125);
  assert.equal(exitStatusOf({ phase: 'cancelled', exit: none }), 130);
  assert.deepEqual(exitFromStatus(137), { code: 137, signal: 'SIGKILL' });
  assert.deepEqual(exitFromStatus(200), { code: 200, signal: null });
});

test('a session goes pending → active → terminating → closed, and pending may be closed unused', () => {
  const legal = new Set([
    'pending active',
    'pending terminating',
    'active terminating',
    'terminating closed',
  ]);
  for (const from of sessionPhases)
    for (const to of sessionPhases) assert.equal(mayAdvanceSession(from, to), legal.has(`${from} ${to}`));
});
