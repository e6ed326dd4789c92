import type { Socket } from 'node:net';
import { protocolOfPort } from '../../model/egress-decide.ts';
import { proxyPorts } from '../../model/gateway-address.ts';
import { Connection } from '../flow/connection.ts';
import { lastWords } from '../flow/refusal.ts';
import { Inlet } from '../inlet.ts';
import { gatewayLimits } from '../limits.ts';
import { type Destination, type SandboxDoor, seenOf } from '../sandbox-door.ts';
import { namedDestination, proxyItself } from './named-destination.ts';
import {
  parseGreeting,
  parseRequest,
  type SocksReply,
  socksMethods,
  socksReplies,
  socksReply,
  socksVersion,
} from './socks.ts';

/**
 * Serves a program that is set up for a SOCKS 5 proxy: CONNECT alone, without authentication. What it names, or the
 * address that it looked up, goes the way of a connection to it.
 */
export function serveSocksProxy(door: SandboxDoor, client: Socket): void {
  if (!door.isOpen || !door.enter(client)) return void client.resetAndDestroy();
  serve(door, client).catch(() => client.destroy());
}

async function serve(door: SandboxDoor, client: Socket): Promise<void> {
  const inlet = new Inlet(client);
  const timer = setTimeout(() => client.destroy(), gatewayLimits.firstBytesMs);
  const destination = await negotiate(door, client, inlet).finally(() => clearTimeout(timer));
  if (destination === null) return;
  const refuse = () => lastWords(client, socksReply(socksReplies.notAllowed));
  const connection = new Connection(door, client, destination, { inlet, refuse, isElsewhere: () => false });
  await connection.through(async (rule) => {
    client.write(socksReply(socksReplies.succeeded));
    await connection.carry(rule);
  });
}

/** What the program asks for; null where it asked for nothing that there is, and was told. */
async function negotiate(door: SandboxDoor, client: Socket, inlet: Inlet): Promise<Destination | null> {
  const turnAway = (lastBytes: Buffer) => {
    door.deny(
      'malformed',
      seenOf(proxyItself(proxyPorts.socks), { protocol: protocolOfPort(proxyPorts.socks) }),
    );
    lastWords(client, lastBytes);
    return null;
  };
  const greeting = await read(inlet, parseGreeting);
  if (greeting === null) return gone(client);
  // SOCKS 4 among others: nothing that is said to it in version 5 would be understood.
  if (greeting.is === 'invalid') return turnAway(Buffer.alloc(0));
  if (!greeting.takesNone) return turnAway(Buffer.from([socksVersion, socksMethods.noneAcceptable]));
  client.write(Buffer.from([socksVersion, socksMethods.none]));
  const request = await read(inlet, parseRequest);
  if (request === null) return gone(client);
  const refuse = (reply: SocksReply) => turnAway(socksReply(reply));
  if (request.is === 'refused') return refuse(request.reply);
  return namedDestination(door, request.host, request.port) ?? refuse(socksReplies.failure);
}

function gone(client: Socket): null {
  client.destroy();
  return null;
}

/** One message, however it is cut; what follows it stays. Null where its end never comes. */
async function read<Message extends { readonly bytes: number }>(
  inlet: Inlet,
  parse: (seen: Buffer) => Message | null,
): Promise<Message | null> {
  let seen: Buffer = Buffer.alloc(0);
  for (let chunk = await inlet.next(); chunk !== null; chunk = await inlet.next()) {
    seen = Buffer.concat([seen, chunk]);
    const message = parse(seen);
    if (message === null) continue;
    inlet.unread(seen.subarray(message.bytes));
    return message;
  }
  return null;
}
