import type { Socket } from 'node:net';
import type { EgressDenial, EgressFlowEnd, EgressProtocol, EgressRule } from '../../model/egress.ts';
import { requestAllowed, standardPorts } from '../../model/egress-decide.ts';
import { canonicalHost } from '../../model/host-name.ts';
import { formatAddress, parseAddress } from '../../model/ip-address.ts';
import { BodyReader, serializeRequestHead } from '../http/body.ts';
import {
  type Authority,
  HeadReader,
  parseRequestHead,
  parseResponseHead,
  type RequestHead,
  type ResponseFraming,
} from '../http/head.ts';
import { normalPath } from '../http/target.ts';
import { Inlet, send } from '../inlet.ts';
import { gatewayLimits } from '../limits.ts';
import type { Destination } from '../sandbox-door.ts';
import type { Connection, Opened } from './connection.ts';
import { lastWords, status } from './refusal.ts';
import { splice } from './splice.ts';

/** What a rule looks at of a request: its method, and its path, as it was sent or normal. */
export type Asked = { readonly method: string; readonly path: string };

export type Upstream = {
  /** Makes a connection to the destination, checked anew. */
  open(): Promise<Opened | EgressDenial | 'unreachable'>;
  /** One that is there already. */
  readonly first?: Opened;
};

/**
 * HTTP/1 on a connection whose rule looks inside: every request of it is checked and recorded, and written anew
 * for the upstream, so that no byte of one request can be taken for another's.
 */
export async function serveHttp(connection: Connection, rule: EgressRule, upstream: Upstream): Promise<void> {
  const { client } = connection;
  let opened: Opened | null = upstream.first ?? null;
  const giveUp = () => client.destroy();
  client.setTimeout(gatewayLimits.idleMs, giveUp);
  try {
    for (;;) {
      const bytes = await readHead(connection.inlet, () => client.destroy());
      if (bytes === null) return void client.end();
      if (connection.isElsewhere(bytes)) return connection.inlet.unread(bytes);
      const judged = judge(bytes, connection, rule);
      if ('denial' in judged) return connection.deny(judged.denial, rule.protocol, judged);
      const seen = { method: judged.head.method, path: judged.path };
      const exceeded = connection.mayRequest();
      if (exceeded !== null) return connection.deny(exceeded, rule.protocol, seen);
      // From here on, so that a change of policy finds it while its verdict is on its way.
      connection.requests.add(seen);
      try {
        if (opened !== null && !isIdle(opened.socket)) {
          opened.socket.destroy();
          opened = null;
        }
        if (opened === null) {
          const result = await upstream.open();
          if (typeof result === 'string') return await connection.notOpened(rule, result, seen);
          opened = result;
        }
        const flow = await connection.allow(judged.rule, opened.address, seen);
        if (flow === null) return connection.notAllowed(rule.protocol, seen);
        if (!(await exchange(connection, { ...judged, flow, upstream: opened.socket }))) return;
      } finally {
        connection.requests.delete(seen);
      }
    }
  } finally {
    client.off('timeout', giveUp);
    opened?.socket.destroy();
  }
}

/** Whether the next request may use it: an upstream ends a connection that it does not keep, maybe with an answer. */
function isIdle(upstream: Socket): boolean {
  return !upstream.destroyed && !upstream.readableEnded && upstream.readableLength === 0;
}

/** The bytes of the next head, well formed or not; null where none comes. `onLate` is called when it takes too long. */
export async function readHead(inlet: Inlet, onLate: () => void): Promise<Buffer | null> {
  const reader = new HeadReader();
  let timer: NodeJS.Timeout | null = null;
  try {
    for (let chunk = await inlet.next(); chunk !== null; chunk = await inlet.next()) {
      timer ??= setTimeout(onLate, gatewayLimits.firstBytesMs);
      const step = reader.push(chunk);
      if (step.state === 'too-large') return Buffer.alloc(0);
      if (step.state === 'more') continue;
      inlet.unread(step.rest);
      return step.bytes;
    }
    return null;
  } finally {
    if (timer !== null) clearTimeout(timer);
  }
}

