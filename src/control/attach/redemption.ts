import { isDeepStrictEqual } from 'node:util';
import type { Channel } from '../../base/channel.ts';
import { Fault } from '../../contract/faults.ts';
import type { ActionName } from '../../model/actions.ts';
import { type ConnectionId, newId, type TerminalId } from '../../model/ids.ts';
import { isTerminal } from '../../model/run.ts';
import type { RunRecord, SessionRecord } from '../../store/store.ts';
import type { Caller } from '../control.ts';
import { runAct } from '../run-access.ts';
import type { AttachClient, AttachConnection, AttachUpgrade, AttachUseCases } from './attach.ts';
import type { Connections, ConnectionsParts } from './connections.ts';
import { controlAttachLimits } from './limits.ts';
import type { LiveTerminal } from './live-terminal.ts';
import { PipeConnection } from './pipe-connection.ts';
import type { Attached, AttachRefusal, DisconnectReason } from './records.ts';
import { moderatedText, switchedOffText, unobservedText } from './settings.ts';
import { liveTerminalOf } from './terminal-choice.ts';
import { TerminalConnection } from './terminal-connection.ts';
import { beginStream } from './terminal-frames.ts';
import type { Ticket, Tickets, TicketUse } from './tickets.ts';

type Parts = ConnectionsParts & { readonly tickets: Tickets; readonly connections: Connections };
type Redeemed = Awaited<ReturnType<AttachUseCases['redeem']>>;

/** A refusal, in the words of the record and those for the client. */
class Refused extends Error {
  readonly refusal: AttachRefusal;
  readonly fault: Fault;

  constructor(refusal: AttachRefusal, fault: Fault) {
    super(refusal);
    this.refusal = refusal;
    this.fault = fault;
  }
}

/** Lets in whoever presents a ticket, or refuses it on record; the ticket is used up either way. */
export async function redeem(parts: Parts, upgrade: AttachUpgrade): Promise<Redeemed> {
  const { records } = parts.connections;
  const { run, request } = upgrade;
  const taken = parts.tickets.take(upgrade.ticket ?? '', run);
  if ('refusal' in taken) {
    const refusal = upgrade.ticket === null ? 'ticket-missing' : taken.refusal;
    records.refused(refusal, run, request, taken.caller?.actor ?? null);
    throw new Fault('auth.invalid', {
      detail: 'The ticket is unknown, expired or used, or another run’s. Get another one.',
      message: refusal,
    });
  }
  const { ticket } = taken;
  try {
    return await letIn(parts, ticket, upgrade);
  } catch (error) {
    const refused = error instanceof Refused ? error : new Refused('failed', faultOf(error));
    records.refused(refused.refusal, run, request, ticket.caller.actor);
    throw refused.fault;
  }
}

/** Somebody who may attach: everything is decided, nothing has begun. */
type Admitted = {
  readonly caller: Caller;
  readonly ticket: Ticket;
  readonly run: RunRecord;
  readonly session: SessionRecord;
  readonly from: number | null;
};

async function letIn(parts: Parts, ticket: Ticket, upgrade: AttachUpgrade): Promise<Redeemed> {
  const { connections } = parts;
  const admitted = await admit(parts, ticket, upgrade);
  const { caller, run } = admitted;
  if (!connections.reserve(run.id, caller.actor.id)) throw new Refused('too-many', tooMany());
  try {
    await begun(parts, admitted);
    return await connect(parts, admitted, () => admit(parts, ticket, upgrade));
  } catch (error) {
    connections.vacate(run.id, caller.actor.id);
    throw error;
  }
}

/** Renews the actor and decides every act again. */
async function admit(
  { connections, renew }: Parts,
  ticket: Ticket,
  { request, from }: AttachUpgrade,
): Promise<Admitted> {
  const caller = await renew({ actor: ticket.caller.actor, request });
  if (caller === null)
    throw new Refused(
      'actor-ended',
      new Fault('access.denied', {
        detail: 'The credential that the ticket came by has ended. Sign in again.',
      }),
    );
  const decided = await refusing('denied', connections.decide(caller, ticket.run, actsOf(ticket.use)));
  const { run, session } = decided;
  if (!session.attach.enabled)
    throw new Refused(
      'switched-off',
      new Fault('access.denied', { detail: switchedOffText(session.id), extra: { rule: 'attach:off' } }),
    );
  if (session.attach.moderated && isUnwatched(ticket.use))
    throw new Refused('moderated', new Fault('access.denied', { detail: moderatedText }));
  // A command line can be all that somebody wants to type.
  if (session.attach.moderated && ticket.use.kind === 'exec' && !connections.isObserved(run.id, caller))
    throw new Refused('moderated', new Fault('access.denied', { detail: unobservedText }));
  if (session.phase === 'terminating' || session.phase === 'closed')
    throw new Refused('nothing-there', nothingThere('The session is closed.'));
  return { caller, ticket, run, session, from };
}

