import type { Sequence } from '../../base/escape-parser.ts';

/** Private modes that terminals begin with. */
const onAtFirst: ReadonlySet<string> = new Set(['7', '25']);
const alternateScreens: ReadonlySet<string> = new Set(['47', '1047', '1049']);

/** Programs set a dozen; hostile ones could fill memory. */
const modesMax = 256;

/** What a terminal was brought into, so that it can be brought out of it again. */
export class TerminalModes {
  /** Private modes that are not as they were at first. */
  readonly #changed = new Set<string>();
  readonly #also = new Set<string>();

  get alternate(): boolean {
    return [...alternateScreens].some((mode) => this.#changed.has(mode));
  }

  saw(sequence: Sequence): void {
    if (sequence.kind === 'csi') this.#csi(sequence);
    if (sequence.kind === 'osc') this.#osc(sequence.body ?? '');
    if (sequence.kind === 'control' && sequence.character === '\u000e') this.#also.add('\u000f');
    if (sequence.kind !== 'escape') return;
    const { intermediates, final } = sequence;
    if (intermediates !== '' && '()*+'.includes(intermediates)) this.#also.add(`\x1b${intermediates}B`);
    if (intermediates === '' && final === '=') this.#also.add('\x1b>');
  }

  #csi({ prefix, parameters, intermediates, final }: Extract<Sequence, { kind: 'csi' }>): void {
    if (prefix === '?' && intermediates === '' && (final === 'h' || final === 'l')) {
      for (const mode of parameters.split(';')) this.#set(mode, final === 'h');
    }
    if (final === 'm' && prefix === '') this.#also.add('\x1b[0m');
    if (final === 'm' && prefix === '>') this.#also.add('\x1b[>4m');
    if (final === 'r' && prefix === '' && intermediates === '') this.#also.add('\x1b7\x1b[r\x1b8');
    if (final === 'h' && prefix === '' && intermediates === '') this.#also.add('\x1b[4l\x1b[20l');
    if (final === 'q' && intermediates === ' ') this.#also.add('\x1b[0 q');
    if (final === 'q' && intermediates === '"') this.#also.add('\x1b[0"q');
    if (final === 'u' && (prefix === '>' || prefix === '=')) this.#also.add('\x1b[=0;1u');
  }

  /** Colours that a program chose for the whole terminal. */
  #osc(body: string): void {
    const number = /^\d+/.exec(body)?.[0] ?? '';
    if (number === '4') this.#also.add('\x1b]104\x1b\\');
    if (/^1[0-9]$/.test(number)) this.#also.add(`\x1b]1${number}\x1b\\`);
  }

  #set(mode: string, on: boolean): void {
    if (!/^\d{1,5}$/.test(mode)) return;
    if (on === onAtFirst.has(mode)) this.#changed.delete(mode);
    else if (this.#changed.size < modesMax) this.#changed.add(mode);
  }

  /** What puts the terminal back, and nothing where nothing was changed; forgets it. */
  restore(): string {
    const changed = [...this.#changed];
    const screens = changed.filter((mode) => alternateScreens.has(mode));
    const others = changed.filter((mode) => !alternateScreens.has(mode));
    // Cursor saves of the alternate screen are its own, so that is left after the rest.
    const back = [
      ...this.#also,
      ...others.map((mode) => `\x1b[?${mode}${onAtFirst.has(mode) ? 'h' : 'l'}`),
      ...screens.map((mode) => `\x1b[?${mode}l`),
    ].join('');
    this.#changed.clear();
    this.#also.clear();
    return back;
  }
}