type Judged =
  | { readonly head: RequestHead; readonly path: string; readonly rule: EgressRule }
  | { readonly denial: EgressDenial; readonly method?: string; readonly path?: string };

/** Each request by the policy of its moment: it may have changed since the one before. */
function judge(bytes: Buffer, connection: Connection, first: EgressRule): Judged {
  const parsed = parseRequestHead(bytes);
  if ('bad' in parsed) return { denial: 'malformed' };
  const { head } = parsed;
  const asked = askedOf(head);
  // An http URL inside TLS is for nobody.
  if (first.protocol === 'https' && head.target.form === 'absolute') return { denial: 'malformed', ...asked };
  const judged = judgeRequest(connection, first, { ...asked, authority: head.host });
  return 'denial' in judged ? judged : { head, ...judged };
}

/** A request by the policy of its moment, whatever version of HTTP it came in; `path` is the one to send. */
export function judgeRequest(
  { door, destination }: Connection,
  first: EgressRule,
  { method, path: asked, authority }: Asked & { readonly authority: Authority },
): { path: string; rule: EgressRule } | ({ denial: EgressDenial } & Asked) {
  const seen = { method, path: asked };
  if (!namesDestination(authority, first, destination)) return { denial: 'name-mismatch', ...seen };
  const decision = door.decide(destination);
  if ('denial' in decision) return { denial: decision.denial, ...seen };
  const { rule } = decision;
  if (rule.protocol !== first.protocol) return { denial: 'protocol', ...seen };
  if (pathFor(rule, seen) === null) return { denial: 'malformed', ...seen };
  const path = allowedPath(rule, seen);
  return path === null ? { denial: 'request', ...seen } : { path, rule };
}

function askedOf({ method, target }: RequestHead): Asked {
  return { method, path: target.path };
}

/** Where no rule looks at paths they pass as they are: npm's `/@scope%2fname` has no normal form. */
function pathFor(rule: EgressRule, { path }: Asked): string | null {
  return rule.paths === undefined ? path : normalPath(path);
}

/** The path to send upstream, where the rule allows the request; else null. */
export function allowedPath(rule: EgressRule, asked: Asked): string | null {
  const path = pathFor(rule, asked);
  return path !== null && requestAllowed(rule, asked.method, path) ? path : null;
}

/** Host, and with it absolute-form, must be what was connected to: the name, or the address where there is none. */
function namesDestination(
  host: Authority,
  { protocol }: EgressRule,
  { host: name, address, port }: Destination,
): boolean {
  if ((host.port ?? standardPortOf(protocol)) !== port) return false;
  if (name !== null) return canonicalHost(host.host) === name;
  const literal = parseAddress(host.host);
  return literal !== null && formatAddress(literal) === formatAddress(address);
}

function standardPortOf(protocol: EgressProtocol): number {
  return protocol === 'https' ? standardPorts.https : standardPorts.http;
}

type Exchange = {
  readonly rule: EgressRule;
  readonly head: RequestHead;
  readonly path: string;
  readonly flow: number;
  readonly upstream: Socket;
};

