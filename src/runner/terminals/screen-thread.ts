import { extname } from 'node:path';
import { Worker } from 'node:worker_threads';
import type { TerminalSize } from '../../model/terminal.ts';
import { terminalLimits } from './limits.ts';
import type { FromScreens, ScreenThreadData, ToScreens } from './screen-messages.ts';

const program = new URL(`./screen-worker${extname(import.meta.filename)}`, import.meta.url);

type Order = ToScreens extends infer One ? (One extends ToScreens ? Omit<One, 'screen'> : never) : never;

export type ScreenOwner = {
  /** As it is now. */
  size(): TerminalSize;
  /** The newest output, of which a new model is made where the thread died of another's. */
  replay(): Buffer;
  /** Less waits to be drawn than did. */
  onRoom(): void;
};

/** One terminal's model in the thread. */
export type ModelledScreen = {
  /** Bytes that are not drawn yet. */
  readonly waitingBytes: number;
  write(bytes: Buffer): void;
  resize(size: TerminalSize): void;
  /** What redraws it as it is after everything that was written by now; null where it has no model, or lost it. */
  snapshot(): Promise<Buffer | null>;
  close(): void;
};

/**
 * The thread in which all terminals' screens are modelled; it starts with the first and keeps no program alive. Where it
 * dies, or hangs, the models are made anew in another: the one it died of begins empty, and is not made again after
 * some deaths.
 */
export class ScreenThread {
  readonly #screens = new Map<number, ScreenModel>();
  readonly #questions = new Map<number, (bytes: Buffer | null) => void>();
  readonly #start: (data: ScreenThreadData) => Worker;
  readonly #stallMs: number;
  #drawing = noDrawing();
  #worker: Worker | null = null;
  #watch: NodeJS.Timeout | null = null;
  #next = 0;
  #closed = false;

  constructor({
    start = (data: ScreenThreadData) => new Worker(program, workerOptions(data)),
    stallMs = terminalLimits.modelStallMs as number,
  } = {}) {
    this.#start = start;
    this.#stallMs = stallMs;
  }

  open(owner: ScreenOwner): ModelledScreen {
    const number = this.#next++;
    const screen = new ScreenModel(owner, {
      order: (order) => this.#post({ ...order, screen: number } as ToScreens),
      ask: () => this.#ask(number),
      close: () => {
        this.#screens.delete(number);
        this.#post({ screen: number, order: 'close' });
      },
    });
    this.#screens.set(number, screen);
    screen.begin();
    return screen;
  }

  async close(): Promise<void> {
    this.#closed = true;
    const worker = this.#worker;
    this.#end();
    await worker?.terminate();
  }

  #post(message: ToScreens): void {
    if (this.#closed) return;
    if (message.order === 'write') {
      // A copy of its own, which moves: what the bytes are a part of is not to be copied with them.
      const bytes = new Uint8Array(message.bytes);
      this.#running().postMessage({ ...message, bytes } satisfies ToScreens, [bytes.buffer]);
    } else this.#running().postMessage(message);
    this.#watchOver();
  }

  #ask(screen: number): Promise<Buffer | null> {
    const question = this.#next++;
    const { promise, resolve } = Promise.withResolvers<Buffer | null>();
    this.#questions.set(question, resolve);
    this.#post({ screen, order: 'snapshot', question });
    if (this.#closed) this.#settle(question, null);
    return promise;
  }

