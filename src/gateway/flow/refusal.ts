import type { Socket } from 'node:net';
import type { EgressDenial, EgressProtocol } from '../../model/egress.ts';
import { formatAddress } from '../../model/ip-address.ts';
import type { Exceeded } from '../allowance.ts';
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
  /** Of the denial `limit`. */
  readonly exceeded?: Exceeded;
  readonly protocol: EgressProtocol;
  readonly method?: string | null;
  readonly path?: string | null;
};

/** Tells a program why, in the words of what it `speaks`, and ends the connection. */
export function refuse(socket: Socket, speaks: EgressProtocol, refused: Refused): void {
  if (socket.destroyed) return;
  const alert = refused.denial === 'malformed' ? tlsAlerts.decodeError : tlsAlerts.accessDenied;
  if (speaks === 'http') {
    const { code, reason, fields } = refusalStatus(refused);
    lastWords(socket, status(code, reason, refusalText(refused), fields));
  } else if (speaks === 'https') lastWords(socket, fatalAlert(alert));
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
export function refusalText({ destination, denial, exceeded, protocol, method, path }: Refused): string {
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
  const limit =
    exceeded === undefined ? '' : `\n${exceeded.limit}: ${exceeded.most} (${limitWords[exceeded.limit]})\n`;
  return `Sealwright denied this: ${words[denial]} ${host ?? literal}:${port}.\n${remedy}${limit}`;
}

const limitWords: Record<Exceeded['limit'], string> = {
  bytesOut: 'bytes sent in the whole run',
  connections: 'connections open at a time',
  requestsPerMinute: 'requests in any 60 seconds',
};

type Fields = Readonly<Record<string, string>>;

/** The status that a refusal has in any version of HTTP (RFC 6585 §4 for limits), and the fields that go with it. */
export function refusalStatus({ exceeded }: Refused): { code: number; reason: string; fields: Fields } {
  if (exceeded === undefined) return { code: 403, reason: 'Forbidden', fields: {} };
  const { retryAfterSeconds } = exceeded;
  const fields: Fields = retryAfterSeconds === null ? {} : { 'retry-after': String(retryAfterSeconds) };
  return { code: 429, reason: 'Too Many Requests', fields };
}

const remediable: ReadonlySet<EgressDenial> = new Set(['no-rule', 'request', 'address-class']);

/** A whole answer after which the connection ends. */
export function status(code: number, reason: string, text: string, fields: Fields = {}): Buffer {
  const body = Buffer.from(text);
  const head = [
    `HTTP/1.1 ${code} ${reason}`,
    'content-type: text/plain; charset=utf-8',
    `content-length: ${body.length}`,
    'connection: close',
    ...Object.entries(fields).map(([name, value]) => `${name}: ${value}`),
  ].join('\r\n');
  return Buffer.concat([Buffer.from(`${head}\r\n\r\n`), body]);
}
