import type { AddressInfo } from 'node:net';
import { WebSocketServer } from 'ws';

/** What a WebSocket in Node costs alone: every message goes back to whoever sent it. A peer of bench/attach.ts. */
const server: WebSocketServer = new WebSocketServer(
  { port: 0, host: '127.0.0.1', perMessageDeflate: false },
  () => console.log(JSON.stringify({ port: (server.address() as AddressInfo).port })),
);
server.on('connection', (socket, request) => {
  request.socket.setNoDelay(true);
  socket.send('ready');
  socket.on('message', (data: Buffer) => socket.send(data));
});