  #running(): Worker {
    if (this.#worker !== null) return this.#worker;
    this.#drawing = noDrawing();
    const worker = this.#start({ drawing: this.#drawing });
    worker.on('message', (message: FromScreens) => this.#receive(worker, message));
    worker.on('error', () => this.#fail(worker));
    worker.on('exit', () => this.#fail(worker));
    this.#worker = worker;
    return worker;
  }

  #receive(worker: Worker, message: FromScreens): void {
    if (this.#worker !== worker) return;
    this.#stopWatching();
    if ('question' in message)
      this.#settle(
        message.question,
        Buffer.from(message.bytes.buffer as ArrayBuffer, message.bytes.byteOffset, message.bytes.byteLength),
      );
    else if ('lost' in message) this.#screens.get(message.screen)?.died(true);
    else this.#screens.get(message.screen)?.drew(message.taken);
    this.#watchOver();
  }

  /** A thread that has something to do and says nothing for long is as good as dead. */
  #watchOver(): void {
    if (this.#watch !== null || this.#closed) return;
    const isBusy =
      this.#questions.size > 0 || [...this.#screens.values()].some(({ waitingBytes }) => waitingBytes > 0);
    if (!isBusy) {
      this.#worker?.unref();
      return;
    }
    this.#worker?.ref();
    this.#watch = setTimeout(() => this.#fail(this.#worker), this.#stallMs);
    this.#watch.unref();
  }

  #stopWatching(): void {
    if (this.#watch !== null) clearTimeout(this.#watch);
    this.#watch = null;
  }

  #fail(worker: Worker | null): void {
    if (worker === null || this.#worker !== worker) return;
    const guilty = Atomics.load(this.#drawing, 0);
    this.#end();
    void worker.terminate();
    for (const [number, screen] of [...this.#screens]) screen.died(number === guilty);
  }

  #end(): void {
    this.#stopWatching();
    this.#worker = null;
    for (const question of [...this.#questions.keys()]) this.#settle(question, null);
  }

  #settle(question: number, bytes: Buffer | null): void {
    this.#questions.get(question)?.(bytes);
    this.#questions.delete(question);
  }
}

type ScreenOrders = {
  order(order: Order): void;
  ask(): Promise<Buffer | null>;
  close(): void;
};

class ScreenModel implements ModelledScreen {
  readonly #owner: ScreenOwner;
  readonly #orders: ScreenOrders;
  #deaths = 0;
  #isClosed = false;
  waitingBytes = 0;

  constructor(owner: ScreenOwner, orders: ScreenOrders) {
    this.#owner = owner;
    this.#orders = orders;
  }

  begin(): void {
    this.#orders.order({ order: 'open', size: this.#owner.size() });
  }

  write(bytes: Buffer): void {
    if (!this.#isModelled) return;
    this.waitingBytes += bytes.length;
    this.#orders.order({ order: 'write', bytes });
  }

  resize(size: TerminalSize): void {
    if (this.#isModelled) this.#orders.order({ order: 'resize', size });
  }

  async snapshot(): Promise<Buffer | null> {
    return this.#isModelled ? await this.#orders.ask() : null;
  }

  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#orders.close();
  }

  drew(bytes: number): void {
    this.waitingBytes -= bytes;
    this.#owner.onRoom();
  }

  died(ofThis: boolean): void {
    this.waitingBytes = 0;
    if (ofThis) this.#deaths += 1;
    if (this.#isModelled) {
      this.begin();
      if (!ofThis) this.#replay();
    }
    this.#owner.onRoom();
  }

  #replay(): void {
    const bytes = this.#owner.replay();
    for (let at = 0; at < bytes.length; at += terminalLimits.readBytesMax)
      this.write(bytes.subarray(at, at + terminalLimits.readBytesMax));
  }

  get #isModelled(): boolean {
    return !this.#isClosed && this.#deaths < terminalLimits.modelDeathsMax;
  }
}

function workerOptions(workerData: ScreenThreadData) {
  const { modelHeapMegabytes, modelYoungMegabytes } = terminalLimits;
  return {
    workerData,
    resourceLimits: {
      maxOldGenerationSizeMb: modelHeapMegabytes,
      maxYoungGenerationSizeMb: modelYoungMegabytes,
    },
  };
}

function noDrawing(): Int32Array {
  return new Int32Array(new SharedArrayBuffer(Int32Array.BYTES_PER_ELEMENT)).fill(-1);
}
