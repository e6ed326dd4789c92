import type { Sequence } from '../../base/escape-parser.ts';

/**
 * What may reach the user's terminal. `draws` is for what nobody answers to (a recording, somebody else's terminal): only
 * what puts characters somewhere, and nothing that makes a terminal answer, keep, open, print or tell anything, or changes
 * what its keys and mouse send. `drives` is for one's own live terminal: programs there may ask it what it is, and use its
 * keys and mouse; what reaches past the terminal (clipboard, printer, files, windows) or makes it repeat words of the
 * program as if they were typed stays out.
 */
export type EscapePolicy = {
  readonly stringCharactersMax: number;
  allows(sequence: Sequence): boolean;
};

type Csi = Extract<Sequence, { readonly kind: 'csi' }>;

/** Numbers that are larger mean nothing on a screen, and much work for some terminals. */
const numberMax = 9_999;

export const draws: EscapePolicy = {
  stringCharactersMax: 0,
  allows(sequence) {
    if (sequence.kind === 'text') return true;
    if (sequence.kind === 'control') return /[\b-\u000f]/.test(sequence.character);
    if (sequence.kind === 'escape') return escapeDraws(sequence.intermediates, sequence.final);
    return sequence.kind === 'csi' && isPlain(sequence) && csiDraws(sequence);
  },
};

/** Saves and restores the cursor, moves it by lines, sets tabs, chooses line drawing, tests alignment. */
function escapeDraws(intermediates: string, final: string): boolean {
  if (intermediates === '') return /[78DEHM]/.test(final);
  if (/^[()*+]$/.test(intermediates)) return /[0AB]/.test(final);
  return intermediates === '#' && /[3-68]/.test(final);
}

function isPlain({ parameters }: Csi): boolean {
  return parameters.split(/[;:]/).every((number) => Number(number) <= numberMax);
}

/** Reverse video, origin, autowrap, blinking and visible cursor, alternate screens, saved cursor, side margins. */
const drawingModes: ReadonlySet<string> = new Set([
  '5',
  '6',
  '7',
  '12',
  '25',
  '47',
  '69',
  '1047',
  '1048',
  '1049',
]);

function csiDraws({ prefix, parameters, intermediates, final }: Csi): boolean {
  if (intermediates !== '')
    return prefix === '' && /^(?: [q@A]|![p]|"[q]|'[}~])$/.test(intermediates + final);
  if (prefix === '?') {
    if (final === 'J' || final === 'K') return true;
    return /[hl]/.test(final) && parameters.split(';').every((mode) => drawingModes.has(mode));
  }
  if (prefix !== '') return false;
  // Insert mode, and whether a line feed returns too, are of the screen; keyboard lock and local echo are not.
  if (final === 'h' || final === 'l')
    return parameters.split(';').every((mode) => mode === '4' || mode === '20');
  // With more parameters it is a mouse mode.
  if (final === 'T') return !parameters.includes(';');
  // The lines that have scrolled away are the user's.
  if (final === 'J') return parameters !== '3';
  return /[@A-MPSXZ`abdefgmrsu]/.test(final);
}

export const drives: EscapePolicy = {
  /** An image in sixels may be that long. */
  stringCharactersMax: 4 * 1024 * 1024,
  allows(sequence) {
    switch (sequence.kind) {
      case 'text':
        return true;
      case 'control':
        // ENQ makes a terminal say what its user set as its answer.
        return /[\u0007-\u000f]/.test(sequence.character);
      case 'escape':
        // Another character set than UTF-8; the end of a string that is none.
        if (sequence.intermediates === '%') return sequence.final === 'G';
        return sequence.final !== '\\';
      case 'csi':
        return csiDrives(sequence);
      case 'osc':
        return oscDrives(sequence.body);
      case 'dcs':
        // Sixels; others ask for settings, define keys, or hand sequences on to a terminal around this one.
        return sequence.body !== null && /^[0-9;]*q/.test(sequence.body);
      default:
        return false;
    }
  },
};

/** Window operations that only ask for sizes, or keep titles on the terminal's own stack. */
const windowOperations: ReadonlySet<string> = new Set(['14', '15', '16', '18', '19', '22', '23']);

/** What is done as often as its number says: characters, lines, scrolling, tabs. */
const repeating = /[@bILMPSTXZ^]/;

function csiDrives(sequence: Csi): boolean {
  const { parameters, intermediates, final } = sequence;
  if (repeating.test(final) && !isPlain(sequence)) return false;
  if (intermediates !== '') {
    return /^(?: [q@A]|![p]|"[pq]|\$[prtvxz{]|'[}~]|#[pq{}])$/.test(intermediates + final);
  }
  if (final === 't') return windowOperations.has(parameters.split(';')[0] ?? '');
  // Media copy prints.
  return final !== 'i';
}

/**
 * Titles, colours, the working folder, links, marks of prompts and progress. Not among them: the clipboard (52), files and
 * programs of iTerm (1337), notifications (9, 99, 777), fonts (50).
 */
function oscDrives(body: string | null): boolean {
  if (body === null) return false;
  const number = /^\d{0,4}(?=;|$)/.exec(body)?.[0] ?? '';
  if (number === '9') return body.startsWith('9;4;');
  return /^(?:[0-2]|4|7|8|1[0-9]|104|11[0-9]|133)$/.test(number);
}
