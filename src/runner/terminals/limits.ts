import assert from 'node:assert/strict';
import { attachLimits } from '../../contract/attach.ts';

/** Bounds of terminals and of what is recorded of them. */
export const terminalLimits = {
  /** What is taken of a terminal at a time. */
  readBytesMax: 64 * 1024,
  /** With so much at once a program is in full flow, and more is gathered for a moment. */
  flowBytes: 4_000,
  flowMs: 2,
  /** Output that the model of a screen has not taken yet; while there is more, the terminal is not read. */
  modelWaitingBytesMax: 512 * 1024,
  /** What the model parses between two looks at the clock: a hostile byte can cost it a thousand times another's. */
  modelPieceBytes: 4 * 1024,
  /** After so long with one terminal's 64 KiB its model is given up, so that those of others go on. */
  modelTurnMs: 1_000,
  /** A thread that has taken nothing for so long is ended, and its models made anew. */
  modelStallMs: 5_000,
  /** A model that died so often by what its terminal shows is not made again. */
  modelDeathsMax: 3,
  modelHeapMegabytes: 512,
  /** What a flood draws is soon garbage: with the usual room for that a runner keeps 50 MB more of it. */
  modelYoungMegabytes: 8,
  /** Lines behind the screen, and cells of them: a wide terminal keeps fewer. */
  scrollbackLinesMax: 1_000,
  scrollbackCellsMax: 200_000,
  /** More repetitions than this draw nothing that a screen could show, and cost time. */
  repetitionsMax: 1_000,
  /** Marks that one character carries in the model. */
  combiningMarksMax: 16,
  /** What redraws a screen that has no model: the end of its output. */
  rawSnapshotBytes: 64 * 1024,
  /** Of what a new model is made where the thread died. */
  replayBytes: 256 * 1024,
  /** Input that waits for a program to read it, of one connection, before control has to wait. */
  inputWaitingBytesMax: 128 * 1024,
  /** Changes that one connection has not been told yet; with more it is hung up on. */
  toldWaitingMax: 1_024,
  /** A terminal changes its size at most so often; the last size counts. */
  resizeEveryMs: 20,
  /** How long output is waited for once a command has ended whose children still hold its terminal or pipes. */
  drainMs: 500,
  /** How long a command's terminal that nobody came to is there once it has ended. */
  lastLookMs: 5_000,
  execsPerRunMax: 16,
  /** Recordings of one run's ended and live terminals. */
  terminalsPerRunMax: 256,
} as const;

assert(terminalLimits.modelWaitingBytesMax < attachLimits.resumeBytesMax);
assert(terminalLimits.rawSnapshotBytes <= attachLimits.resumeBytesMax);
assert(terminalLimits.replayBytes <= attachLimits.resumeBytesMax);
