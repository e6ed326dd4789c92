import { randomBytes } from 'node:crypto';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { type WebSocket, WebSocketServer } from 'ws';
import {
  attachLimits,
  attachProtocol,
  attachStreams,
  type ClientFrame,
  type ServerFrame,
  ticketProtocolPrefix,
} from '../../src/contract/attach.ts';
import type { TerminalMatch, TerminalView } from '../../src/contract/attach-schemas.ts';
import type { RunView } from '../../src/contract/schemas.ts';
import type { ConnectionId, RunId, SessionId, TerminalId } from '../../src/model/ids.ts';
import { pagePaths, pagePolicy, readPages } from '../../src/server/pages.ts';

/**
 * A server of pages as browsers see one, with the product's pages and policy, whose terminals say what a test tells
 * them. It decides nothing; what it heard is kept for the test to look at.
 */

export const siteRun = 'run_01kamcq5r8v0x4m2e7hj9n3tzb' as RunId;
export const siteTerminal = 'trm_01kamcq5r8v0x4m2e7hj9n3tzb' as TerminalId;

export type SiteClient = {
  readonly connection: ConnectionId;
  readonly role: string;
  readonly from: number | null;
  /** What it typed. */
  readonly typed: string[];
  readonly said: ClientFrame[];
  say(frame: ServerFrame): void;
  print(text: string): void;
  close(code: number, reason?: string): void;
  /** Without a word, as a broken line. */
  cut(): void;
  /** Resolves once what it said or typed, or that it left, makes this true. */
  heard(check: () => boolean): Promise<void>;
  readonly isOpen: boolean;
};

export type TerminalSite = {
  readonly url: string;
  readonly clients: readonly SiteClient[];
  /** Every request's line and body, to find what must not be in them. */
  readonly requests: readonly { readonly method: string; readonly url: string; readonly body: string }[];
  runs: Pick<RunView, 'id' | 'name' | 'command' | 'phase' | 'owner' | 'createdAt'>[];
  terminals: TerminalView[];
  recording: Buffer;
  matches: TerminalMatch[];
  /** What tickets of drivers are answered with in place of one. */
  refuseDriver: { status: number; code: string; detail: string } | null;
  /** The screen that a client finds. */
  screen: string;
  /** Resolves with the client that comes next, or with one that has come and was not asked for yet. */
  next(): Promise<SiteClient>;
  close(): Promise<void>;
};

export function siteTerminalView(over: Partial<TerminalView> = {}): TerminalView {
  return {
    id: siteTerminal,
    run: siteRun,
    session: 'ses_01kamcq5r8v0x4m2e7hj9n3tzb' as SessionId,
    kind: 'run',
    actor: 'user:ada',
    command: ['bash', '-c', 'make test'],
    size: { columns: 80, rows: 24 },
    openedAt: '2026-01-02T03:04:05.000Z',
    endedAt: null,
    exitCode: null,
    recording: { bytes: 1_000, seconds: 75, complete: true },
    ...over,
  };
}

export async function openTerminalSite(): Promise<TerminalSite> {
  const pages = readPages(join(import.meta.dirname, '../../dist/web'));
  const [waiting, asking]: [SiteClient[], ((client: SiteClient) => void)[]] = [[], []];
  const clients: SiteClient[] = [];
  const requests: { method: string; url: string; body: string }[] = [];
  const tickets: Tickets = new Map();
  const server = createServer(async (request, response) => {
    const body = (await request.toArray()).join('');
    requests.push({ method: request.method!, url: request.url!, body });
    answer(new URL(request.url!, site.url), body, response);
  });
  const sockets = new WebSocketServer({ noServer: true, handleProtocols: () => attachProtocol });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const site: TerminalSite = {
    url: `http://localhost:${(server.address() as AddressInfo).port}`,
    ...{
      clients,
      requests,
      runs: [],
      terminals: [siteTerminalView()],
      recording: Buffer.alloc(0),
      matches: [],
    },
    ...{ refuseDriver: null, screen: '' },
    next: () => {
      const come = waiting.shift();
      return come !== undefined ? Promise.resolve(come) : new Promise((resolve) => asking.push(resolve));
    },
    close: () => {
      for (const socket of sockets.clients) socket.terminate();
      server.closeAllConnections();
      return new Promise((resolve) => server.close(() => resolve()));
    },
  };

  function answer({ pathname }: URL, body: string, response: ServerResponse): void {
    const asset = pages.assets.get(pathname.replace('/assets/', ''));
    if (asset !== undefined) response.setHeader('content-type', asset.mediaType).end(asset.bytes);
    else if ((pagePaths as readonly string[]).includes(pathname)) {
      response.setHeader('content-security-policy', pagePolicy).setHeader('content-type', 'text/html');
      response.end(pages.document);
    } else if (pathname.endsWith('/recording')) response.end(site.recording);
    else {
      const { status, value } = api(site, tickets, pathname, body);
      response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(value));
    }
  }

  server.on('upgrade', (request, socket, head) => {
    requests.push({ method: 'upgrade', url: request.url!, body: '' });
    const role = redeem(tickets, request);
    if (role === undefined || request.headers.origin !== site.url)
      return void socket.end('HTTP/1.1 401 Unauthorized\r\n\r\n');
    sockets.handleUpgrade(request, socket, head, (ws) => {
      const from = new URL(request.url!, site.url).searchParams.get('from');
      const client = clientOf(ws, { number: clients.length, role, from, screen: site.screen });
      clients.push(client);
      const asked = asking.shift();
      if (asked === undefined) waiting.push(client);
      else asked(client);
    });
  });
  return site;
}

