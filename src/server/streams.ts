import type { ServerResponse } from 'node:http';
import type { Logger } from 'pino';
import type { Clock } from '../base/clock.ts';
import { Rounds } from '../base/rounds.ts';
import type { Caller, Control } from '../control/control.ts';
import { type Actor, sameRights } from '../model/actor.ts';
import { serverLimits } from './limits.ts';

/** An answer, a request's body or a connection that goes on after its caller was let in. */
export type Stream = {
  readonly answer: {
    readonly destroyed: boolean;
    destroy(): unknown;
    once(event: 'close', listener: () => void): unknown;
  };
  readonly caller: Caller;
  /** Decides again, for the caller as it is now, what the stream was let in for; rejects where that is denied. */
  readonly still: (caller: Caller) => Promise<void>;
  /** Called when the server closes: ends the answer in a way its reader understands. */
  readonly end: () => void;
};

/**
 * Every open stream. Whenever somebody's rights may have become fewer, and from time to time for what ends by itself,
 * each is authorized again; one whose caller may no longer is cut: no last event, no further byte (G9).
 */
export type Streams = {
  /** The answer's own end removes the stream. It is authorized once more at once: its rights may be gone meanwhile. */
  add(stream: Stream): void;
  endAll(): void;
  /** No more looks; streams are left as they are. */
  close(): void;
  readonly count: number;
};

export type StreamsOptions = {
  readonly control: Pick<Control, 'renew' | 'onIdentityChange'>;
  readonly clock: Clock;
  readonly logger: Logger;
};

export function openStreams(options: StreamsOptions): Streams {
  return new OpenStreams(options);
}

type Open = Stream & { rights: Actor };

class OpenStreams implements Streams {
  readonly #options: StreamsOptions;
  readonly #open = new Set<Open>();
  readonly #timer: NodeJS.Timeout;
  readonly #stopListening: () => void;
  #changedAt = Number.NEGATIVE_INFINITY;
  readonly #rounds = new Rounds(() => this.#checkAll());

  constructor(options: StreamsOptions) {
    this.#options = options;
    this.#timer = setInterval(() => this.#rounds.ask(), serverLimits.streamCheckMs);
    this.#timer.unref();
    this.#stopListening = options.control.onIdentityChange(() => {
      this.#changedAt = options.clock.monotonic();
      this.#rounds.ask();
    });
  }

  get count(): number {
    return this.#open.size;
  }

  add(stream: Stream): void {
    const open = { ...stream, rights: stream.caller.actor };
    this.#open.add(open);
    stream.answer.once('close', () => this.#open.delete(open));
    void this.#check(open, true);
  }

  endAll(): void {
    for (const { end } of this.#open) end();
  }

  close(): void {
    clearInterval(this.#timer);
    this.#stopListening();
  }

  async #checkAll(): Promise<void> {
    const { clock } = this.#options;
    // What keeps policies in memory hears of a change when this does, and may need a moment longer to take it in.
    const isRecent = clock.monotonic() - this.#changedAt <= serverLimits.streamSettleMs;
    const rest = this.#open.values();
    const lane = async () => {
      for (const open of rest) await this.#check(open, isRecent);
    };
    await Promise.all(Array.from({ length: serverLimits.streamChecksAtOnce }, lane));
  }

  async #check(open: Open, isFull: boolean): Promise<void> {
    const { control, logger } = this.#options;
    const { answer, caller, still } = open;
    try {
      const now = await control.renew(caller);
      if (now === null) throw new Error('the credential has ended');
      if (isFull || !sameRights(open.rights, now.actor)) await still(now);
      open.rights = now.actor;
    } catch (error) {
      // Whatever keeps it from being authorized ends it: rights that nobody can confirm are none.
      if (answer.destroyed || !this.#open.delete(open)) return;
      answer.destroy();
      const line = { requestId: caller.request.id, actor: caller.actor.id, why: String(error) };
      logger.info(line, 'a stream was cut');
    }
  }
}

/**
 * Writes and resolves when there is room for more: true to go on, false once the reader is gone. A reader that
 * stalls holds its writer here, so no more than one chunk and the socket's buffer waits in memory.
 */
export function writeSome(response: ServerResponse, chunk: string | Buffer): Promise<boolean> | boolean {
  if (response.destroyed || response.writableEnded) return false;
  if (response.write(chunk)) return true;
  return new Promise((resolve) => {
    const settle = () => {
      response.off('drain', settle).off('close', settle);
      resolve(!response.destroyed && !response.writableEnded);
    };
    response.on('drain', settle).on('close', settle);
  });
}

/** Streams outlive the idle timeout: an agent may think for an hour, and a reader may look away as long. */
export function exemptFromTimeouts(response: ServerResponse): void {
  response.socket?.setTimeout(0);
}
