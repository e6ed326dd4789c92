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

/** What was refused, and the rule that it would have needed: of which protocol, for which request. */
export type Refused = {
  readonly destination: Destination;
  readonly denial: EgressDenial;
  readonly protocol: EgressProtocol;
  readonly method?: string | null;
  readonly path?: string | null;
};

/** Tells a program why, in the words of what it `speaks`, and ends the connection. */
export function refuse(socket: Socket, speaks: EgressProtocol, refused: Refused): void {
  if (socket.destroyed) return;
  const alert = refused.denial === 'malformed' ? tlsAlerts.decodeError : tlsAlerts.accessDenied;
  if (speaks === 'http') lastWords(socket, status(403, 'Forbidden', refusalText(refused)));
  else if (speaks === 'https') lastWords(socket, fatalAlert(alert));
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

/** For a program and who reads its output: what was denied and, where there is one, the rule that would allow it. */
export function refusalText({ destination, denial, protocol, method, path }: Refused): string {
  const { host, address, port } = destination;
  const literal = formatAddress(address);
  const rule = [
    host === null ? `cidr: ${literal}/${address.bytes.length * 8}` : `host: ${host}`,
    `ports: [${port}]`,
    `protocol: ${protocol}`,
  ];
  if (denial === 'request' && method) rule.push(`methods: [${JSON.stringify(method)}]`);
  if (denial === 'request' && path) rule.push(`paths: [${JSON.stringify(path)}]`);
  const remedy = remediable.has(denial) ? `\nA rule that would allow it:\n  - ${rule.join('\n    ')}\n` : '';
  return `Sealwright denied this: ${words[denial]} ${host ?? literal}:${port}.\n${remedy}`;
}

const remediable: ReadonlySet<EgressDenial> = new Set(['no-rule', 'request', 'address-class']);

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
