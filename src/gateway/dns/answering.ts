import { createSocket, type Socket as DatagramSocket } from 'node:dgram';
import type { Socket } from 'node:net';
import { canonicalHost } from '../../model/host-name.ts';
import { parseAddress } from '../../model/ip-address.ts';
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

/** The name whose address a question for a pointer spells (RFC 1035 §3.5, RFC 3596 §2.5). */
function nameAt(door: SandboxDoor, question: string): string | null {
  const [, four, six] =
    /^((?:\d{1,3}\.){4})in-addr\.arpa\.?$|^((?:[0-9a-f]\.){32})ip6\.arpa\.?$/i.exec(question) ?? [];
  const parts = (four ?? six ?? '').split('.').slice(0, -1).reverse();
  const text = four === undefined ? parts.join('').replace(/.{4}(?=.)/g, '$&:') : parts.join('.');
  const address = parseAddress(text);
  return address === null ? null : door.destination(address, 0).host;
}

function contentFor(door: SandboxDoor, query: Query): AnswerContent {
  if (!door.isOpen) return { kind: 'refused' };
  const name = canonicalHost(query.name);
  const pointed = query.type === dnsTypes.ptr ? nameAt(door, query.name) : null;
  if (pointed !== null) return { kind: 'pointer', name: pointed };
  if (name === null || !door.knowsName(name)) {
    door.deny('no-rule', { host: name ?? query.name, port: 53, protocol: 'dns' });
    return { kind: name !== null && door.leadsToName(name) ? 'empty' : 'absent' };
  }
  if (query.type !== dnsTypes.a && query.type !== dnsTypes.aaaa) return { kind: 'empty' };
  const address = door.addressFor(name, query.type === dnsTypes.a ? 4 : 6);
  return address === null
    ? { kind: 'refused' }
    : { kind: 'address', addresses: [address], ttl: gatewayLimits.dnsTtlSeconds };
}
