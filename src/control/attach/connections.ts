import type { Clock } from '../../base/clock.ts';
import { type AttachCloseReason, attachLimits } from '../../contract/attach.ts';
import { absent, Fault } from '../../contract/faults.ts';
import type { ActionName } from '../../model/actions.ts';
import type { ActorId } from '../../model/actor.ts';
import type { RunId, SessionId, TerminalId } from '../../model/ids.ts';
import type { AttachSettings } from '../../model/terminal.ts';
import type { RunRecord, SessionRecord, Store } from '../../store/store.ts';
import type { Caller } from '../control.ts';
import type { Gate } from '../gate.ts';
import type { LiveRuns } from '../live-runs.ts';
import type { Logger } from '../logger.ts';
import { findRun, runAct } from '../run-access.ts';
import type { RunnerLink } from '../runner-link.ts';
import { LiveTerminal } from './live-terminal.ts';
import { type Attached, AttachRecords, type DisconnectReason } from './records.ts';
import { AttachWatch, type Watched } from './watch.ts';

export type ConnectionsParts = {
  readonly store: Store;
  readonly gate: Gate;
  readonly live: LiveRuns;
  readonly link: RunnerLink;
  readonly clock: Clock;
  readonly logger: Logger;
  /** The same caller as it is now; null where its credential has ended. */
  readonly renew: (caller: Caller) => Promise<Caller | null>;
  /** Calls after every change that may take a right away. */
  readonly onIdentityChange: (listener: () => void) => () => void;
};

/** A connection that was let in, as far as all kinds are alike. */
export type Open = Watched & { readonly attached: Attached };

export type Ended = {
  readonly reason: DisconnectReason;
  readonly bytesIn: number;
  readonly bytesOut: number;
};

/** Everybody who is attached, and the terminals that they are attached to. */
export class Connections {
  readonly #parts: ConnectionsParts;
  readonly #watch: AttachWatch;
  readonly #terminals = new Map<TerminalId, LiveTerminal>();
  readonly #open = new Set<Open>();
  /** Let in or about to be, by run and by actor. */
  readonly #ofRun = new Map<RunId, number>();
  readonly #ofActor = new Map<ActorId, number>();
  readonly records: AttachRecords;
  #closed = false;

