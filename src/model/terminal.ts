/** How large a terminal is, in characters. */
export type TerminalSize = { readonly columns: number; readonly rows: number };

/** No program draws on more, and a screen of this size still fits a model of it in memory. */
export const terminalBounds = { columnsMax: 1_000, rowsMax: 500 } as const;

export const defaultTerminalSize: TerminalSize = { columns: 80, rows: 24 };

/** A viewer reads; a driver types. */
export const attachRoles = ['viewer', 'driver'] as const;
export type AttachRole = (typeof attachRoles)[number];

/** Whether one driver types at a time, or several do. */
export const attachModes = ['exclusive', 'collaborative'] as const;
export type AttachMode = (typeof attachModes)[number];

/** What a session says of attaching to its runs. Off is the default of everything. */
export type AttachSettings = {
  readonly enabled: boolean;
  readonly mode: AttachMode;
  /** Whether a driver may type only while somebody else who holds `control:write` watches. */
  readonly moderated: boolean;
  /** Whether what is typed is recorded beside what is shown. */
  readonly recordInput: boolean;
};

export const attachOff: AttachSettings = {
  enabled: false,
  mode: 'exclusive',
  moderated: false,
  recordInput: false,
};

/** The driver's time-boxed right to type; renewed by typing and by keep-alive. */
export const leaseMs = 30_000;

/** Whether both are whole numbers within `terminalBounds`. */
export function isTerminalSize({ columns, rows }: TerminalSize): boolean {
  const fits = (value: number, max: number) => Number.isInteger(value) && value >= 1 && value <= max;
  return fits(columns, terminalBounds.columnsMax) && fits(rows, terminalBounds.rowsMax);
}
