import assert from 'node:assert/strict';
import test, { type TestContext } from 'node:test';
import { openRaw } from '../../../tests/support/raw-http.ts';
import {
  acceptOf,
  closePayload,
  opcodes,
  RawWebSocket,
  upgradeText,
} from '../../../tests/support/raw-websocket.ts';
import { openTestServer, type TestServer } from '../../../tests/support/test-server.ts';
import { attachProtocol } from '../../contract/attach.ts';
import { newId, type RunId } from '../../model/ids.ts';

const run = newId('run', 1) as RunId;
const path = `/api/v1/runs/${run}/attach`;

async function attach(
  server: TestServer,
  options: NonNullable<Parameters<typeof upgradeText>[1]> = {},
  target = path,
): Promise<RawWebSocket> {
  const ticket = options.ticket === undefined ? server.control.attach.issue(run) : options.ticket;
  const headers = { Origin: server.address, ...options.headers };
  const socket = await openRaw(server.port);
  return new RawWebSocket(socket, upgradeText(target, { ...options, ticket, headers }));
}

async function attached(t: TestContext) {
  const server = await openTestServer(t);
  const socket = await attach(server);
  assert.equal((await socket.answer).status, 101);
  return { server, socket, at: await server.control.attach.at(0) };
}

test('a ticket opens one WebSocket, in a header or as a protocol, and its text is not echoed', async (t) => {
  const server = await openTestServer(t);
  const byHeader = await attach(server);
  const answer = await byHeader.answer;
  assert.equal(answer.status, 101);
  assert.equal(answer.headers['sec-websocket-accept'], acceptOf('dGhlIHNhbXBsZSBub25jZQ=='));
  assert.equal(answer.headers['sec-websocket-protocol'], attachProtocol);
  assert.equal(answer.headers['sec-websocket-extensions'], undefined);
  const ticket = server.control.attach.issue(run);
  const byProtocol = await attach(server, {
    ticket: null,
    headers: { 'Sec-WebSocket-Protocol': `${attachProtocol}, sealwright.ticket.${ticket}` },
  });
  assert.equal((await byProtocol.answer).status, 101);
  assert.doesNotMatch((await byProtocol.answer).text, /sw_attach_/);
  assert.deepEqual(server.control.attach.refusals, []);
  for (const socket of [byHeader, byProtocol]) socket.socket.destroy();
});

test('frames go both ways, in order', async (t) => {
  const { socket, at } = await attached(t);
  at.client.send({ type: 'resized', size: { columns: 80, rows: 24 } });
  at.client.data(1, Buffer.from('hello'));
  const [first, second] = [await socket.next(), await socket.next()];
  assert.deepEqual(JSON.parse(String(first!.payload)), { type: 'resized', size: { columns: 80, rows: 24 } });
  assert.deepEqual([second!.opcode, String(second!.payload)], [opcodes.binary, '\x01hello']);
  socket.send({ opcode: opcodes.binary, payload: Buffer.from('\0ls\r') });
  socket.send({ opcode: opcodes.text, payload: Buffer.from('{"type":"keep-alive"}') });
  while (at.said.length < 2) await new Promise((resolve) => setImmediate(resolve));
  assert.deepEqual(at.said, [Buffer.from('ls\r'), { type: 'keep-alive' }]);
  socket.send({ opcode: opcodes.close, payload: closePayload(1000) });
  assert.equal(await socket.closeCode(), 1000);
  await socket.closed;
  while (at.gone === null) await new Promise((resolve) => setImmediate(resolve));
  assert.equal(at.gone, 'left');
});
