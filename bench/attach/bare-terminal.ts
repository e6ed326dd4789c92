import type { AddressInfo } from 'node:net';
import { type WebSocket, WebSocketServer } from 'ws';
import { type OwnTerminal, ownTerminal } from './own-terminal.ts';

/**
 * The terminal in the browser that everybody writes first, for the command of its words and for all who come: nobody is
 * asked who he is and nothing is kept. A peer of bench/attach.ts.
 */
const server: WebSocketServer = new WebSocketServer(
  { port: 0, host: '127.0.0.1', perMessageDeflate: false },
  () => console.log(JSON.stringify({ port: (server.address() as AddressInfo).port })),
);
let shared: OwnTerminal | null = null;

/** It is read as fast as the slowest of them reads. */
function sharedTerminal(): OwnTerminal {
  const terminal = ownTerminal(process.argv.slice(2));
  terminal.output.on('data', (bytes) => {
    terminal.output.pause();
    const sent = [...server.clients].map((each: WebSocket) => new Promise((done) => each.send(bytes, done)));
    void Promise.all(sent).then(() => terminal.output.resume());
  });
  return terminal;
}

server.on('connection', (socket, request) => {
  request.socket.setNoDelay(true);
  shared ??= sharedTerminal();
  const { type } = shared;
  socket.on('message', (data: Buffer) => type(data));
});
process.on('SIGTERM', () => {
  shared?.child.kill('SIGKILL');
  process.exit();
});