/** Waits a moment for a run that is about to begin: a client may be faster than a start. */
async function begun({ live }: Parts, { run }: Admitted): Promise<void> {
  const known = live.get(run.id);
  if (known === null || isTerminal(run.state.phase))
    throw new Refused('nothing-there', nothingThere('The run has ended. Look at its recording instead.'));
  const isSettled = () => known.ended || known.record.state.phase === 'running';
  const waited = AbortSignal.timeout(controlAttachLimits.startWaitMs);
  await live.until(known, isSettled, waited).catch(() => {
    throw new Refused('nothing-there', nothingThere('The run has not begun yet. Try again in a moment.'));
  });
  if (known.ended)
    throw new Refused('nothing-there', nothingThere('The run has ended. Look at its recording instead.'));
}

/**
 * On record, then connected to the runner; nothing is shown before. In between it is decided again: both the start of the
 * run and the disk may have taken a while, and who lost the right meanwhile starts nothing.
 */
async function connect(
  parts: Parts,
  { caller, ticket, run }: Admitted,
  again: () => Promise<Admitted>,
): Promise<Redeemed> {
  const { records } = parts.connections;
  const attached = attachedOf(parts, ticket.use, run);
  await refusing('unrecorded', records.connected(caller, attached));
  try {
    const admitted = await again();
    if (attached.terminal !== null)
      return await connectTerminal(parts, admitted, attached, attached.terminal);
    return await connectPipe(parts, admitted, attached);
  } catch (error) {
    records.disconnected(caller, attached, { reason: 'not-started', bytesIn: 0, bytesOut: 0 });
    if (error instanceof Refused) throw error;
    const fault = faultOf(error);
    // The runner knows of the end of a terminal before control does.
    if (attached.kind === 'terminal' && fault.code === 'resource.absent')
      throw new Refused(
        'nothing-there',
        nothingThere('The terminal has ended. Look at its recording instead.'),
      );
    throw new Refused(fault.code === 'state.conflict' ? 'nothing-there' : 'failed', fault);
  }
}

function attachedOf({ clock }: Parts, use: TicketUse, run: RunRecord): Attached {
  return {
    connection: newId('connection', clock.now()),
    run: run.id,
    session: run.session,
    kind: use.kind,
    terminal:
      use.kind === 'terminal' ? use.terminal : use.kind === 'exec' ? (use.terminal?.id ?? null) : null,
    role: use.kind === 'terminal' ? use.role : 'driver',
    port: use.kind === 'port' ? use.port : null,
  };
}

/** Joins a live terminal, or starts the command whose terminal it is. */
async function connectTerminal(
  parts: Parts,
  admitted: Admitted,
  attached: Attached,
  id: TerminalId,
): Promise<Redeemed> {
  const terminal = await terminalFor(parts, admitted, id, attached.connection);
  const isOwn = admitted.ticket.use.kind === 'exec';
  // Of a command of its own nobody misses the beginning.
  const from = isOwn ? (admitted.from ?? 0) : admitted.from;
  await terminal.expect(from).catch((error: unknown) => {
    if (isOwn) hangUp(parts, admitted, id);
    throw error;
  });
  return {
    begin: (client) => beginTerminal(parts, admitted, { attached, terminal, client, from }),
    abandon: () => {
      terminal.unexpect();
      abandoned(parts, admitted, attached);
      if (isOwn) hangUp(parts, admitted, id);
    },
  };
}

async function terminalFor(
  parts: Parts,
  admitted: Admitted,
  id: TerminalId,
  connection: ConnectionId,
): Promise<LiveTerminal> {
  const { connections, link } = parts;
  const { ticket, run, session, caller } = admitted;
  const { use } = ticket;
  if (use.kind === 'exec' && use.terminal !== null) {
    await link.order({ order: 'open-terminal', terminal: use.terminal, exec: { ...use.exec, connection } });
    return connections.terminal(run, session, id, caller.actor.id);
  }
  const known = connections.known(id);
  if (known !== null) return known;
  const { startedBy } = await liveTerminalOf(link, run, id);
  return connections.terminal(run, session, id, startedBy);
}

