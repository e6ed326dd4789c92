import { type Channel, connectChannel } from '../base/channel.ts';
import { Fault } from '../contract/faults.ts';
import type {
  AnswerFrame,
  OrderAnswers,
  OrderFrame,
  Purpose,
  RunnerEvent,
  RunnerOrder,
} from '../contract/runner.ts';
import { controlLimits } from './limits.ts';
import type { Logger } from './logger.ts';
import { parseFrame, runnerFault } from './runner-frames.ts';

export type RunnerLinkOptions = {
  readonly socketPath: string;
  /** 32 bytes that both ends hold. */
  readonly key: Buffer;
  readonly logger: Logger;
  /** Called in the order of arrival; the next frame is read once it returns. */
  readonly onEvent: (event: RunnerEvent) => void;
  /** Called for every connection, before it counts as connected; a rejection ends the connection. */
  readonly onConnected: () => Promise<void>;
  readonly onReady: () => void;
  readonly onDisconnected: () => void;
};

/** The connection went or the answer did not come: whether the order was carried out is unknown. */
export class LinkLost extends Fault {
  constructor(message: string) {
    super('runner.unavailable', { detail: 'The runner cannot be reached. Try again in a moment.', message });
    this.name = 'LinkLost';
  }
}

type Waiting = {
  readonly resolve: (value: unknown) => void;
  readonly reject: (error: unknown) => void;
  readonly timer: NodeJS.Timeout;
};

/**
 * The one `orders` connection to the runner, kept up with growing pauses. Orders are sent in the order of
 * their calls and answered by id; without a connection they are refused at once with LinkLost.
 */
export class RunnerLink {
  readonly #options: RunnerLinkOptions;
  readonly #waiting = new Map<number, Waiting>();
  readonly #awaiting = new Set<() => void>();
  readonly #stopped = new AbortController();
  #channel: Channel | null = null;
  #lastId = 0;
  #generation = 0;
  #connected = false;
  #wake: (() => void) | null = null;
  #loop: Promise<void> = Promise.resolve();

  constructor(options: RunnerLinkOptions) {
    this.#options = options;
  }

  /** Whether the runner has been reconciled with and takes orders. */
  get connected(): boolean {
    return this.#connected;
  }

  /** Grows with every connection. */
  get generation(): number {
    return this.#generation;
  }

  /** Goes on connecting until `close`. */
  open(): void {
    this.#loop = this.#connectForever();
  }

  /** Rejects with LinkLost, or with the Fault that the runner answered. */
  async order<O extends RunnerOrder>(
    order: O,
    timeoutMs: number = controlLimits.orderTimeoutMs,
  ): Promise<OrderAnswers[O['order']]> {
    const channel = this.#channel;
    if (channel === null) throw new LinkLost('not connected');
    const id = ++this.#lastId;
    const { promise, resolve, reject } = Promise.withResolvers<unknown>();
    const timer = setTimeout(() => {
      this.#waiting.delete(id);
      reject(new LinkLost(`no answer to ${order.order}`));
    }, timeoutMs);
    this.#waiting.set(id, { resolve, reject, timer });
    const frame: OrderFrame = { id, ...order };
    channel.sendJson(frame).catch(() => channel.close());
    return (await promise) as OrderAnswers[O['order']];
  }

  /** Gives the connection up and makes a new one, so that both sides say anew what they know. */
  reset(): void {
    this.#channel?.close();
  }

  /** Resolves once there is a connection. Rejects with the signal's reason. */
  async whenConnected(signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    if (this.#connected) return;
    await new Promise<void>((resolve, reject) => {
      const settle = (act: () => void) => {
        this.#awaiting.delete(go);
        signal.removeEventListener('abort', abort);
        act();
      };
      const go = () => settle(resolve);
      const abort = () => settle(() => reject(signal.reason));
      this.#awaiting.add(go);
      signal.addEventListener('abort', abort, { once: true });
    });
  }

  /** A connection of its own for one stream. Rejects with Fault `runner.unavailable`. */
  async stream(purpose: Exclude<Purpose, { purpose: 'orders' }>): Promise<Channel> {
    try {
      const channel = await connectChannel(this.#options.socketPath, this.#options.key);
      await channel.sendJson(purpose);
      return channel;
    } catch (error) {
      throw new LinkLost(String(error));
    }
  }

  async close(): Promise<void> {
    this.#stopped.abort();
    this.#wake?.();
    this.#channel?.close();
    await this.#loop;
  }

  async #connectForever(): Promise<void> {
    let pauseMs: number = controlLimits.reconnectMinMs;
    while (!this.#stopped.signal.aborted) {
      const served = await this.#serveOnce();
      if (served) pauseMs = controlLimits.reconnectMinMs;
      await this.#pause(pauseMs);
      pauseMs = Math.min(pauseMs * 2, controlLimits.reconnectMaxMs);
    }
  }

  /** One connection from its making to its end; false where it never came to orders. */
  async #serveOnce(): Promise<boolean> {
    const { socketPath, key, logger } = this.#options;
    let served = false;
    let channel: Channel | null = null;
    try {
      channel = await connectChannel(socketPath, key);
      if (this.#stopped.signal.aborted) return false;
      await channel.sendJson({ purpose: 'orders' } satisfies Purpose);
      this.#channel = channel;
      this.#generation += 1;
      const greeting = this.#greet(channel).then((greeted) => {
        served = greeted;
      });
      await this.#readAll(channel);
      await greeting;
    } catch (error) {
      const level = channel === null || this.#stopped.signal.aborted ? 'debug' : 'warn';
      logger[level]({ error: String(error) }, 'no connection to the runner');
    } finally {
      this.#channel = null;
      channel?.close();
      this.#lose();
    }
    return served;
  }

  async #greet(channel: Channel): Promise<boolean> {
    try {
      await this.#options.onConnected();
      if (this.#channel !== channel) return false;
      this.#connected = true;
      this.#options.logger.info({ generation: this.#generation }, 'connected to the runner');
      this.#options.onReady();
      for (const go of [...this.#awaiting]) go();
    } catch (error) {
      this.#options.logger.warn({ error: String(error) }, 'the runner could not be reconciled with');
      channel.close();
      return false;
    }
    return true;
  }

  async #readAll(channel: Channel): Promise<void> {
    for (let frame = await channel.read(); frame !== null; frame = await channel.read()) {
      if (frame.kind !== 'json') throw new Error('a data frame on the orders connection');
      const message = parseFrame(frame.value);
      if ('event' in message) this.#options.onEvent(message);
      else this.#answer(message);
    }
  }

  #answer(frame: AnswerFrame): void {
    const waiting = this.#waiting.get(frame.id);
    if (waiting === undefined) return;
    this.#waiting.delete(frame.id);
    clearTimeout(waiting.timer);
    if ('fault' in frame) waiting.reject(runnerFault(frame.fault));
    else waiting.resolve(frame.ok);
  }

  #lose(): void {
    const was = this.#connected;
    this.#connected = false;
    for (const { reject, timer } of this.#waiting.values()) {
      clearTimeout(timer);
      reject(new LinkLost('the connection ended'));
    }
    this.#waiting.clear();
    if (!was) return;
    this.#options.logger.warn({}, 'the connection to the runner ended');
    this.#options.onDisconnected();
  }

  async #pause(ms: number): Promise<void> {
    if (this.#stopped.signal.aborted) return;
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, ms);
      this.#wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }
}
