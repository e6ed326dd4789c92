import type { JsonObject } from '../../base/canonical-json.ts';
import type { AttachCloseReason } from '../../contract/attach.ts';
import { addressKey } from '../../model/address-key.ts';
import type { ConnectionId, RunId, SessionId, TerminalId } from '../../model/ids.ts';
import type { AttachRole } from '../../model/terminal.ts';
import type { Caller } from '../control.ts';
import type { Gate } from '../gate.ts';
import type { TicketRefusal } from './tickets.ts';

/** Why a connection ended, for the record. */
export type DisconnectReason = AttachCloseReason | 'left' | 'lost' | 'never-came' | 'not-started';

/** What became of a lease. */
export type LeaseEvent =
  | 'taken'
  | 'taken-over'
  | 'handed-over'
  /** Its holder came back within its time. */
  | 'kept'
  | 'released'
  | 'lapsed'
  /** The terminal ended, or its session's way of attaching was changed. */
  | 'ended';

/** What a connection is to, in the words of the record. */
export type Attached = {
  readonly connection: ConnectionId;
  readonly run: RunId;
  readonly session: SessionId;
  readonly kind: 'terminal' | 'exec' | 'port';
  readonly terminal: TerminalId | null;
  readonly role: AttachRole;
  readonly port: number | null;
};

export type AttachRefusal =
  | TicketRefusal
  | 'origin'
  | 'ticket-in-url'
  | 'ticket-missing'
  | 'protocol'
  | 'rate'
  /** The credential behind the ticket has ended. */
  | 'actor-ended'
  /** A decision; the gate has recorded which. */
  | 'denied'
  | 'switched-off'
  | 'moderated'
  | 'nothing-there'
  | 'too-many'
  | 'unrecorded'
  | 'failed';

const nobody = { id: 'system:nobody' } as const;

/** The events of attaching that are written by hand; each says who, through which request. */
export class AttachRecords {
  readonly #gate: Gate;

  constructor(gate: Gate) {
    this.#gate = gate;
  }

  /** Durable once it resolves: nothing is shown before. Throws Fault `audit.unavailable`. */
  async connected(caller: Caller, attached: Attached): Promise<void> {
    await this.#gate.record(this.#event('attach.connect', caller, attached, detailsOf(attached)));
  }

  disconnected(
    caller: Caller,
    attached: Attached,
    ended: { readonly reason: DisconnectReason; readonly bytesIn: number; readonly bytesOut: number },
  ): void {
    this.#gate.note(this.#event('attach.disconnect', caller, attached, { ...detailsOf(attached), ...ended }));
  }

  /** Durable once it resolves: nothing is typed before. Throws Fault `audit.unavailable`. */
  async leaseGranted(
    caller: Caller,
    attached: Attached,
    event: LeaseEvent,
    whose: { readonly holder: ConnectionId; readonly from: ConnectionId | null },
  ): Promise<void> {
    await this.#gate.record(
      this.#event('attach.lease', caller, attached, leaseDetails(attached, event, whose)),
    );
  }

  leaseEnded(caller: Caller, attached: Attached, event: LeaseEvent): void {
    const whose = { holder: attached.connection, from: null };
    this.#gate.note(this.#event('attach.lease', caller, attached, leaseDetails(attached, event, whose)));
  }

  /** What was typed on a lease since that was last recorded. */
  typed(caller: Caller, attached: Attached, bytes: number): void {
    const { connection, terminal } = attached;
    this.#gate.note(this.#event('attach.input', caller, attached, { connection, terminal, bytes }));
  }

  /** Input of somebody who may not type; repetitions are counted. */
  inputRefused(caller: Caller, attached: Attached, bar: string): void {
    const { connection, terminal } = attached;
    this.#gate.note({
      ...this.#event('attach.input', caller, attached, { connection, terminal }),
      outcome: 'denied',
      rule: `attach:${bar}`,
      countAs: `attach.input ${bar} ${connection}`,
    });
  }

  /**
   * An upgrade that led to nothing; repetitions are counted. Of whom, where a ticket said so; without one, the run is a
   * word of anybody's and tells no two apart.
   */
  refused(
    refusal: AttachRefusal,
    run: RunId,
    request: Caller['request'],
    actor: Caller['actor'] | null,
  ): void {
    this.#gate.note({
      action: 'attach.refuse',
      actor: actor ?? nobody,
      resource: { kind: 'run', id: run },
      outcome: 'denied',
      rule: `attach:${refusal}`,
      request,
      countAs: `attach.refuse ${refusal} ${actor === null ? '' : run} ${addressKey(request.address)}`,
    });
  }

  #event(action: string, { actor, request }: Caller, { run, session }: Attached, data: JsonObject) {
    return {
      action,
      actor,
      resource: { kind: 'run', id: run, session },
      outcome: 'succeeded',
      rule: 'attach:ticket',
      request,
      data,
    } as const;
  }
}

function detailsOf({ connection, kind, terminal, role, port }: Attached): JsonObject {
  return {
    connection,
    kind,
    role,
    ...(terminal === null ? {} : { terminal }),
    ...(port === null ? {} : { port }),
  };
}

function leaseDetails(
  { terminal }: Attached,
  event: LeaseEvent,
  { holder, from }: { holder: ConnectionId; from: ConnectionId | null },
): JsonObject {
  return { event, holder, ...(terminal === null ? {} : { terminal }), ...(from === null ? {} : { from }) };
}
