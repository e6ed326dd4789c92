import { attachLimits, attachProtocol } from '../../contract/attach.ts';
import type {
  AttachTicketView,
  CreateAttachTicket,
  CreateExec,
  CreatePortForward,
  PutAttachSettings,
} from '../../contract/attach-schemas.ts';
import type { AttachSettingsView } from '../../contract/attach-settings.ts';
import { absent, Fault } from '../../contract/faults.ts';
import { newId, type RunId, type SessionId, type TerminalId } from '../../model/ids.ts';
import { isTerminal } from '../../model/run.ts';
import type { AttachSettings } from '../../model/terminal.ts';
import type { RunSecrets } from '../../redaction/run-secrets.ts';
import type { RunRecord, SessionRecord } from '../../store/store.ts';
import type { Caller } from '../control.ts';
import type { Act } from '../gate.ts';
import { findRun, runAct } from '../run-access.ts';
import { timeText } from '../views.ts';
import type { AttachUseCases } from './attach.ts';
import { Connections, type ConnectionsParts } from './connections.ts';
import { listTerminals, openRecording, RecordingSearches } from './recordings.ts';
import { redeem } from './redemption.ts';
import { attachSettingsOf, moderatedText, switchedOffText } from './settings.ts';
import { liveTerminalOf } from './terminal-choice.ts';
import { Tickets, type TicketUse } from './tickets.ts';

export type AttachParts = ConnectionsParts & {
  /** What the record must not say: commands add what they are given. */
  readonly secrets: Pick<RunSecrets, 'moreEnvironment'>;
};

/** Attaching, with what the rest of control tells it and asks of it. */
export type Attach = {
  readonly useCases: AttachUseCases;
  /** How many clients are attached. */
  readonly count: number;
  /** How many terminals control holds open for them, or for leases that they may come back for. */
  readonly terminals: number;
  /** The session takes no more runs: whoever is attached to one of its runs goes. */
  sessionClosed(session: SessionId): void;
  close(): void;
};

export function openAttach(parts: AttachParts): Attach {
  const tickets = new Tickets(parts.clock);
  const connections = new Connections(parts);
  const searches = new RecordingSearches(parts);
  const all: Parts = { ...parts, tickets, connections };
  return {
    useCases: {
      configure: (caller, session, request) => configure(all, caller, session, request),
      ticket: (caller, run, request) => ticket(all, caller, run, request),
      exec: (caller, run, request) => exec(all, caller, run, request),
      portForward: (caller, run, request) => portForward(all, caller, run, request),
      redeem: (upgrade) => redeem(all, upgrade),
      refused: ({ run, ticket, request }, refusal) => {
        const holder = ticket === null ? null : tickets.holderOf(ticket);
        connections.records.refused(refusal, run, request, holder?.actor ?? null);
      },
      terminals: (caller, run) => listTerminals(parts, caller, run),
      recording: (caller, run, terminal) => openRecording(parts, caller, run, terminal),
      search: (caller, run, terminal, query, signal) => searches.search(caller, run, terminal, query, signal),
    },
    get count() {
      return connections.count;
    },
    get terminals() {
      return connections.terminals;
    },
    sessionClosed: (session) => connections.endSession(session, 'ended', 'The session was closed.'),
    close: () => connections.close(),
  };
}

type Parts = AttachParts & { readonly tickets: Tickets; readonly connections: Connections };

/** Switching it off is containment: it happens, and cuts who is attached, whether it can be recorded or not. */
async function configure(
  { store, gate, connections }: Parts,
  caller: Caller,
  id: SessionId,
  request: PutAttachSettings,
): Promise<AttachSettingsView> {
  const session = await store.sessions.get(id);
  if (session === null) throw absent('session');
  const settings = attachSettingsOf(request);
  const { reason } = request;
  const act = {
    action: 'attach.control',
    resource: { kind: 'session', id, session: id, owner: session.owner, team: session.team },
    data: { attach: { ...settings }, ...(reason === undefined ? {} : { reason }) },
  } as const;
  if (!settings.enabled)
    return await gate.contain(caller, act, async () => {
      connections.configure(id, settings);
      return await stored();
    });
  await gate.read(caller, act);
  requireOpen(session);
  return await gate.act(caller, act, stored);

  async function stored(): Promise<AttachSettings> {
    if ((await store.sessions.setAttach(id, settings)) === null) throw absent('session');
    connections.configure(id, settings);
    return settings;
  }
}

