import { randomBytes } from 'node:crypto';
import type { ClientFrame } from '../../src/contract/attach.ts';
import { attachLimits, attachProtocol } from '../../src/contract/attach.ts';
import type { AttachTicketView, TerminalView } from '../../src/contract/attach-schemas.ts';
import { Fault } from '../../src/contract/faults.ts';
import type {
  AttachClient,
  AttachConnection,
  AttachUpgrade,
  AttachUseCases,
  UpgradeRefusal,
} from '../../src/control/attach/attach.ts';
import type { Caller } from '../../src/control/control.ts';
import { newId, type RunId, type SessionId, type TerminalId } from '../../src/model/ids.ts';
import type { AttachRole } from '../../src/model/terminal.ts';

/** A client that was let in, and everything it said. */
export type FakeAttached = {
  readonly client: AttachClient;
  readonly role: AttachRole;
  readonly upgrade: AttachUpgrade;
  readonly said: (Buffer | ClientFrame)[];
  /** Input waits for this, where a test set it. */
  hold: Promise<void> | null;
  gone: string | null;
};

type Ticket = { readonly run: RunId; readonly role: AttachRole; readonly expiresAt: number };

/** Attaching that lives in memory: tickets are used up as the real ones are, and whoever is let in is at `attached`. */
export type FakeAttach = AttachUseCases & {
  readonly attached: FakeAttached[];
  readonly refusals: { readonly upgrade: AttachUpgrade; readonly refusal: UpgradeRefusal }[];
  /** Everything that was to be redeemed, from the moment on that it was asked for. */
  readonly presented: AttachUpgrade[];
  /** Of tickets, as control would put them on record. */
  readonly denied: AttachUpgrade[];
  readonly abandoned: AttachUpgrade[];
  /** A ticket without a request for it. */
  issue(run: RunId, more?: { role?: AttachRole; expiresAt?: number }): string;
  /** Resolves with the one at this place, once it is let in. */
  at(index: number): Promise<FakeAttached>;
  /** Called as soon as a client is let in. */
  onAttached: ((attached: FakeAttached) => void) | null;
  /** A redemption waits for this, where a test set it. */
  hold: Promise<void> | null;
  /** What is recorded of every terminal. */
  recorded: Buffer[];
};

export function openFakeAttach(
  gate: (caller: Caller, act: 'view' | 'drive', of: RunId | SessionId) => void,
): FakeAttach {
  const tickets = new Map<string, Ticket>();
  const issue: FakeAttach['issue'] = (run, { role = 'viewer', expiresAt } = {}) => {
    const ticket = `sw_attach_${randomBytes(32).toString('base64url')}`;
    tickets.set(ticket, { run, role, expiresAt: expiresAt ?? Date.now() + attachLimits.ticketLifeMs });
    return ticket;
  };
  const view = (run: RunId, role: AttachRole): AttachTicketView => ({
    ticket: issue(run, { role }),
    expiresAt: new Date(Date.now() + attachLimits.ticketLifeMs).toISOString(),
    path: `/api/v1/runs/${run}/attach`,
    protocol: attachProtocol,
    terminal: null,
  });
  const fake: FakeAttach = {
    attached: [],
    refusals: [],
    presented: [],
    denied: [],
    abandoned: [],
    onAttached: null,
    hold: null,
    recorded: [Buffer.from('{"version":2}\n'), Buffer.from('[0.5,"o","hello"]\n')],
    issue,
    async at(index) {
      while (fake.attached[index] === undefined) await new Promise((resolve) => setImmediate(resolve));
      return fake.attached[index];
    },
    ...granted(gate, view),
    ...recordings(gate, () => fake.recorded),
    async redeem(upgrade) {
      fake.presented.push(upgrade);
      if (fake.hold !== null) await fake.hold;
      const ticket = tickets.get(upgrade.ticket ?? '');
      tickets.delete(upgrade.ticket ?? '');
      if (ticket === undefined || ticket.run !== upgrade.run || ticket.expiresAt <= Date.now()) {
        fake.denied.push(upgrade);
        throw new Fault('auth.invalid', { detail: 'The ticket is not valid here.' });
      }
      return {
        begin: (client) => begin(fake, { client, role: ticket.role, upgrade }),
        abandon: () => fake.abandoned.push(upgrade),
      };
    },
    refused: (upgrade, refusal) => fake.refusals.push({ upgrade, refusal }),
  };
  return fake;
}

function begin(
  fake: FakeAttach,
  { client, role, upgrade }: Pick<FakeAttached, 'client' | 'role' | 'upgrade'>,
): AttachConnection {
  const attached: FakeAttached = { client, role, upgrade, said: [], hold: null, gone: null };
  fake.attached.push(attached);
  fake.onAttached?.(attached);
  const take = async (said: Buffer | ClientFrame) => {
    attached.said.push(said);
    if (attached.hold !== null) await attached.hold;
  };
  return {
    input: take,
    control: take,
    gone: (reason) => {
      attached.gone ??= reason;
    },
  };
}

function terminalOf(run: RunId): TerminalView {
  return {
    id: newId('terminal', 1) as TerminalId,
    run,
    session: newId('session', 1),
    kind: 'run',
    actor: 'user:owner',
    command: ['bash'],
    size: { columns: 80, rows: 24 },
    openedAt: new Date(1).toISOString(),
    endedAt: null,
    exitCode: null,
    recording: { bytes: 20, seconds: 0.5, complete: true },
  };
}

type Gate = Parameters<typeof openFakeAttach>[0];

function granted(
  gate: Gate,
  view: (run: RunId, role: AttachRole) => AttachTicketView,
): Pick<AttachUseCases, 'configure' | 'ticket' | 'exec' | 'portForward'> {
  return {
    async configure(
      caller,
      session,
      { enabled, mode = 'exclusive', moderated = false, recordInput = false },
    ) {
      gate(caller, 'drive', session);
      return { enabled, mode, moderated, recordInput };
    },
    async ticket(caller, run, { role = 'viewer' }) {
      gate(caller, role === 'viewer' ? 'view' : 'drive', run);
      return view(run, role);
    },
    async exec(caller, run) {
      gate(caller, 'drive', run);
      return view(run, 'driver');
    },
    async portForward(caller, run) {
      gate(caller, 'drive', run);
      return view(run, 'driver');
    },
  };
}

function recordings(
  gate: Gate,
  recorded: () => readonly Buffer[],
): Pick<AttachUseCases, 'terminals' | 'recording' | 'search'> {
  return {
    async terminals(caller, run) {
      gate(caller, 'view', run);
      return [terminalOf(run)];
    },
    async recording(caller, run) {
      gate(caller, 'view', run);
      const chunks = recorded();
      return {
        cancel: () => undefined,
        async *[Symbol.asyncIterator]() {
          yield* chunks;
        },
      };
    },
    async search(caller, run, _terminal, { text, limit }) {
      gate(caller, 'view', run);
      return [{ at: 0.5, line: text }].slice(0, limit);
    },
  };
}