/** Ends after which a client may come back within its lease. */
const mayReturn: ReadonlySet<DisconnectReason> = new Set(['left', 'lost', 'slow', 'timeout', 'goingAway']);

function beginTerminal(
  parts: Parts,
  { ticket, caller, run }: Admitted,
  given: { attached: Attached; terminal: LiveTerminal; client: AttachClient; from: number | null },
): AttachConnection {
  const { connections, gate, clock } = parts;
  const { terminal } = given;
  const connection = new TerminalConnection({
    ...given,
    caller,
    clock,
    still: async (now) => {
      const before = terminal.driving.settings;
      const { attach } = await connections.still(now, given.attached, actsOf(ticket.use));
      // They may have changed before the terminal was here to be told; what it is told meanwhile is newer.
      if (terminal.driving.settings === before && !isDeepStrictEqual(before, attach))
        terminal.configure(attach);
    },
    mayObserve: (now) => gate.may(now, runAct('attach.drive', run)),
    recheck: (watched) => connections.recheck(watched),
    onGone: (gone, ended) => {
      // What was typed goes on record before the end does.
      terminal.leave(gone, mayReturn.has(ended.reason));
      connections.gone(gone, ended);
    },
  });
  terminal.join(connection);
  connections.opened(connection);
  return connection;
}

async function connectPipe(parts: Parts, admitted: Admitted, attached: Attached): Promise<Redeemed> {
  const { use } = admitted.ticket;
  const channel = await beginStream(
    parts.link,
    use.kind === 'port'
      ? { purpose: 'port', run: attached.run, port: use.port }
      : {
          purpose: 'exec',
          exec: { ...(use as TicketUse & { kind: 'exec' }).exec, connection: attached.connection },
        },
  );
  return {
    begin: (client) => beginPipe(parts, admitted, { attached, channel, client }),
    abandon: () => {
      channel.close();
      abandoned(parts, admitted, attached);
    },
  };
}

function beginPipe(
  parts: Parts,
  { ticket, caller }: Admitted,
  given: { attached: Attached; channel: Channel; client: AttachClient },
): AttachConnection {
  const { connections, gate, clock } = parts;
  const connection = new PipeConnection({
    ...given,
    caller,
    gate,
    clock,
    still: async (now) => {
      await connections.still(now, given.attached, actsOf(ticket.use));
    },
    recheck: (watched) => connections.recheck(watched),
    onGone: (gone, ended) => connections.gone(gone, ended),
  });
  connections.opened(connection);
  void connection.carry();
  return connection;
}

/** The upgrade was answered and its client never came. */
function abandoned({ connections }: Parts, { caller, run }: Admitted, attached: Attached): void {
  connections.records.disconnected(caller, attached, { reason: 'never-came', bytesIn: 0, bytesOut: 0 });
  connections.vacate(run.id, caller.actor.id);
}

function hangUp({ link, logger }: Parts, { run }: Admitted, terminal: TerminalId): void {
  link.order({ order: 'close-terminal', run: run.id, terminal }).catch((error: unknown) => {
    logger.debug({ terminal, error: String(error) }, 'the runner hangs a terminal up by itself');
  });
}

/** What is decided for a ticket, when it is redeemed and for as long as its connection lasts. */
function actsOf(use: TicketUse): readonly ActionName[] {
  if (use.kind === 'exec') return ['run.exec'];
  if (use.kind === 'port') return ['run.port'];
  return use.role === 'driver' ? ['attach.view', 'attach.drive'] : ['attach.view'];
}

/** Whether nobody could look on. */
function isUnwatched(use: TicketUse): boolean {
  return use.kind === 'port' || (use.kind === 'exec' && use.terminal === null);
}

async function refusing<T>(refusal: AttachRefusal, work: Promise<T>): Promise<T> {
  try {
    return await work;
  } catch (error) {
    throw new Refused(refusal, faultOf(error));
  }
}

function faultOf(error: unknown): Fault {
  if (error instanceof Fault) return error;
  return new Fault('internal', {
    detail: 'Something went wrong inside.',
    message: String(error),
    cause: error,
  });
}

function nothingThere(detail: string): Fault {
  return new Fault('state.conflict', { detail });
}

function tooMany(): Fault {
  return new Fault('quota.exceeded', {
    detail: 'Too many clients are attached to this run, or by you. Let one go first.',
  });
}