async function ticket(
  parts: Parts,
  caller: Caller,
  id: RunId,
  { role = 'viewer', terminal }: CreateAttachTicket,
): Promise<AttachTicketView> {
  const run = await findRun(parts.store, id);
  await parts.gate.read(caller, runAct('attach.view', run));
  const act = {
    ...runAct(role === 'driver' ? 'attach.drive' : 'attach.view', run),
    data: { role, ...(terminal === undefined ? {} : { terminal }) },
  };
  await admit(parts, caller, run, act);
  const { id: chosen } = await liveTerminalOf(parts.link, run, terminal ?? null);
  return await issue(parts, caller, run, act, { kind: 'terminal', terminal: chosen, role });
}

async function exec(parts: Parts, caller: Caller, id: RunId, request: CreateExec): Promise<AttachTicketView> {
  const run = await findRun(parts.store, id);
  const { command, env = {}, cwd = null, terminal: size } = request;
  const act = {
    ...runAct('run.exec', run),
    data: {
      program: command[0] ?? '',
      arguments: command.length - 1,
      envNames: Object.keys(env).slice(0, 64),
      ...(size === undefined ? {} : { terminal: { ...size } }),
    },
  };
  const session = await admit(parts, caller, run, act);
  parts.secrets.moreEnvironment(id, env);
  if (size === undefined) await requireUnmoderated(parts, caller, act, session);
  const terminal = size === undefined ? null : { id: newId('terminal', parts.clock.now()), size };
  const spec = { run: id, by: caller.actor.id, command, env, cwd };
  return await issue(parts, caller, run, act, { kind: 'exec', exec: spec, terminal });
}

async function portForward(
  parts: Parts,
  caller: Caller,
  id: RunId,
  { port }: CreatePortForward,
): Promise<AttachTicketView> {
  const run = await findRun(parts.store, id);
  const act = { ...runAct('run.port', run), data: { port } };
  const session = await admit(parts, caller, run, act);
  await requireUnmoderated(parts, caller, act, session);
  return await issue(parts, caller, run, act, { kind: 'port', port });
}

/** The session of a live run, for a caller who may attach to it. */
async function admit(parts: Parts, caller: Caller, run: RunRecord, act: Act): Promise<SessionRecord> {
  const { store, gate } = parts;
  await gate.read(caller, act);
  const session = await store.sessions.get(run.session);
  if (session === null) throw absent('session');
  if (!session.attach.enabled)
    throw await gate.refuse(caller, act, { rule: 'attach:off', detail: switchedOffText(session.id) });
  requireOpen(session);
  if (isTerminal(run.state.phase))
    throw new Fault('state.conflict', { detail: 'The run has ended. Look at its recording instead.' });
  return session;
}

/** What nobody can look at while it happens is not for sessions in which somebody has to. */
async function requireUnmoderated(
  { gate }: Parts,
  caller: Caller,
  act: Act,
  session: SessionRecord,
): Promise<void> {
  if (!session.attach.moderated) return;
  throw await gate.refuse(caller, act, { rule: 'attach:moderated', detail: moderatedText });
}

async function issue(
  { gate, tickets }: Parts,
  caller: Caller,
  run: RunRecord,
  act: Act,
  use: TicketUse,
): Promise<AttachTicketView> {
  return await gate.act(caller, act, async () => {
    const issued = tickets.issue({ caller, run: run.id, use });
    if (issued === null)
      throw new Fault('quota.exceeded', {
        detail: 'Too many tickets wait to be used. Use them, or wait until they expire.',
        extra: { limit: attachLimits.ticketsPerActorMax },
      });
    return {
      ticket: issued.text,
      expiresAt: timeText(issued.expiresAt),
      path: `/api/v1/runs/${run.id}/attach`,
      protocol: attachProtocol,
      terminal: terminalOf(use),
    };
  });
}

function terminalOf(use: TicketUse): TerminalId | null {
  if (use.kind === 'terminal') return use.terminal;
  return use.kind === 'exec' ? (use.terminal?.id ?? null) : null;
}

function requireOpen({ phase }: SessionRecord): void {
  if (phase === 'terminating' || phase === 'closed')
    throw new Fault('state.conflict', { detail: 'The session is closed.' });
}
