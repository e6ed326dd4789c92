/**
 * A run's life: `queued → starting → running → succeeded | failed | cancelled | timed-out`. Terminal is
 * terminal: a finished run never runs again, and resuming makes a new run that names its parent.
 */
export const runPhases = [
  'queued',
  'starting',
  'running',
  'succeeded',
  'failed',
  'cancelled',
  'timed-out',
] as const;
export type RunPhase = (typeof runPhases)[number];
export type TerminalPhase = 'succeeded' | 'failed' | 'cancelled' | 'timed-out';
export type LivePhase = Exclude<RunPhase, TerminalPhase>;

export const failureCauses = [
  'provisioning',
  'image',
  'network',
  'repo-access',
  'auth',
  'agent-readiness',
  'limit-memory',
  'limit-pids',
  'limit-disk',
  'runner-lost',
  'policy',
  'exit',
] as const;
export type FailureCause = (typeof failureCauses)[number];

/**
 * How the command ended; both are null when none ran. `code` is the status byte, 128 + n for a death by signal
 * n, and `signal` names that signal.
 */
export type Exit = { readonly code: number | null; readonly signal: string | null };

export type RunState =
  | { readonly phase: 'queued'; readonly queuedAt: number }
  | { readonly phase: 'starting'; readonly queuedAt: number; readonly startingAt: number }
  | {
      readonly phase: 'running';
      readonly queuedAt: number;
      readonly startingAt: number;
      readonly runningAt: number;
    }
  | FinishedRun;

export type FinishedRun = {
  readonly phase: TerminalPhase;
  readonly queuedAt: number;
  readonly startingAt: number | null;
  readonly runningAt: number | null;
  readonly finishedAt: number;
  /** Set exactly when the phase is `failed`. */
  readonly cause: FailureCause | null;
  /** One sentence for people; empty when there is nothing to add. */
  readonly reason: string;
  readonly exit: Exit;
};

export type Ending =
  | { readonly phase: 'succeeded'; readonly exit: Exit }
  | { readonly phase: 'failed'; readonly cause: FailureCause; readonly reason: string; readonly exit: Exit }
  | { readonly phase: 'cancelled' | 'timed-out'; readonly reason: string; readonly exit: Exit };

export type RunChange =
  | { readonly to: 'starting'; readonly at: number }
  | { readonly to: 'running'; readonly at: number }
  | { readonly to: 'finished'; readonly at: number; readonly ending: Ending };

const allowed: Record<RunPhase, ReadonlySet<RunChange['to']>> = {
  queued: new Set(['starting', 'finished']),
  starting: new Set(['running', 'finished']),
  running: new Set(['finished']),
  succeeded: new Set(),
  failed: new Set(),
  cancelled: new Set(),
  'timed-out': new Set(),
};

/** A run in one of these phases never runs again. */
export function isTerminal(phase: RunPhase): phase is TerminalPhase {
  return allowed[phase].size === 0;
}

/** The next state, or null when the transition is illegal; nothing else ever makes a state. */
export function advanceRun(state: RunState, change: RunChange): RunState | null {
  if (!allowed[state.phase].has(change.to)) return null;
  if (change.to === 'starting') return { phase: 'starting', queuedAt: state.queuedAt, startingAt: change.at };
  if (change.to === 'running') {
    if (state.phase !== 'starting') return null;
    return { ...state, phase: 'running', runningAt: change.at };
  }
  const { ending } = change;
  return {
    phase: ending.phase,
    queuedAt: state.queuedAt,
    startingAt: 'startingAt' in state ? state.startingAt : null,
    runningAt: 'runningAt' in state ? state.runningAt : null,
    finishedAt: change.at,
    cause: ending.phase === 'failed' ? ending.cause : null,
    reason: 'reason' in ending ? ending.reason : '',
    exit: ending.exit,
  };
}

/** The exit status that `sealwright run` ends with: the command's own, or docker's numbers for our failures. */
export function exitStatusOf(finished: Pick<FinishedRun, 'phase' | 'exit'>): number {
  if (finished.phase === 'timed-out') return 124;
  if (finished.exit.code !== null) return finished.exit.code;
  return finished.phase === 'cancelled' ? 130 : 125;
}

const signalNumbers: Record<string, number> = {
  SIGHUP: 1,
  SIGINT: 2,
  SIGQUIT: 3,
  SIGILL: 4,
  SIGTRAP: 5,
  SIGABRT: 6,
  SIGBUS: 7,
  SIGFPE: 8,
  SIGKILL: 9,
  SIGUSR1: 10,
  SIGSEGV: 11,
  SIGUSR2: 12,
  SIGPIPE: 13,
  SIGALRM: 14,
  SIGTERM: 15,
  SIGSTKFLT: 16,
  SIGXCPU: 24,
  SIGXFSZ: 25,
  SIGVTALRM: 26,
  SIGPROF: 27,
  SIGIO: 29,
  SIGPWR: 30,
  SIGSYS: 31,
};

/**
 * The exit a status byte stands for. A shell and bubblewrap both report a command that died of signal n as
 * 128 + n; a command that itself exits with such a number reads the same.
 */
export function exitFromStatus(status: number): Exit {
  const signal = Object.entries(signalNumbers).find(([, number]) => number === status - 128)?.[0];
  return { code: status, signal: signal ?? null };
}
