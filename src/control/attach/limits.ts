import assert from 'node:assert/strict';
import { attachLimits } from '../../contract/attach.ts';

/** Bounds of attaching that only control knows. Counts, bytes and milliseconds as the names say. */
export const controlAttachLimits = {
  /** What the commands of tickets that wait may be together. One request is at most a megabyte. */
  ticketBytesMax: 64 * 1024 * 1024,
  ticketBytesPerActorMax: 4 * 1024 * 1024,
  /** How often connections are decided about without a change that asks for it, and leases looked at. */
  lookMs: 250,
  /** After a change, connections are decided about in full for this long: others may hear of it a moment later. */
  settleMs: 750,
  checksAtOnce: 16,
  /** How long a redemption waits for a run that is about to begin. */
  startWaitMs: 10_000,
  /** How often what was typed on a lease goes on record before the lease ends. */
  countInputMs: 60_000,
  /** Comings and goings within this time are told to everybody at once. */
  tellClientsMs: 25,
  /** A lease that was renewed is told anew once it lapses this much later than was told. */
  tellLeaseMs: 5_000,
  /** How often a client is told that what it typed was refused. */
  tellRefusedMs: 1_000,
  /** Of a screen as the runner draws it. */
  snapshotBytesMax: 8 * 1024 * 1024,
  /** A screen that is older by no more output than this is drawn from again. */
  snapshotReuseBytes: 64 * 1024,
  admitTriesMax: 4,
  /** How long the runner may take to show a terminal, or to start a command. */
  openTimeoutMs: 10_000,
  reopenMinMs: 25,
  reopenMaxMs: 2_000,
  /** How long the end of a terminal may come after the end of its run. */
  endSettleMs: 1_000,
  /** What the runner may say of the terminals of one run. */
  terminalsMax: 10_000,
  searchesMax: 4,
  /** What is searched before others have their turn. */
  searchPieceBytes: 16 * 1024,
  searchLineCharactersMax: 2 * 1024 * 1024,
  searchTextCharactersMax: 4_096,
} as const;

assert(controlAttachLimits.lookMs * 2 < controlAttachLimits.settleMs, 'a change is looked at more than once');
assert(controlAttachLimits.settleMs < 1_000, 'revocation reaches connections within a second (G9)');
assert(controlAttachLimits.snapshotReuseBytes < attachLimits.resumeBytesMax);
