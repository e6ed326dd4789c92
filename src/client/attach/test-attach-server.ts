import { once } from 'node:events';
import { createServer, type IncomingMessage } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Duplex } from 'node:stream';
import type { TestContext } from 'node:test';
import { type WebSocket, WebSocketServer } from 'ws';
import { attachProtocol, attachStreams, type ClientFrame, type ServerFrame } from '../../contract/attach.ts';
import type { AttachTicketView } from '../../contract/attach-schemas.ts';
import { newId, type RunId, type TerminalId } from '../../model/ids.ts';
import type { OpenSocket } from './socket.ts';

export const testRun: RunId = newId('run', 1);
export const testTerminal: TerminalId = newId('terminal', 1);

/** For tests: one client at the server's end. Frames and bytes are taken in the order that they came. */
export class TestPeer {
  readonly request: IncomingMessage;
  readonly socket: WebSocket;
  readonly frames: ClientFrame[] = [];
  readonly input: Buffer[] = [];
  readonly closed: Promise<number>;
  #wake: () => void = () => {};

  constructor(socket: WebSocket, request: IncomingMessage) {
    this.socket = socket;
    this.request = request;
    this.closed = once(socket, 'close').then(([code]) => code as number);
    socket.on('message', (data: Buffer, isBinary) => {
      if (isBinary) this.input.push(data);
      else this.frames.push(JSON.parse(data.toString('utf8')) as ClientFrame);
      this.#wake();
    });
  }

  get typed(): string {
    return Buffer.concat(this.input.map((message) => message.subarray(1))).toString('utf8');
  }

  /** Resolves when it is so; looks again at each message. */
  async until(isSo: () => boolean): Promise<void> {
    while (!isSo()) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }

  /** The next frame of this type, taken out of `frames`. */
  async frame<T extends ClientFrame['type']>(type: T): Promise<Extract<ClientFrame, { type: T }>> {
    const find = () => this.frames.findIndex((frame) => frame.type === type);
    await this.until(() => find() >= 0);
    return this.frames.splice(find(), 1)[0] as Extract<ClientFrame, { type: T }>;
  }

  send(frame: ServerFrame): void {
    this.socket.send(JSON.stringify(frame));
  }

  data(bytes: string | Uint8Array, stream: number = attachStreams.output): void {
    this.socket.send(Buffer.concat([Buffer.from([stream]), Buffer.from(bytes as string)]));
  }

  welcome(more: Partial<Extract<ServerFrame, { type: 'welcome' }>> = {}): void {
    this.send({
      ...{ type: 'welcome', connection: newId('connection', 1), run: testRun, terminal: testTerminal },
      ...{ role: 'driver', mode: 'exclusive', moderated: false, size: { columns: 80, rows: 24 } },
      ...{ offset: 0, snapshotBytes: 0, resumed: false, leaseMs: 30_000, pingMs: 10_000 },
      ...more,
    });
  }

  /** Ends it as the end of a command does. */
  end(code: number | null): void {
    this.send({ type: 'ended', code, signal: null });
    this.socket.close(1000);
  }
}

export type TestAttachServer = {
  readonly url: URL;
  /** The next client that came. */
  peer(): Promise<TestPeer>;
  /** Answers the next upgrades so, in place of letting them in. */
  readonly refusals: { status: number; body: object }[];
  ticket(terminal?: TerminalId | null): AttachTicketView;
  close(): Promise<void>;
};

/** For tests: a server whose every word the test says. */
export async function openTestAttachServer(
  t: Pick<TestContext, 'after'>,
  options: { readonly socketPath?: string } = {},
): Promise<TestAttachServer> {
  const sockets = new WebSocketServer({ noServer: true, handleProtocols: () => attachProtocol });
  const server = createServer();
  const refusals: { status: number; body: object }[] = [];
  const waiting: ((peer: TestPeer) => void)[] = [];
  const came: TestPeer[] = [];
  server.on('upgrade', (request: IncomingMessage, socket: Duplex, head: Buffer) => {
    const refusal = refusals.shift();
    if (refusal !== undefined) {
      const body = JSON.stringify(refusal.body);
      const headers = `content-type: application/problem+json\r\ncontent-length: ${body.length}`;
      socket.end(`HTTP/1.1 ${refusal.status} No\r\nconnection: close\r\n${headers}\r\n\r\n${body}`);
      return;
    }
    sockets.handleUpgrade(request, socket, head, (client) => {
      const peer = new TestPeer(client, request);
      const next = waiting.shift();
      if (next === undefined) came.push(peer);
      else next(peer);
    });
  });
  const { socketPath } = options;
  if (socketPath === undefined) server.listen(0, '127.0.0.1');
  else server.listen(socketPath);
  await once(server, 'listening');
  const close = async () => {
    for (const client of sockets.clients) client.terminate();
    server.closeAllConnections();
    if (!server.listening) return;
    server.close();
    await once(server, 'close');
  };
  t.after(close);
  const port = socketPath === undefined ? (server.address() as AddressInfo).port : 80;
  return {
    url: new URL(`http://127.0.0.1:${port}`),
    peer: async () => came.shift() ?? (await new Promise<TestPeer>((resolve) => waiting.push(resolve))),
    refusals,
    ticket: (terminal = testTerminal) => ({
      ticket: 'sw_attach_of-a-test',
      expiresAt: '2026-01-01T00:00:30.000Z',
      path: `/api/v1/runs/${testRun}/attach`,
      protocol: attachProtocol,
      terminal,
    }),
    close,
  };
}

/** A socket that counts how often it opened, for tests. */
export function counted(open: OpenSocket): OpenSocket & { readonly paths: string[] } {
  const paths: string[] = [];
  const opening: OpenSocket = (request, events) => {
    paths.push(request.path);
    return open(request, events);
  };
  return Object.assign(opening, { paths });
}
