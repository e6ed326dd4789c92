/** A failure that a person can act on: shown as `sealwright: <message>` and the hint, without a stack. */
export class CliFailure extends Error {
  readonly hint: string | null;
  /** The exit status; null for the command's usual one (125 for `run`, otherwise 1). */
  readonly status: number | null;

  constructor(message: string, options: { hint?: string; status?: number; cause?: unknown } = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = 'CliFailure';
    this.hint = options.hint ?? null;
    this.status = options.status ?? null;
  }
}

/** The command line itself is wrong: exit status 2 (125 for `run`, whose other numbers belong to the command). */
export class UsageFailure extends CliFailure {
  constructor(message: string, hint?: string) {
    super(message, hint === undefined ? {} : { hint });
    this.name = 'UsageFailure';
  }
}

export const exitStatus = { ok: 0, failure: 1, usage: 2, ownFailure: 125, brokenPipe: 141 } as const;
