import { isDeepStrictEqual } from 'node:util';
import type { Clock } from '../../base/clock.ts';
import type { AttachedClient, ClientFrame, InputBar, ServerFrame } from '../../contract/attach.ts';
import type { ConnectionId } from '../../model/ids.ts';
import { type AttachSettings, leaseMs } from '../../model/terminal.ts';
import type { Caller } from '../control.ts';
import type { Gate } from '../gate.ts';
import {
  comesBack,
  type Driver,
  dropLease,
  exclusiveHolder,
  type Granted,
  grantLease,
  handLease,
  type Leases,
  lapsedLeases,
  leaseOf,
  leaveLease,
  renewLease,
} from './leases.ts';
import { controlAttachLimits } from './limits.ts';
import type { Attached, AttachRecords, LeaseEvent } from './records.ts';

/** A client of a terminal, as far as typing is concerned. */
export type DrivingClient = {
  readonly attached: Attached;
  readonly caller: Caller;
  /** Whether it holds what a driver needs, so that it may watch over another; as it was last decided. */
  readonly mayObserve: boolean;
  readonly hasGone: boolean;
  send(frame: ServerFrame): void;
};

export type DrivingParts = {
  readonly gate: Gate;
  readonly clock: Clock;
  readonly records: AttachRecords;
};

/** What was typed on a lease and is not on record yet, and by whom. */
type Tally = { readonly client: DrivingClient; bytes: number; since: number };

/**
 * Who of a terminal's clients may type. A lease is on record before its first byte is; what ends one works whether it can
 * be recorded or not.
 */
export class Driving {
  readonly #parts: DrivingParts;
  readonly #clients: ReadonlySet<DrivingClient>;
  readonly #onChange: () => void;
  #settings: AttachSettings;
  #leases: Leases = [];
  readonly #tallies = new Map<ConnectionId, Tally>();
  /** What each client was last told of its input. */
  readonly #told = new Map<DrivingClient, ServerFrame & { type: 'input' }>();
  /** One change at a time, in the order in which they were asked for. */
  #turn: Promise<void> = Promise.resolve();

  constructor(
    parts: DrivingParts,
    settings: AttachSettings,
    clients: ReadonlySet<DrivingClient>,
    onChange: () => void,
  ) {
    this.#parts = parts;
    this.#settings = settings;
    this.#clients = clients;
    this.#onChange = onChange;
  }

  get settings(): AttachSettings {
    return this.#settings;
  }

  /** Whether somebody holds a lease, or may come back for it. */
  get isLeased(): boolean {
    return this.#leases.length > 0;
  }

  /** Why a client's input is not taken; null where it is. */
  barOf(client: DrivingClient): InputBar | null {
    if (client.attached.role !== 'driver') return 'viewer';
    if (leaseOf(this.#leases, client.attached.connection, this.#now) === null) return 'no-lease';
    if (this.#settings.moderated && !this.isObserved(client)) return 'no-observer';
    return this.#parts.gate.health().ok ? null : 'unrecorded';
  }

  isDriving({ attached }: DrivingClient): boolean {
    return leaseOf(this.#leases, attached.connection, this.#now) !== null;
  }

  /** Something was typed: the lease goes on, and the bytes are owed to the record. */
  typed(client: DrivingClient, bytes: number): void {
    const { connection } = client.attached;
    this.#renew(client);
    const tally = this.#tallies.get(connection);
    if (tally === undefined) this.#tallies.set(connection, { client, bytes, since: this.#now });
    else tally.bytes += bytes;
  }

  /** The lease goes on without typing. */
  keepAlive(client: DrivingClient): void {
    if (this.isDriving(client)) this.#renew(client);
  }

  /** A driver that came gets the lease where nobody has it, or it is its own from before. */
  async arrive(client: DrivingClient): Promise<void> {
    if (client.attached.role !== 'driver') return;
    await this.#inTurn(async () => {
      await this.#grant(client, client, (now) =>
        grantLease(this.#leases, this.#settings.mode, driverOf(client), { takeover: false, now }),
      );
    });
  }

  /** Throws Fault `audit.unavailable` where it cannot be recorded. Null where it was done, else why it was not. */
  async drive(
    client: DrivingClient,
    { takeover = false }: ClientFrame & { type: 'drive' },
  ): Promise<string | null> {
    return await this.#inTurn(async () => {
      const outcome = await this.#grant(client, client, (now) =>
        grantLease(this.#leases, this.#settings.mode, driverOf(client), { takeover, now }),
      );
      if (outcome === 'granted') return null;
      if (outcome === 'held')
        return 'Somebody else drives. Wait, ask to be handed the wheel, or take it over.';
      this.#renew(client);
      this.#tell(client, true);
      return null;
    });
  }

