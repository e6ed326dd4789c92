import type { Socket } from 'node:net';
import type { EgressDenial, EgressProtocol } from '../../model/egress.ts';
import { formatAddress } from '../../model/ip-address.ts';
import { gatewayLimits } from '../limits.ts';
import type { Destination } from '../sandbox-door.ts';
import { fatalAlert, tlsAlerts } from '../tls/client-hello.ts';

const words: Record<EgressDenial, string> = {
  'no-rule': "no rule of the run's policy allows",
  'address-class': 'addresses that are not public need a cidr rule:',
  protocol: 'what was sent is not what the rule is for:',
  'name-mismatch': 'the request names another host than the one that was looked up:',
  request: 'no rule allows this method and path at',
  malformed: 'what was sent is ambiguous or broken:',
  unresolved: 'the name has no address:',
  certificate: "the upstream's certificate does not prove that it is",
  limit: "a limit of the run's policy is used up for",
  'no-record': 'the verdict could not be recorded, so nothing was sent:',
};

/** Tells a program why, in the words of the protocol it speaks, and ends the connection. */
export function refuse(
  socket: Socket,
  protocol: EgressProtocol,
  destination: Destination,
  denial: EgressDenial,
): void {
  if (socket.destroyed) return;
  const alert = denial === 'malformed' ? tlsAlerts.decodeError : tlsAlerts.accessDenied;
  if (protocol === 'http') lastWords(socket, forbidden(destination, denial));
  else if (protocol === 'https') lastWords(socket, fatalAlert(alert));
  else socket.resetAndDestroy();
}

/**
 * The last bytes and an end, for whoever reads slowly too; what still comes is dropped, so that the end is no reset
 * that would overtake them.
 */
export function lastWords(socket: Socket, bytes: Buffer): void {
  if (socket.destroyed || socket.writableEnded) return;
  socket.setTimeout(gatewayLimits.idleMs, () => socket.destroy());
  socket.end(bytes, () => {
    const timer = setTimeout(() => socket.destroy(), gatewayLimits.lingerMs);
    socket.once('close', () => clearTimeout(timer));
  });
  socket.resume();
}

function forbidden({ host, address, port }: Destination, denial: EgressDenial): Buffer {
  const where = `${host ?? formatAddress(address)}:${port}`;
  const rule =
    host === null ? `cidr: ${formatAddress(address)}/${address.bytes.length * 8}` : `host: ${host}`;
  const remedy =
    denial === 'no-rule' || denial === 'request' || denial === 'address-class'
      ? `\nA rule that would allow it:\n  - ${rule}\n    ports: [${port}]\n    protocol: http\n`
      : '';
  return status(403, 'Forbidden', `Sealwright denied this: ${words[denial]} ${where}.\n${remedy}`);
}

/** A whole answer after which the connection ends. */
export function status(code: number, reason: string, text: string): Buffer {
  const body = Buffer.from(text);
  const head = [
    `HTTP/1.1 ${code} ${reason}`,
    'content-type: text/plain; charset=utf-8',
    `content-length: ${body.length}`,
    'connection: close',
  ].join('\r\n');
  return Buffer.concat([Buffer.from(`${head}\r\n\r\n`), body]);
}
