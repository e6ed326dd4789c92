import { FitAddon } from '@xterm/addon-fit';
import { type ITheme, Terminal } from '@xterm/xterm';
import { isTerminalSize, type TerminalSize } from '../src/model/terminal.ts';
import { element } from './elements.ts';
import { keepStylesStrict } from './strict-styles.ts';
import { drawable, guardTerminal, isTyped, pasteable } from './terminal-guards.ts';

/** A terminal on a page: it draws what a sandbox printed and does nothing else that the sandbox asks for. */
export type TerminalView = {
  readonly box: HTMLElement;
  /** Resolves once it is drawn. */
  write(data: Uint8Array | string): Promise<void>;
  /** Forgets everything, modes and colours too. */
  reset(): void;
  /** Draws at this size, in letters small enough for the page where that is wide. */
  resize(size: TerminalSize): void;
  /** The size that the window has room for, in letters of ordinary size; null while it is not shown. */
  room(): TerminalSize | null;
  /** Whether keys go to the program. Where not they stay the browser's: Tab goes on, space scrolls. */
  setTyping(isTyping: boolean): void;
  setScreenReader(isOn: boolean): void;
  copySelection(): boolean;
  hasSelection(): boolean;
  focus(): void;
  dispose(): void;
};

export type TerminalEvents = {
  /** What the person typed or pasted, or did with a pointer that the program asked for. */
  typed?(bytes: Uint8Array): void;
  selected?(): void;
  /** The person leaves the terminal by the keyboard. */
  left?(): void;
  /** The window has another size. */
  roomChanged?(): void;
};

const fontSize = { usual: 14, min: 5 };
const scrollbackLines = 10_000;

const themes: Readonly<Record<'light' | 'dark', ITheme>> = {
  light: {
    background: '#ffffff',
    foreground: '#1d2126',
    cursor: '#2f5d50',
    cursorAccent: '#ffffff',
    selectionBackground: '#b9d9cd',
    ...{ black: '#1d2126', red: '#a3271f', green: '#1f6b3a', yellow: '#7a5300', blue: '#1f55a5' },
    ...{ magenta: '#84338f', cyan: '#0b6670', white: '#59616b', brightBlack: '#6d7480' },
    ...{ brightRed: '#c03a2f', brightGreen: '#2b7d47', brightYellow: '#8a6100', brightBlue: '#2f6bc4' },
    ...{ brightMagenta: '#9c49a8', brightCyan: '#147a86', brightWhite: '#1d2126' },
  },
  dark: {
    background: '#0f1114',
    foreground: '#e8e9eb',
    cursor: '#7fc4ac',
    cursorAccent: '#10201a',
    selectionBackground: '#33564b',
    ...{ black: '#30353d', red: '#ff9b91', green: '#8fd6a5', yellow: '#e8c87a', blue: '#8ab8ff' },
    ...{ magenta: '#dba5e6', cyan: '#7fd0da', white: '#d3d6da', brightBlack: '#8b93a0' },
    ...{ brightRed: '#ffb8b0', brightGreen: '#aee6bf', brightYellow: '#f3dc9f', brightBlue: '#aecdff' },
    ...{ brightMagenta: '#e9c4f0', brightCyan: '#a4e1e9', brightWhite: '#ffffff' },
  },
};

export function openTerminalView(label: string, events: TerminalEvents = {}): TerminalView {
  keepStylesStrict();
  const dark = matchMedia('(prefers-color-scheme: dark)');
  const theme = () => themes[dark.matches ? 'dark' : 'light'];
  const terminal = new Terminal({
    ...{ cols: 80, rows: 24, scrollback: scrollbackLines, fontSize: fontSize.usual, theme: theme() },
    ...{ disableStdin: true, minimumContrastRatio: 4.5, cursorInactiveStyle: 'outline', logLevel: 'off' },
    fontFamily: 'ui-monospace, "DejaVu Sans Mono", Menlo, Consolas, monospace',
    // Links of output are swallowed; were one to come through, it would open nothing.
    linkHandler: { activate: () => {} },
  });
  guardTerminal(terminal);
  const fit = new FitAddon();
  terminal.loadAddon(fit);
  const stage = element('div', { class: 'terminal-stage' });
  const box = element('div', { class: 'terminal-box', role: 'group', 'aria-label': label }, stage);
  const follow = () => {
    terminal.options.theme = theme();
  };
  dark.addEventListener('change', follow);
  const watcher = new ResizeObserver(() => {
    if (terminal.element === undefined) open();
    shrink(terminal, fit, stage);
    events.roomChanged?.();
  });
  const open = () => {
    terminal.open(stage);
    terminal.textarea?.setAttribute('aria-label', label);
    terminal.textarea?.setAttribute('tabindex', '0');
  };
  watcher.observe(box);
  takeKeys(terminal, events);
  takePastes(terminal, stage);
  takeInput(terminal, events);
  return viewOf({ terminal, fit, box, stage }, () => {
    dark.removeEventListener('change', follow);
    watcher.disconnect();
  });
}

type Parts = {
  readonly terminal: Terminal;
  readonly fit: FitAddon;
  readonly box: HTMLElement;
  readonly stage: HTMLElement;
};