/** One request and its response. True where another may follow on the connection. */
async function exchange(
  connection: Connection,
  { rule, head, path, flow, upstream }: Exchange,
): Promise<boolean> {
  const before = { out: upstream.bytesWritten, in: upstream.bytesRead };
  const isWebSocket = head.upgrade === 'websocket';
  const forwarding = { host: hostValue(connection.destination, rule), path, upgrade: isWebSocket };
  let next: 'next' | 'close' | 'upgraded' | 'failed' = 'failed';
  let outcome: EgressFlowEnd['outcome'] = 'reset';
  const bytes = serializeRequestHead(head, forwarding);
  const maySend = (count: number) => connection.maySend(count);
  if (maySend(bytes.length) && (await send(upstream, bytes))) {
    let sent = false;
    // Who asked is gone, and nobody else would notice before the upstream says something.
    const abandon = () => upstream.destroy();
    connection.client.once('close', abandon);
    void forward(connection.inlet, upstream, head.framing, maySend).then((whole) => {
      sent = whole;
      if (!whole) upstream.destroy();
    });
    next = await relayResponse(connection, upstream, head, isWebSocket);
    connection.client.off('close', abandon);
    if (next === 'upgraded') outcome = await upgraded(connection, upstream);
    else if (next !== 'failed') outcome = 'closed';
    if (next === 'next' && !sent) next = 'close';
  }
  connection.endedRequest(flow, {
    bytesOut: upstream.bytesWritten - before.out,
    bytesIn: upstream.bytesRead - before.in,
    outcome,
  });
  // No orderly end, which some would take for the end of the answer.
  if (next === 'failed') connection.client.resetAndDestroy();
  if (next === 'close') lastWords(connection.client, Buffer.alloc(0));
  return next === 'next';
}

/** The value of Host, or of `:authority`. */
export function hostValue({ host, address, port }: Destination, { protocol }: EgressRule): string {
  const literal = formatAddress(address);
  const name = host ?? (address.family === 6 ? `[${literal}]` : literal);
  return port === standardPortOf(protocol) ? name : `${name}:${port}`;
}

/** Passes one body on as it is, checked. False where it is broken or its end never comes. */
async function forward(
  from: Inlet,
  to: Socket,
  framing: ResponseFraming,
  maySend = (_bytes: number) => true,
): Promise<boolean> {
  const body = new BodyReader(framing);
  if (body.done) return true;
  for (let chunk = await from.next(); chunk !== null; chunk = await from.next()) {
    const step = body.push(chunk);
    if ('bad' in step) return false;
    if (!maySend(step.body.length) || !(await send(to, step.body))) return false;
    if (!step.done) continue;
    from.unread(step.rest ?? Buffer.alloc(0));
    return true;
  }
  return framing.kind === 'until-close' && from.endedWell;
}

/** Passes the responses to one request on: interim ones and the last. */
async function relayResponse(
  { client }: Connection,
  upstream: Socket,
  request: RequestHead,
  mayUpgrade: boolean,
): Promise<'next' | 'close' | 'upgraded' | 'failed'> {
  const inlet = new Inlet(upstream);
  for (;;) {
    const bytes = await readHead(inlet, () => upstream.destroy());
    if (bytes === null) return badGateway(client, 'the upstream ended without an answer');
    const parsed = parseResponseHead(bytes, request.method);
    if ('bad' in parsed) return badGateway(client, 'the upstream gave an answer that is ambiguous or broken');
    const { head } = parsed;
    if (head.framing.kind === 'upgraded' && !(mayUpgrade && head.upgrade === request.upgrade))
      return badGateway(client, 'the upstream changed the protocol unasked');
    if (head.framing.kind === 'chunked' && request.version === 'HTTP/1.0')
      return badGateway(client, 'the upstream gave an answer that the program cannot read');
    if (!(await send(client, bytes))) return 'failed';
    if (head.framing.kind === 'upgraded') {
      const early = inlet.takeHeld();
      if (early !== null) client.write(early);
      return 'upgraded';
    }
    if (head.status < 200) continue;
    if (!(await forward(inlet, client, head.framing))) return 'failed';
    // What comes after the answer was not asked for.
    if (inlet.hasMore) return 'close';
    return head.keepAlive && request.keepAlive ? 'next' : 'close';
  }
}

async function upgraded(connection: Connection, upstream: Socket): Promise<EgressFlowEnd['outcome']> {
  const early = connection.inlet.takeHeld();
  if (early !== null && connection.maySend(early.length)) upstream.write(early);
  return await splice(connection.client, upstream, (bytes) => connection.maySend(bytes));
}

function badGateway(client: Socket, why: string): 'close' {
  lastWords(client, status(502, 'Bad Gateway', `Sealwright: ${why}.\n`));
  return 'close';
}