  async handOver(client: DrivingClient, to: ConnectionId): Promise<string | null> {
    return await this.#inTurn(async () => {
      if (this.#settings.mode !== 'exclusive') return 'Every driver has a lease of its own here.';
      const next = [...this.#clients].find(({ attached }) => attached.connection === to);
      if (next === undefined || next.hasGone) return 'There is no such client.';
      if (next.attached.role !== 'driver')
        return 'That client is a viewer. It has to attach as a driver first.';
      await this.#grant(client, next, (now) => handLease(this.#leases, driverOf(next), now));
      return null;
    });
  }

  release(client: DrivingClient): string | null {
    if (!this.isDriving(client)) return 'You do not hold the lease.';
    this.#endOf(client.attached.connection, 'released');
    this.changed();
    return null;
  }

  /** A client has gone. Its lease is kept for it, unless it was sent away. */
  left(client: DrivingClient, mayReturn: boolean): void {
    const { connection } = client.attached;
    this.#told.delete(client);
    if (!mayReturn && this.#leases.some(({ holder }) => holder === connection))
      this.#endOf(connection, 'ended');
    this.#leases = leaveLease(this.#leases, connection);
    this.#count(connection);
    this.changed();
  }

  /** What was typed until now goes on record; leases that lapsed end. To be called now and then. */
  look(): void {
    const now = this.#now;
    this.#endLapsed();
    for (const [connection, tally] of this.#tallies)
      if (tally.bytes > 0 && now - tally.since >= controlAttachLimits.countInputMs) this.#count(connection);
    this.changed();
  }

  /** Another way of attaching: who drives is settled anew where the mode is another. */
  configure(settings: AttachSettings): void {
    const before = this.#settings;
    this.#settings = settings;
    if (before.mode !== settings.mode) this.end();
    this.changed();
  }

  /** No lease any more. */
  end(): void {
    for (const { holder } of this.#leases) this.#endOf(holder, 'ended');
  }

  /** Tells each client whether it may type, where that is news. */
  changed(): void {
    for (const client of this.#clients) this.#tell(client, false);
  }

  /** What a client is told when it arrives. */
  greet(client: DrivingClient): void {
    this.#tell(client, true);
  }

  clients(): AttachedClient[] {
    return [...this.#clients].map((client) => ({
      connection: client.attached.connection,
      actor: client.caller.actor.id,
      role: client.attached.role,
      driving: this.isDriving(client),
    }));
  }

  get #now(): number {
    return this.#parts.clock.monotonic();
  }

  /** Whether a client of another actor watches that may. Nobody watches over whom it acts for. */
  isObserved(driver: Pick<DrivingClient, 'caller'>): boolean {
    const own = personsOf(driver);
    return [...this.#clients].some(
      (other) =>
        other.mayObserve && !other.hasGone && !personsOf(other).some((person) => own.includes(person)),
    );
  }

  /** Grants on behalf of `by` to `to`, once that is on record. */
  async #grant(
    by: DrivingClient,
    to: DrivingClient,
    plan: (now: number) => Granted,
  ): Promise<Granted['outcome']> {
    this.#endLapsed();
    const planned = plan(this.#now);
    if (planned.outcome !== 'granted') return planned.outcome;
    const { from } = planned;
    const event = eventOf(by, to, planned);
    const whose = { holder: to.attached.connection, from: from?.holder ?? null };
    await this.#parts.records.leaseGranted(by.caller, by.attached, event, whose);
    if (to.hasGone) {
      this.#parts.records.leaseEnded(to.caller, to.attached, 'ended');
      return planned.outcome;
    }
    // Leases may have lapsed or been released meanwhile; nobody else was granted one.
    const now = plan(this.#now);
    if (now.outcome !== 'granted') return now.outcome;
    if (from !== null) {
      this.#count(from.holder);
      this.#tallies.delete(from.holder);
    }
    this.#leases = now.leases;
    this.#tallies.set(to.attached.connection, { client: to, bytes: 0, since: this.#now });
    this.changed();
    this.#onChange();
    return 'granted';
  }

  #renew(client: DrivingClient): void {
    this.#leases = renewLease(this.#leases, client.attached.connection, this.#now);
    this.#tell(client, false);
  }

  #endLapsed(): void {
    for (const { holder } of lapsedLeases(this.#leases, this.#now)) this.#endOf(holder, 'lapsed');
  }

  #endOf(holder: ConnectionId, event: LeaseEvent): void {
    const client = this.#tallies.get(holder)?.client;
    this.#count(holder);
    this.#tallies.delete(holder);
    this.#leases = dropLease(this.#leases, holder);
    if (client !== undefined) this.#parts.records.leaseEnded(client.caller, client.attached, event);
    this.#onChange();
  }

  /** Puts on record what was typed since it last was. */
  #count(connection: ConnectionId): void {
    const tally = this.#tallies.get(connection);
    if (tally === undefined) return;
    const { client, bytes } = tally;
    tally.bytes = 0;
    tally.since = this.#now;
    if (bytes > 0) this.#parts.records.typed(client.caller, client.attached, bytes);
  }