function viewOf({ terminal, fit, box, stage }: Parts, dispose: () => void): TerminalView {
  let decoder = new TextDecoder();
  return {
    box,
    write(data) {
      const text = typeof data === 'string' ? data : decoder.decode(data, { stream: true });
      return new Promise((resolve) => terminal.write(drawable(text), resolve));
    },
    reset() {
      decoder = new TextDecoder();
      // In the stream, so that it comes behind what was written before and waits to be drawn.
      terminal.write('\x1bc');
    },
    resize(size) {
      if (!isTerminalSize(size)) return;
      if (terminal.cols !== size.columns || terminal.rows !== size.rows)
        terminal.resize(size.columns, size.rows);
      shrink(terminal, fit, stage);
    },
    room: () => roomOf(terminal, fit, box),
    setTyping(isTyping) {
      terminal.options.disableStdin = !isTyping;
      terminal.options.cursorBlink = isTyping;
      box.classList.toggle('typing', isTyping);
    },
    setScreenReader(isOn) {
      terminal.options.screenReaderMode = isOn;
    },
    copySelection: () => copySelection(terminal),
    hasSelection: () => terminal.hasSelection(),
    focus: () => terminal.focus(),
    dispose() {
      dispose();
      terminal.dispose();
    },
  };
}

/** How many characters of ordinary size have room; what the letters are now does not matter. */
function roomOf(terminal: Terminal, fit: FitAddon, box: HTMLElement): TerminalSize | null {
  const now = fit.proposeDimensions();
  if (now === undefined || box.clientHeight === 0) return null;
  const scale = (terminal.options.fontSize ?? fontSize.usual) / fontSize.usual;
  const cell = cellOf(terminal);
  if (cell === null) return null;
  const size = {
    columns: Math.min(1_000, Math.max(20, Math.floor(now.cols * scale))),
    rows: Math.min(500, Math.max(5, Math.floor(roomHeight(box) / (cell.height / scale)))),
  };
  return isTerminalSize(size) ? size : null;
}

/** The rest of the window below the terminal's upper edge, but for a line that says how to leave it. */
function roomHeight(box: HTMLElement): number {
  const { top } = box.getBoundingClientRect();
  return Math.max(240, window.innerHeight - Math.max(0, top + window.scrollY) - 80);
}

function cellOf(terminal: Terminal): { readonly width: number; readonly height: number } | null {
  const screen = terminal.element?.querySelector('.xterm-screen');
  if (screen === null || screen === undefined) return null;
  const { width, height } = screen.getBoundingClientRect();
  return height === 0 ? null : { width: width / terminal.cols, height: height / terminal.rows };
}

/** Letters as large as usual, or smaller where a line would not fit. */
function shrink(terminal: Terminal, fit: FitAddon, stage: HTMLElement): void {
  const now = fit.proposeDimensions();
  if (now === undefined || stage.clientWidth === 0) return;
  const current = terminal.options.fontSize ?? fontSize.usual;
  const fitting = Math.floor((current * now.cols) / terminal.cols);
  const wanted = Math.min(fontSize.usual, Math.max(fontSize.min, fitting));
  if (wanted !== current) terminal.options.fontSize = wanted;
}

/**
 * Keys of somebody who watches stay the browser's, so that Tab is no trap. Who drives leaves with Ctrl+F6. Copying works
 * for both: Ctrl+C where it cannot be meant for the program, Ctrl+Shift+C always.
 */
function takeKeys(terminal: Terminal, { left }: TerminalEvents): void {
  terminal.attachCustomKeyEventHandler((event) => {
    const { key, ctrlKey, shiftKey, metaKey, type } = event;
    const isTyping = terminal.options.disableStdin !== true;
    if (ctrlKey && key === 'F6') {
      if (type === 'keydown') left?.();
      event.preventDefault();
      return false;
    }
    if (ctrlKey && shiftKey && key.toLowerCase() === 'c') {
      if (type === 'keydown') copySelection(terminal);
      event.preventDefault();
      return false;
    }
    if (metaKey || (ctrlKey && shiftKey && key.toLowerCase() === 'v')) return false;
    const isScrolling = shiftKey && ['PageUp', 'PageDown', 'Home', 'End'].includes(key);
    return isTyping || isScrolling;
  });
}

/** Goes through the browser's own copying, which works without any permission, and only on somebody's key or click. */
function copySelection(terminal: Terminal): boolean {
  if (!terminal.hasSelection()) return false;
  terminal.focus();
  return document.execCommand('copy');
}

function takePastes(terminal: Terminal, stage: HTMLElement): void {
  stage.addEventListener(
    'paste',
    (event) => {
      event.preventDefault();
      event.stopPropagation();
      if (terminal.options.disableStdin === true) return;
      terminal.paste(pasteable(event.clipboardData?.getData('text/plain') ?? ''));
    },
    { capture: true },
  );
}

function takeInput(terminal: Terminal, { typed, selected }: TerminalEvents): void {
  if (selected !== undefined) terminal.onSelectionChange(selected);
  if (typed === undefined) return;
  const encoder = new TextEncoder();
  terminal.onData((data) => {
    if (isTyped(data)) typed(encoder.encode(data));
  });
  // Pointers of old protocols: each character is a byte.
  terminal.onBinary((data) => typed(Uint8Array.from(data, (character) => character.charCodeAt(0) & 0xff)));
}