/** The roles of tickets that nobody has used. */
type Tickets = Map<string, string>;

function redeem(tickets: Tickets, { headers }: IncomingMessage): string | undefined {
  const offered = String(headers['sec-websocket-protocol']).split(/, */);
  const entry = offered.find((one) => one.startsWith(ticketProtocolPrefix)) ?? '';
  const ticket = entry.slice(ticketProtocolPrefix.length);
  const role = tickets.get(ticket);
  tickets.delete(ticket);
  return role;
}

type Answer = { readonly status: number; readonly value: unknown };

function api(site: TerminalSite, tickets: Tickets, pathname: string, body: string): Answer {
  if (pathname === '/api/v1/account') return { status: 200, value: account };
  if (pathname === '/auth/methods')
    return { status: 200, value: { local: true, passkeys: null, providers: [] } };
  if (pathname === '/api/v1/runs') return { status: 200, value: { items: site.runs } };
  if (pathname.endsWith('/terminals')) return { status: 200, value: { items: site.terminals } };
  if (pathname.endsWith('/search')) return { status: 200, value: { items: site.matches } };
  if (!pathname.endsWith('/attach-tickets'))
    return { status: 404, value: { code: 'absent', detail: 'Absent.' } };
  const { role = 'viewer' } = JSON.parse(body) as { role?: string };
  if (role === 'driver' && site.refuseDriver !== null)
    return { status: site.refuseDriver.status, value: site.refuseDriver };
  const ticket = `sw_attach_${randomBytes(32).toString('base64url')}`;
  tickets.set(ticket, role);
  const expiresAt = new Date(Date.now() + attachLimits.ticketLifeMs).toISOString();
  const path = `/api/v1/runs/${siteRun}/attach`;
  return {
    status: 200,
    value: { ticket, expiresAt, path, protocol: attachProtocol, terminal: siteTerminal },
  };
}

const account = {
  ...{
    name: 'ada',
    displayName: null,
    email: null,
    role: 'developer',
    teams: [],
    password: true,
    totp: false,
  },
  ...{ passkeys: [], recoveryCodesLeft: 0, signIn: { at: '2026-01-02T03:04:05.000Z', mfa: false } },
};

type Coming = { number: number; role: string; from: string | null; screen: string };

function clientOf(ws: WebSocket, { number, role, from, screen }: Coming): SiteClient {
  const connection = `con_${String(number).padStart(26, '0')}` as ConnectionId;
  const typed: string[] = [];
  const said: ClientFrame[] = [];
  const say = (frame: ServerFrame) => ws.send(JSON.stringify(frame));
  const print = (text: string) =>
    ws.send(Buffer.concat([Buffer.of(attachStreams.output), Buffer.from(text)]));
  const checks = new Set<() => void>();
  const look = () => {
    for (const check of checks) check();
  };
  ws.on('message', (data, isBinary) => {
    const bytes = data as Buffer;
    if (isBinary) typed.push(bytes.subarray(1).toString('utf8'));
    else said.push(JSON.parse(bytes.toString('utf8')) as ClientFrame);
    look();
  });
  ws.on('close', look);
  const snapshot = from === null ? screen : '';
  say({
    ...{ type: 'welcome', connection, run: siteRun, terminal: siteTerminal, role: role as 'viewer' },
    ...{ mode: 'exclusive', moderated: false, size: { columns: 80, rows: 24 }, offset: Number(from ?? 0) },
    ...{ snapshotBytes: Buffer.byteLength(snapshot), resumed: from !== null },
    ...{ leaseMs: attachLimits.leaseMs, pingMs: attachLimits.pingMs },
  });
  if (snapshot !== '') print(snapshot);
  return {
    ...{ connection, role, from: from === null ? null : Number(from), typed, said, say, print },
    close: (code, reason) => ws.close(code, reason),
    cut: () => ws.terminate(),
    heard: (check) =>
      new Promise((resolve) => {
        const settle = () => {
          if (!check()) return;
          checks.delete(settle);
          resolve();
        };
        checks.add(settle);
        settle();
      }),
    get isOpen() {
      return ws.readyState === ws.OPEN;
    },
  };
}
