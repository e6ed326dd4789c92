import { attachLimits } from '../../contract/attach.ts';
import { attachServerLimits } from './limits.ts';

/** Bytes of the header of a client's frame of control: two, and four of the mask (RFC 6455, 5.2 and 5.5). */
const controlHeaderBytes = 6;

/** How a client behaves over time: whether it ends the messages it begins, and how much it says that is not data. */
export class FrameTimes {
  #unfinishedSince: number | null = null;
  #unexplainedBytes = 0;
  #controlBytes = 0;
  #hasEnded = false;
  #second = Number.NEGATIVE_INFINITY;
  #controlFrames = 0;

  /** A whole message was read. */
  message(): void {
    this.#hasEnded = true;
  }

  /** A ping or pong was read, which may stand inside a message. */
  control(payloadBytes: number): void {
    this.#controlBytes += controlHeaderBytes + payloadBytes;
  }

  /** Counts something that is no data; false where it is too much for one second. */
  mayControl(nowMs: number): boolean {
    const second = Math.floor(nowMs / 1000);
    if (second !== this.#second) this.#controlFrames = 0;
    this.#second = second;
    this.#controlFrames += 1;
    return this.#controlFrames <= attachLimits.controlFramesPerSecondMax;
  }

  /** Bytes came, and all that they complete was told here before. */
  received(bytes: number, nowMs: number): void {
    // Where a message ended, what follows it in the same bytes is counted once more bytes come.
    this.#unexplainedBytes = this.#hasEnded
      ? 0
      : Math.max(0, this.#unexplainedBytes + bytes - this.#controlBytes);
    if (this.#unexplainedBytes === 0) this.#unfinishedSince = null;
    else this.#unfinishedSince ??= nowMs;
    this.#hasEnded = false;
    this.#controlBytes = 0;
  }

  /** Whether a message was begun too long ago. */
  isOverdue(nowMs: number): boolean {
    return this.#unfinishedSince !== null && nowMs - this.#unfinishedSince > attachServerLimits.messageMs;
  }

  /** Nothing was read until now. */
  resumed(nowMs: number): void {
    if (this.#unfinishedSince !== null) this.#unfinishedSince = nowMs;
  }
}
