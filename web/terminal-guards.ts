import type { IDisposable, IFunctionIdentifier, Terminal } from '@xterm/xterm';

/**
 * What a sandbox prints draws, and does nothing else. Terminals also act on what they are shown: they set the clipboard
 * and the title, make links and, worst, type answers to questions as if the person had. Each of these is swallowed
 * here, before xterm.js sees it.
 */

/** Questions, and orders to the window: the terminal answers by typing, or would once an option is switched on. */
const controls: readonly IFunctionIdentifier[] = [
  { final: 'c' }, // DA1: what are you
  { prefix: '>', final: 'c' }, // DA2
  { prefix: '=', final: 'c' }, // DA3
  { final: 'n' }, // DSR: how are you, where is the cursor
  { prefix: '?', final: 'n' }, // DECDSR
  { final: 'x' }, // DECREQTPARM
  { intermediates: '$', final: 'p' }, // DECRQM: is this mode set
  { prefix: '?', intermediates: '$', final: 'p' },
  { intermediates: '*', final: 'y' }, // DECRQCRA: the checksum of what is on the screen
  { intermediates: '$', final: 'w' }, // DECRQPSR: the state of the presentation
  { prefix: '>', final: 'q' }, // XTVERSION
  { prefix: '?', final: 'u' }, // the keyboard protocol that is on
  { final: 't' }, // move, resize, report the window and its title
];

const strings: readonly IFunctionIdentifier[] = [
  { intermediates: '$', final: 'q' }, // DECRQSS: report a setting
  { intermediates: '+', final: 'q' }, // XTGETTCAP: report a capability
  { intermediates: '+', final: 'p' }, // XTSETTCAP
];

/**
 * No operating system command draws. 0–2 titles; 4, 5, 10–19, 104–119 colours, which also answer; 7 folder; 8 links;
 * 9, 99, 777 notifications; 50 font; 52 clipboard; 133, 633 shells' marks; 1337 files and more.
 */
const commands: readonly number[] = [
  ...[
    0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 21, 22, 46, 50, 51, 52, 60, 66, 99,
  ],
  ...[104, 105, 106, 110, 111, 112, 113, 114, 115, 116, 117, 118, 119, 133, 633, 777, 1337, 5522],
];

/** What does something as often as a number says; a few bytes of it would keep the page busy for minutes. */
const repeating: readonly IFunctionIdentifier[] = [
  ...['@', 'b', 'I', 'L', 'M', 'P', 'S', 'T', 'X', 'Z', '^'].map((final) => ({ final })),
  ...['@', 'A'].map((final) => ({ intermediates: ' ', final })),
  ...['}', '~'].map((final) => ({ intermediates: "'", final })),
];
/** More repetitions draw nothing that a screen could show. The runner's model of the screen has the same bound. */
const repetitionsMax = 1_000;

/** Lets what is written to a terminal draw and do nothing else, until disposed of. */
export function guardTerminal({ parser }: Pick<Terminal, 'parser'>): IDisposable {
  const swallow = () => true;
  const isEndless = ([count]: readonly (number | number[])[]) =>
    typeof count === 'number' && count > repetitionsMax;
  const guards = [
    ...repeating.map((id) => parser.registerCsiHandler(id, isEndless)),
    ...controls.map((id) => parser.registerCsiHandler(id, swallow)),
    ...strings.map((id) => parser.registerDcsHandler(id, swallow)),
    ...commands.map((id) => parser.registerOscHandler(id, swallow)),
  ];
  return {
    dispose() {
      for (const guard of guards) guard.dispose();
    },
  };
}

/** Focus coming and going is said by the terminal as soon as output asks for it: nobody typed that. */
const focusReport = /^\x1b\[[IO]$/;

/** Whether what xterm.js gives as data was typed, pasted or pointed at by the person. */
export function isTyped(data: string): boolean {
  return !focusReport.test(data);
}

/** Text to paste, without the characters that could end the paste and begin commands. */
export function pasteable(text: string): string {
  return text.replaceAll(/[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]/g, '');
}

const beyondLatin = /[\u0300-\uffff]/;
const endlessMarks = /([\p{M}\p{Cf}]{16})[\p{M}\p{Cf}]+/gu;

/** Text to write, where no character carries more marks than any script needs: each is kept in one cell's string. */
export function drawable(text: string): string {
  return beyondLatin.test(text) ? text.replace(endlessMarks, '$1') : text;
}
