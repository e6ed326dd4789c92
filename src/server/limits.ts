import assert from 'node:assert/strict';
import { apiLimits } from '../contract/limits.ts';

/** What the HTTP layer bounds on its own behalf; what callers can rely on is in `contract/limits.ts`. */
export const serverLimits = {
  jsonDepthMax: 32,
  /** How often Node looks for connections past `headerTimeoutMs`; its default of 30 s would make that 35 s. */
  connectionsCheckMs: 500,
  /** A refused body is read and thrown away this long, so that the answer is not lost to a reset. */
  lingerMs: 2_000,
  closeGraceMs: 1_500,
  /** How much longer a close waits for the work of callers whose connections were cut. */
  settleMs: 400,
  closeSweepMs: 20,
  /** How often streams are authorized again without a change that asks for it, such as when a token expires. */
  streamCheckMs: 250,
  machineRenewCheckMs: 3_600_000,
  /** After a change, streams are decided about again for this long. */
  streamSettleMs: 750,
  streamChecksAtOnce: 16,
  /** How long opening a log may take before the headers go out without it. */
  logOpenMs: 250,
  stepPollMs: 250,
  /** What an SSE client is told to wait before it reconnects. */
  reconnectMs: 1_000,
  waitSecondsMax: 60,
  waitSecondsDefault: 30,
  validationIssuesMax: 32,
  bearerCharactersMax: 4_096,
  requestIdCharactersMax: 64,
  userAgentCharactersMax: 256,
  rateWindowSeconds: 60,
  /** An address may be many people's: all of them together may ask this many times as much as one. */
  addressRateFactor: 10,
  /** How often processes tell each other what they counted. */
  rateExchangeMs: 1_000,
  rateExchangeKeysMax: 1_000,
  /** A count is told once it is this part of its limit. */
  rateShare: 8,
  /** Actors and addresses that are counted at a time; past it the oldest counts begin anew. */
  rateKeysMax: 100_000,
  formBytesMax: 16 * 1024,
  formParametersMax: 64,
  /** How long relying parties may keep the keys and the discovery documents. */
  wellKnownSeconds: 300,
} as const;

assert(serverLimits.closeGraceMs + serverLimits.settleMs < 2_000, 'a close takes less than two seconds');
assert(serverLimits.connectionsCheckMs < apiLimits.headerTimeoutMs);
assert(serverLimits.streamCheckMs * 2 < serverLimits.streamSettleMs, 'a change is looked at more than once');
assert(serverLimits.streamSettleMs < 1_000, 'revocation reaches streams within a second (G9)');
assert(serverLimits.waitSecondsDefault <= serverLimits.waitSecondsMax);

/** Every limit by its name, each of which an operator may set. */
export type ApiLimits = Readonly<Record<keyof typeof apiLimits, number>>;