  #tell(client: DrivingClient, anew: boolean): void {
    if (client.hasGone) return;
    const before = this.#told.get(client);
    if (before === undefined && !anew) return;
    const frame = this.#frameFor(client);
    if (!anew && before !== undefined && saysTheSame(before, frame)) return;
    this.#told.set(client, frame);
    client.send(frame);
  }

  #frameFor(client: DrivingClient): ServerFrame & { type: 'input' } {
    const bar = this.barOf(client);
    if (bar === null) return { type: 'input', allowed: true, until: this.#untilOf(client) };
    const holder = exclusiveHolder(this.#leases, this.#settings.mode, this.#now);
    return { type: 'input', allowed: false, bar, holder: holder?.holder ?? null };
  }

  /** On the clock that people read. */
  #untilOf({ attached }: DrivingClient): number {
    const { clock } = this.#parts;
    const until = leaseOf(this.#leases, attached.connection, this.#now)?.until ?? this.#now + leaseMs;
    return Math.round(clock.now() + until - clock.monotonic());
  }

  async #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const before = this.#turn;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#turn = promise;
    try {
      await before;
      return await work();
    } finally {
      resolve();
    }
  }
}

/** By which a driver comes back: its connection is another then. */
function driverOf({ attached, caller }: DrivingClient): Driver {
  const { id, credential = '', onBehalfOf = '' } = caller.actor;
  return { connection: attached.connection, key: `${id} ${credential} ${onBehalfOf}` };
}

function personsOf({ caller: { actor } }: Pick<DrivingClient, 'caller'>): readonly string[] {
  return actor.onBehalfOf === undefined ? [actor.id] : [actor.id, actor.onBehalfOf];
}

function eventOf(
  by: DrivingClient,
  to: DrivingClient,
  { from }: Granted & { outcome: 'granted' },
): LeaseEvent {
  if (by !== to) return 'handed-over';
  if (from === null) return 'taken';
  return comesBack(from, driverOf(to)) ? 'kept' : 'taken-over';
}

function saysTheSame(a: ServerFrame & { type: 'input' }, b: ServerFrame & { type: 'input' }): boolean {
  if (!a.allowed || !b.allowed) return isDeepStrictEqual(a, b);
  return Math.abs(b.until - a.until) < controlAttachLimits.tellLeaseMs;
}
