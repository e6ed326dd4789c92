import type { OwnedRun } from '../../audit/egress-events.ts';
import type { EventId } from '../../audit/event.ts';
import type { OwedEvents } from '../../audit/owed-events.ts';
import { Fault } from '../../contract/faults.ts';
import type { ExecSpec, RunTerminal } from '../../contract/runner-terminals.ts';
import { actorKind } from '../../model/actor.ts';
import type { RunId } from '../../model/ids.ts';
import type { TerminalSize } from '../../model/terminal.ts';
import type { SandboxExec } from '../../sandbox/terminal.ts';
import type { RunnerRecord } from '../record.ts';
import { terminalLimits } from './limits.ts';

/** A run whose command is running, as a place for others. */
export type ExecPlace = {
  readonly run: OwnedRun;
  /** Starts a command with the run's environment and folder, and what it asks for besides. */
  start(exec: ExecSpec, size: TerminalSize | null): Promise<SandboxExec>;
};

export type StartedExec = {
  readonly exec: SandboxExec;
  /** Once it has ended: puts that on the record, or owes it. */
  ended(end: { readonly code: number | null; readonly bytesIn: number; readonly bytesOut: number }): void;
};

/** Starts commands beside those of runs: a bounded number, and each on the record before it does anything. */
export class Execs {
  readonly #record: Pick<RunnerRecord, 'append'>;
  readonly #owed: OwedEvents;
  readonly #counts = new Map<RunId, number>();

  constructor(record: Pick<RunnerRecord, 'append'>, owed: OwedEvents) {
    this.#record = record;
    this.#owed = owed;
  }

  /** Throws Fault `quota.exceeded` where a run has as many commands as it may. */
  requireRoom(run: RunId): void {
    if ((this.#counts.get(run) ?? 0) < terminalLimits.execsPerRunMax) return;
    throw new Fault('quota.exceeded', {
      detail: `A run has at most ${terminalLimits.execsPerRunMax} commands beside its own at a time. End one of them.`,
    });
  }

  async start(place: ExecPlace, spec: ExecSpec, terminal: RunTerminal | null): Promise<StartedExec> {
    const { run } = spec;
    this.requireRoom(run);
    this.#counts.set(run, (this.#counts.get(run) ?? 0) + 1);
    try {
      const { id: of } = await this.#record.append(startEvent(place.run, spec, terminal));
      const end = (data: ExecEnd) => void this.#owed.append(endEvent(place.run, spec, of, data));
      const exec = await place.start(spec, terminal?.size ?? null).catch((error: unknown) => {
        end({ code: null, bytesIn: 0, bytesOut: 0 });
        throw error;
      });
      return {
        exec,
        ended: (data) => {
          this.#leave(run);
          end(data);
        },
      };
    } catch (error) {
      this.#leave(run);
      throw error;
    }
  }

  #leave(run: RunId): void {
    const count = this.#counts.get(run)! - 1;
    if (count === 0) this.#counts.delete(run);
    else this.#counts.set(run, count);
  }
}

type ExecEnd = { readonly code: number | null; readonly bytesIn: number; readonly bytesOut: number };

function startEvent(
  run: OwnedRun,
  { by, connection, command, cwd, env }: ExecSpec,
  terminal: RunTerminal | null,
) {
  return {
    ...commonParts(run, by),
    action: 'exec.start',
    phase: 'attempt',
    outcome: 'allowed',
    data: {
      connection,
      command: [...command],
      cwd,
      environment: Object.keys(env),
      terminal: terminal?.id ?? null,
    },
  } as const;
}

function endEvent(
  run: OwnedRun,
  { by, connection }: ExecSpec,
  of: EventId,
  { code, bytesIn, bytesOut }: ExecEnd,
) {
  return {
    ...commonParts(run, by),
    action: 'exec.end',
    phase: 'outcome',
    of,
    outcome: code === null ? 'failed' : 'succeeded',
    data: { connection, code, bytesIn, bytesOut },
  } as const;
}

function commonParts({ run, session }: OwnedRun, by: ExecSpec['by']) {
  return {
    actor: { id: by, kind: actorKind(by) },
    resource: { kind: 'run', id: run, session },
    decision: { allow: true, rule: 'control:order' },
  } as const;
}
