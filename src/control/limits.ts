import assert from 'node:assert/strict';
import { identityLimits } from '../identity/limits.ts';

/** Bounds of control. Counts, bytes and milliseconds as the names say. */
export const controlLimits = {
  /** How long ago a person may have signed in who does what is dangerous. */
  stepUpMs: 10 * 60_000,
  /** How long a second factor may be waited for, and how often it may be tried. */
  pendingSignInMs: 10 * 60_000,
  pendingTriesMax: 5,
  ticketMs: 120_000,
  /** After this, stored access policies that could not be loaded are tried again. */
  accessRetryMs: 1_000,
  /** How long a request for another role waits for a second person. */
  elevationWaitMs: 24 * 3600 * 1000,
  /** How long a request to the runner may take; a start is answered on acceptance. */
  orderTimeoutMs: 10_000,
  statusTimeoutMs: 2_000,
  /** Stops a session's runs with their grace time first. */
  removeSessionTimeoutMs: 120_000,
  reconnectMinMs: 25,
  reconnectMaxMs: 2_000,
  /** After a connection, how long a finished run's event may take before its run counts as lost. */
  lostGraceMs: 1_000,
  /** One point of priority weighs as much as this wait. */
  priorityPointMs: 10_000,
  /** How long `running` may wait for other writes to share its commit. */
  runningLingerMs: 25,
  /** A write of a run's end that failed is tried again after this long. */
  writeRetryMs: 1_000,
  /** How long closing a session waits for its end before the rest goes on behind. */
  closeWaitMs: 10_000,
  stepsMax: 64,
  /** How long the end of a run waits at most for its verdicts to be in the store. */
  egressSettleMs: 1_000,
  /** Streams of runners that are mirrored, of all that there ever were: a new one begins where its folder was lost. */
  mirroredStreamsMax: 32,
  /** Frames of the runner's record that wait for the mirror's disk; each is about a block of a reader. */
  mirrorWritesMax: 8,
  /** What one run may reach, in compiled rules. The runner takes no more. */
  egressRulesMax: 2_000,
  /** What one simulation reads and tells apart at most, and how long it works, in turns. */
  simulateFlowsMax: 100_000,
  simulateRunsMax: 20_000,
  simulateMs: 10_000,
  simulateTurnMs: 10,
  simulateGroupsMax: 5_000,
  simulateGroupsShown: 200,
  simulateSinceMs: 7 * 24 * 3600 * 1000,
  /** Valid ones of one agent at a time; certificates that live an hour come and go. */
  agentCredentialsMax: 64,
  /** How often control looks whose token is to be renewed, and how old one is then; it lives longer by far. */
  identityLookMs: 15_000,
  identityRenewMs: 2 * 60_000,
  uploadChunkBytes: 1024 * 1024,
  idempotencyKeptMs: 24 * 3600 * 1000,
  /** How long a sign-in that ended is still known by its refresh tokens, and what changed to whoever was away. */
  endedSignInsKeptMs: 7 * 24 * 3600 * 1000,
  changesKeptMs: 24 * 3600 * 1000,
  sweepRunsMax: 256,
  sweepUploadsMax: 64,
  /** Flows that one commit removes: others wait for it. */
  sweepFlowsMax: 1_000,
  sweepSessionsMax: 64,
  /** An answer about the runner's readiness is good for this long. */
  readinessFreshMs: 1_000,
  cursorCharactersMax: 512,
  /** Things of a list that are decided about before others get a turn. */
  listDecisionsPerTurn: 16,
} as const;

assert(controlLimits.reconnectMinMs <= controlLimits.reconnectMaxMs);
assert(controlLimits.identityLookMs + controlLimits.identityRenewMs <= identityLimits.runTokenLifeMs / 2);
assert(controlLimits.statusTimeoutMs <= controlLimits.orderTimeoutMs);
