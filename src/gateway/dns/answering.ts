import { createSocket, type Socket as DatagramSocket } from 'node:dgram';
import type { Socket } from 'node:net';
import { canonicalHost } from '../../model/host-name.ts';
import { gatewayLimits } from '../limits.ts';
import type { SandboxDoor } from '../sandbox-door.ts';
import { type AnswerContent, answer, dnsTypes, parseQuery, type Query, TcpMessages } from './message.ts';

/**
 * Answers every query of a sandbox here: nothing of it ever leaves. A name that some rule knows has an address that
 * stands for it; every other one does not exist, which is recorded.
 */
export function serveDnsDatagrams(door: SandboxDoor, fd: number): DatagramSocket {
  const socket = createSocket({ type: 'udp6' });
  socket.on('error', () => undefined);
  socket.on('message', (message, { port, address }) => {
    const reply = replyTo(door, message, gatewayLimits.dnsUdpBytesMax);
    if (reply !== null) socket.send(reply, port, address, () => undefined);
  });
  socket.bind({ fd });
  return socket;
}

export function serveDnsConnection(door: SandboxDoor, socket: Socket): void {
  const messages = new TcpMessages();
  socket.setTimeout(gatewayLimits.dnsConnectionMs, () => socket.destroy());
  socket.on('data', (chunk: Buffer) => {
    try {
      for (const message of messages.push(chunk)) {
        const reply = replyTo(door, message, null);
        if (reply === null) continue;
        const length = Buffer.alloc(2);
        length.writeUInt16BE(reply.length);
        // A program that asks and never reads is cut.
        if (!socket.write(Buffer.concat([length, reply]))) socket.destroy();
      }
    } catch {
      socket.destroy();
    }
  });
  socket.on('end', () => socket.end());
}

function replyTo(door: SandboxDoor, message: Buffer, udpLimit: number | null): Buffer | null {
  const query = parseQuery(message);
  if (query === null) return null;
  return 'refuse' in query ? query.refuse : answer(query, contentFor(door, query), { udpLimit });
}

function contentFor(door: SandboxDoor, query: Query): AnswerContent {
  if (!door.isOpen) return { kind: 'refused' };
  const name = canonicalHost(query.name);
  if (name === null || !door.knowsName(name)) {
    door.deny('no-rule', { host: name ?? query.name, port: 53, protocol: 'dns' });
    return { kind: 'absent' };
  }
  if (query.type !== dnsTypes.a && query.type !== dnsTypes.aaaa) return { kind: 'empty' };
  const address = door.addressFor(name, query.type === dnsTypes.a ? 4 : 6);
  return address === null
    ? { kind: 'refused' }
    : { kind: 'address', addresses: [address], ttl: gatewayLimits.dnsTtlSeconds };
}
