import assert from 'node:assert/strict';
import { attachLimits } from '../../contract/attach.ts';

/** What the server bounds of attached clients on its own behalf; what they can rely on is in `contract/attach.ts`. */
export const attachServerLimits = {
  /** A message is whole this long after its first byte. */
  messageMs: 10_000,
  fragmentsMax: 1_024,
  /** What is given to the socket before it was taken from it; behind that, frames wait and are merged. */
  windowBytesMax: 128 * 1024,
  /** Input that waits for control; past it nothing is read from the client. */
  inputBytesMax: 128 * 1024,
  inputFramesMax: 64,
  /** How long a client that was cut has to answer the close frame. */
  closeMs: 500,
  /** How long a client has to read what came before the end. */
  drainMs: 10_000,
  /** How often clients are looked at: who is silent, who never ends a message. */
  lookMs: 1_000,
  closeDetailBytesMax: 123,
  offeredProtocolsMax: 16,
} as const;

assert(attachServerLimits.messageMs + attachServerLimits.lookMs < attachLimits.pongMs);
assert(attachServerLimits.windowBytesMax >= attachLimits.outputBytesMax, 'a frame fits into the window');
assert(attachServerLimits.closeMs < 1_000, 'clients are gone within a second of a close of the server');
