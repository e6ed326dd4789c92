import type { TerminalSize } from '../../model/terminal.ts';

/** What the runner and the thread that models screens say to each other. Orders of one screen are carried out in turn. */
export type ToScreens = { readonly screen: number } & (
  | { readonly order: 'open'; readonly size: TerminalSize }
  | { readonly order: 'write'; readonly bytes: Uint8Array }
  | { readonly order: 'resize'; readonly size: TerminalSize }
  | { readonly order: 'snapshot'; readonly question: number }
  | { readonly order: 'close' }
);

export type FromScreens =
  /** So many bytes more of it are drawn. */
  | { readonly screen: number; readonly taken: number }
  | { readonly question: number; readonly bytes: Uint8Array }
  /** It took too much time and is gone. */
  | { readonly screen: number; readonly lost: true };

/** What the thread is given: the number of the screen that it draws on, readable whatever it does. */
export type ScreenThreadData = { readonly drawing: Int32Array };
