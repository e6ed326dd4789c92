import type { Duplex } from 'node:stream';
import type {
  AttachTicketView,
  CreateAttachTicket,
  CreateExec,
  CreatePortForward,
  PutAttachSettings,
  TerminalMatch,
  TerminalView,
} from '../../contract/attach-schemas.ts';
import type { AttachSettingsView } from '../../contract/attach-settings.ts';
import type { Download } from '../client.ts';
import type { Connection } from '../connection.ts';
import { download, part, queryText } from '../requests.ts';
import type { RemoteExec } from './pipes.ts';
import type { AttachOptions, AttachSession } from './session.ts';
import type { OpenSocket } from './socket.ts';

/** Terminals of runs. Text that comes from sandboxes is untrusted. */
export type AttachCalls = {
  /** Switches attaching on or off for a session, and says how. */
  configure(session: string, request: PutAttachSettings): Promise<AttachSettingsView>;
  /** Tickets are for one connection, soon. */
  ticket(run: string, request: CreateAttachTicket): Promise<AttachTicketView>;
  execTicket(run: string, request: CreateExec): Promise<AttachTicketView>;
  portTicket(run: string, request: CreatePortForward): Promise<AttachTicketView>;
  /** Oldest first. */
  terminals(run: string): Promise<readonly TerminalView[]>;
  /** asciicast v2. */
  recording(run: string, terminal: string): Promise<Download>;
  search(
    run: string,
    terminal: string,
    query: { readonly text: string; readonly limit?: number },
  ): Promise<readonly TerminalMatch[]>;
  /** A terminal that is seen and driven; breaks are mended. What it ended of is `ended`; it throws nothing. */
  openTerminal(options: Omit<AttachOptions, 'socket'>): Promise<AttachSession>;
  /** Starts a command; it has started when this resolves. */
  openExec(run: string, request: CreateExec): Promise<RemoteExec>;
  /** A connection to a port inside; destroying it ends it. */
  openPort(run: string, port: number): Promise<Duplex>;
};

/** What opens sockets is loaded once it is needed. */
export function attachCalls(connection: Connection, socket: () => Promise<OpenSocket>): AttachCalls {
  const runs = '/api/v1/runs';
  const of = (run: string) => `${runs}/${part(run)}`;
  const recorded = (run: string, terminal: string) => `${of(run)}/terminals/${part(terminal)}`;
  const post = async (path: string, body: object): Promise<AttachTicketView> =>
    connection.json('POST', path, { body });
  const calls: AttachCalls = {
    configure: async (session, request) =>
      connection.json('PUT', `/api/v1/sessions/${part(session)}/attach`, { body: request }),
    ticket: async (run, request) => post(`${of(run)}/attach-tickets`, request),
    execTicket: async (run, request) => post(`${of(run)}/execs`, request),
    portTicket: async (run, request) => post(`${of(run)}/port-forwards`, request),
    terminals: async (run) => (await itemsOf<TerminalView>(connection, `${of(run)}/terminals`)).items,
    recording: async (run, terminal) => download(connection, `${recorded(run, terminal)}/recording`),
    search: async (run, terminal, query) =>
      (await itemsOf<TerminalMatch>(connection, `${recorded(run, terminal)}/search${queryText(query)}`))
        .items,
    async openTerminal(options) {
      const [{ AttachSession }, open] = await Promise.all([import('./session.ts'), socket()]);
      return new AttachSession({ ...options, socket: open });
    },
    async openExec(run, request) {
      const [{ openExec }, open] = await Promise.all([import('./pipes.ts'), socket()]);
      return await openExec(open, await calls.execTicket(run, request));
    },
    async openPort(run, port) {
      const [{ openPort }, open] = await Promise.all([import('./pipes.ts'), socket()]);
      return await openPort(open, await calls.portTicket(run, { port }));
    },
  };
  return calls;
}

async function itemsOf<T>(connection: Connection, path: string): Promise<{ readonly items: readonly T[] }> {
  return await connection.json('GET', path);
}
