import type { Clock } from '../../base/clock.ts';
import { terminalLimits } from './limits.ts';
import { Screen } from './screen.ts';
import type { FromScreens, ToScreens } from './screen-messages.ts';

type Orders = { readonly screen: Screen; readonly waiting: ToScreens[] };

/**
 * Carries out orders for many screens, in turns of at most 64 KiB, so that a terminal in full flow holds no other up. A
 * screen whose turn takes too long is given up.
 */
export class ScreenTurns {
  readonly #screens = new Map<number, Orders>();
  readonly #ready = new Set<number>();
  readonly #tell: (message: FromScreens) => void;
  readonly #clock: Clock;
  readonly #drawing: Int32Array;
  #isRunning = false;

  constructor(options: { tell: (message: FromScreens) => void; clock: Clock; drawing: Int32Array }) {
    this.#tell = options.tell;
    this.#clock = options.clock;
    this.#drawing = options.drawing;
  }

  take(order: ToScreens): void {
    if (order.order === 'open')
      this.#screens.set(order.screen, { screen: new Screen(order.size), waiting: [] });
    else if (order.order === 'close') this.#close(order.screen);
    else {
      const orders = this.#screens.get(order.screen);
      if (orders === undefined) return;
      orders.waiting.push(order);
      this.#ready.add(order.screen);
      void this.#run();
    }
  }

  async #run(): Promise<void> {
    if (this.#isRunning) return;
    this.#isRunning = true;
    for (let [next] = this.#ready; next !== undefined; [next] = this.#ready) {
      this.#ready.delete(next);
      Atomics.store(this.#drawing, 0, next);
      const isGood = await this.#turn(next);
      Atomics.store(this.#drawing, 0, -1);
      const orders = this.#screens.get(next);
      if (!isGood) {
        this.#close(next);
        this.#tell({ screen: next, lost: true });
      } else if (orders !== undefined && orders.waiting.length > 0) this.#ready.add(next);
    }
    this.#isRunning = false;
  }

  /** False where it took too long. */
  async #turn(number: number): Promise<boolean> {
    const { screen, waiting } = this.#screens.get(number)!;
    const order = waiting.shift()!;
    if (order.order === 'resize') screen.resize(order.size);
    if (order.order === 'snapshot') this.#tell({ question: order.question, bytes: screen.snapshot() });
    if (order.order !== 'write') return true;
    const bytes = withFollowing(order.bytes, waiting);
    const isDrawn = await this.#draw(screen, bytes);
    if (isDrawn) this.#tell({ screen: number, taken: bytes.length });
    return isDrawn;
  }

  /** Piece by piece: what is with the screen already is drawn whatever it costs. */
  #draw(screen: Screen, bytes: Uint8Array): Promise<boolean> {
    const from = this.#clock.monotonic();
    const { promise, resolve } = Promise.withResolvers<boolean>();
    const drawFrom = (at: number) => {
      if (at >= bytes.length) return resolve(true);
      if (this.#clock.monotonic() - from > terminalLimits.modelTurnMs) return resolve(false);
      const after = at + terminalLimits.modelPieceBytes;
      screen.write(bytes.subarray(at, after), () => drawFrom(after));
    };
    drawFrom(0);
    return promise;
  }

  #close(number: number): void {
    this.#screens.get(number)?.screen.close();
    this.#screens.delete(number);
    this.#ready.delete(number);
  }
}

/** With the output that waits behind it, up to a turn's: a screen takes a millisecond for each write, however small. */
function withFollowing(first: Uint8Array, waiting: ToScreens[]): Uint8Array {
  const pieces = [first];
  let count = first.length;
  for (let [next] = waiting; next?.order === 'write'; [next] = waiting) {
    count += next.bytes.length;
    if (count > terminalLimits.readBytesMax) break;
    pieces.push(next.bytes);
    waiting.shift();
  }
  return pieces.length === 1 ? first : Buffer.concat(pieces);
}
