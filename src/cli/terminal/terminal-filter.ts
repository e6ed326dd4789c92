import { EscapeParser, type Sequence } from '../../base/escape-parser.ts';
import type { EscapePolicy } from './escape-policy.ts';
import { TerminalModes } from './terminal-modes.ts';

const introducers = { osc: '\x1b]', dcs: '\x1bP', sos: '\x1bX', pm: '\x1b^', apc: '\x1b_', title: '\x1bk' };

/**
 * How a line feed is written. A terminal that Node has made raw still returns at each (tty(4), ONLCR), and programs that
 * draw on the whole screen move straight down by it: for them it is a vertical tab, which terminals read as a line feed
 * and the kernel leaves alone.
 */
const lineFeeds = { cooked: '\n', raw: '\v' } as const;

/** What a policy allows of a program's output, for the user's terminal, and the way back from it. */
export class TerminalFilter {
  readonly #policy: EscapePolicy;
  readonly #parser: EscapeParser;
  readonly #modes = new TerminalModes();
  readonly #decoder = new TextDecoder();
  readonly #lineFeed: string;
  #passed = '';

  /** `mode` is that of the terminal for which it is. */
  constructor(policy: EscapePolicy, mode: keyof typeof lineFeeds = 'cooked') {
    this.#policy = policy;
    this.#lineFeed = lineFeeds[mode];
    this.#parser = new EscapeParser(policy.stringCharactersMax, (sequence) => this.#take(sequence));
  }

  /** Whether a program has the screen for itself. */
  get alternate(): boolean {
    return this.#modes.alternate;
  }

  /** Bytes that are not UTF-8 are shown as U+FFFD; characters may be split between calls. */
  bytes(bytes: Uint8Array): string {
    return this.text(this.#decoder.decode(bytes, { stream: true }));
  }

  text(text: string): string {
    this.#parser.push(text);
    const passed = this.#passed;
    this.#passed = '';
    return passed;
  }

  /** What puts the terminal back as it was before, without leaving what was drawn. */
  restore(): string {
    return this.#modes.restore();
  }

  #take(sequence: Sequence): void {
    // A full reset would take what the user has set, and the lines that have scrolled away.
    if (sequence.kind === 'escape' && sequence.intermediates === '' && sequence.final === 'c') {
      this.#passed += `${this.#modes.restore()}\x1b[H\x1b[2J`;
    } else if (this.#policy.allows(sequence)) {
      this.#modes.saw(sequence);
      const isLineFeed = sequence.kind === 'control' && sequence.character === '\n';
      this.#passed += isLineFeed ? this.#lineFeed : written(sequence);
    }
  }
}

/** A sequence in its 7-bit form, which every terminal reads the same. */
function written(sequence: Sequence): string {
  if (sequence.kind === 'text') return sequence.text;
  if (sequence.kind === 'control') return sequence.character;
  if (sequence.kind === 'escape') return `\x1b${sequence.intermediates}${sequence.final}`;
  if (sequence.kind === 'csi') {
    const { prefix, parameters, intermediates, final } = sequence;
    return `\x1b[${prefix}${parameters}${intermediates}${final}`;
  }
  return `${introducers[sequence.kind]}${sequence.body}\x1b\\`;
}