  constructor(parts: ConnectionsParts) {
    this.#parts = parts;
    this.records = new AttachRecords(parts.gate);
    this.#watch = new AttachWatch({
      renew: parts.renew,
      onChange: parts.onIdentityChange,
      clock: parts.clock,
      logger: parts.logger,
      onLook: () => {
        for (const terminal of this.#terminals.values()) terminal.look();
      },
    });
  }

  get count(): number {
    return this.#open.size;
  }

  get terminals(): number {
    return this.#terminals.size;
  }

  /** Takes one of the places that a run and an actor have; false where there is none left. */
  reserve(run: RunId, actor: ActorId): boolean {
    if (this.#closed) return false;
    const [ofRun, ofActor] = [this.#ofRun.get(run) ?? 0, this.#ofActor.get(actor) ?? 0];
    const { connectionsPerRunMax, connectionsPerActorMax } = attachLimits;
    if (ofRun >= connectionsPerRunMax || ofActor >= connectionsPerActorMax) return false;
    this.#ofRun.set(run, ofRun + 1);
    this.#ofActor.set(actor, ofActor + 1);
    return true;
  }

  vacate(run: RunId, actor: ActorId): void {
    takeOne(this.#ofRun, run);
    takeOne(this.#ofActor, actor);
  }

  /** The terminal as all its clients share it. */
  terminal(run: RunRecord, session: SessionRecord, id: TerminalId, startedBy: ActorId): LiveTerminal {
    const known = this.#terminals.get(id);
    if (known !== undefined) return known;
    const terminal: LiveTerminal = new LiveTerminal(
      { ...this.#parts, records: this.records },
      {
        id,
        run: run.id,
        session: session.id,
        startedBy,
        settings: session.attach,
        onIdle: () => {
          if (this.#terminals.get(id) === terminal) this.#terminals.delete(id);
          terminal.dispose();
        },
      },
    );
    this.#terminals.set(id, terminal);
    return terminal;
  }

  known(id: TerminalId): LiveTerminal | null {
    return this.#terminals.get(id) ?? null;
  }

  /** Whether somebody watches a run who may watch over what the caller does. */
  isObserved(run: RunId, caller: Caller): boolean {
    return [...this.#terminals.values()].some(
      (terminal) => terminal.run === run && terminal.driving.isObserved({ caller }),
    );
  }

  /** A client is here: it is decided about at once, and from then on. */
  opened(connection: Open): void {
    this.#open.add(connection);
    this.#watch.add(connection);
    if (this.#closed) connection.cut('goingAway', goingAwayText);
  }

  /** It has gone. What was typed and shown goes on record. */
  gone(connection: Open, ended: Ended): void {
    this.#watch.delete(connection);
    this.#open.delete(connection);
    this.records.disconnected(connection.caller, connection.attached, ended);
    this.vacate(connection.attached.run, connection.caller.actor.id);
  }

  /** Decides about one now; false where it was cut. */
  recheck(connection: Watched): Promise<boolean> {
    return this.#watch.check(connection, true);
  }

  /** Decides again what a connection was let in for. */
  async decide(caller: Caller, id: RunId, acts: readonly ActionName[]): Promise<Decided> {
    const { store, gate } = this.#parts;
    const run = await findRun(store, id);
    for (const act of acts) await gate.read(caller, runAct(act, run));
    const session = await store.sessions.get(run.session);
    if (session === null) throw absent('session');
    return { run, session };
  }

  /** The same for a connection that goes on: its session must still let people attach, to what it is to. */
  async still(
    caller: Caller,
    { run, terminal }: Attached,
    acts: readonly ActionName[],
  ): Promise<SessionRecord> {
    const { session } = await this.decide(caller, run, acts);
    const { attach, phase } = session;
    const denied = (detail: string) => new Fault('access.denied', { detail });
    if (!attach.enabled) throw denied('Attaching was switched off.');
    if (attach.moderated && terminal === null) throw denied(unwatchedText);
    if (phase === 'terminating' || phase === 'closed') throw denied('The session was closed.');
    return session;
  }

  configure(session: SessionId, settings: AttachSettings): void {
    for (const terminal of this.#terminals.values())
      if (terminal.session === session) terminal.configure(settings);
    if (!settings.enabled)
      this.endSession(session, 'switchedOff', 'Attaching was switched off for the session.');
    else if (settings.moderated) this.#endUnwatched(session);
  }

  endSession(session: SessionId, reason: AttachCloseReason, detail: string): void {
    for (const connection of [...this.#open])
      if (connection.attached.session === session) connection.cut(reason, detail);
  }

  close(): void {
    this.#closed = true;
    this.#watch.close();
    for (const connection of [...this.#open]) connection.cut('goingAway', goingAwayText);
    for (const terminal of this.#terminals.values()) terminal.dispose();
    this.#terminals.clear();
  }

  /** Commands with pipes and ports, which nobody can watch. */
  #endUnwatched(session: SessionId): void {
    for (const connection of [...this.#open]) {
      const { attached } = connection;
      if (attached.session === session && attached.terminal === null)
        connection.cut('switchedOff', unwatchedText);
    }
  }
}

export type Decided = { readonly run: RunRecord; readonly session: SessionRecord };

const unwatchedText = 'The session is moderated now, and nobody can watch this.';

const goingAwayText = 'The server stops. Come again in a moment.';

function takeOne<K>(counts: Map<K, number>, key: K): void {
  const left = (counts.get(key) ?? 1) - 1;
  if (left === 0) counts.delete(key);
  else counts.set(key, left);
}
