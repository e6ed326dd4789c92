import type { Socket } from 'node:net';
import type { EgressDenial, EgressFlowEnd, EgressRule } from '../../model/egress.ts';
import { requestAllowed, standardPorts } from '../../model/egress-decide.ts';
import { canonicalHost } from '../../model/host-name.ts';
import { formatAddress, parseAddress } from '../../model/ip-address.ts';
import { BodyReader, serializeRequestHead } from '../http/body.ts';
import {
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

/**
 * HTTP/1 on a connection whose rule looks inside: every request of it is checked and recorded, and written anew
 * for the upstream, so that no byte of one request can be taken for another's.
 */
export async function serveHttp(connection: Connection, rule: EgressRule): Promise<void> {
  const { client } = connection;
  let opened: Opened | null = null;
  client.setTimeout(gatewayLimits.idleMs, () => client.destroy());
  try {
    for (;;) {
      const bytes = await readHead(connection.inlet, () => client.destroy());
      if (bytes === null) return void client.end();
      const judged = judge(bytes, connection, rule);
      if ('denial' in judged) return connection.deny(judged.denial, 'http', judged);
      const { head, path } = judged;
      const seen = { method: head.method, path };
      if (opened !== null && !isIdle(opened.socket)) {
        opened.socket.destroy();
        opened = null;
      }
      if (opened === null) {
        const result = await connection.open();
        if (typeof result === 'string') return await unopened(connection, rule, result, seen);
        opened = result;
      }
      const flow = await connection.allow(judged.rule, opened.address, seen);
      if (flow === null) return connection.notAllowed('http', seen);
      if (!(await exchange(connection, { head, path, flow, upstream: opened.socket }))) return;
    }
  } finally {
    opened?.socket.destroy();
  }
}

/** Whether the next request may use it: an upstream ends a connection that it does not keep, maybe with an answer. */
function isIdle(upstream: Socket): boolean {
  return !upstream.destroyed && !upstream.readableEnded && upstream.readableLength === 0;
}

async function unopened(
  connection: Connection,
  rule: EgressRule,
  why: EgressDenial | 'unreachable',
  seen: { method: string; path: string },
): Promise<void> {
  await connection.notOpened(rule, why, seen);
  if (why === 'unreachable')
    lastWords(connection.client, status(502, 'Bad Gateway', 'Sealwright: the upstream cannot be reached.\n'));
}

/** The bytes of the next head, well formed or not; null where none comes. `onLate` is called when it takes too long. */
async function readHead(inlet: Inlet, onLate: () => void): Promise<Buffer | null> {
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
function judge(bytes: Buffer, { door, destination }: Connection, first: EgressRule): Judged {
  const parsed = parseRequestHead(bytes);
  if ('bad' in parsed) return { denial: 'malformed' };
  const { head } = parsed;
  const seen = { method: head.method, path: head.target.path };
  if (!namesDestination(head, destination)) return { denial: 'name-mismatch', ...seen };
  const decision = door.decide(destination);
  if ('denial' in decision) return { denial: decision.denial, ...seen };
  const { rule } = decision;
  if (rule.protocol !== first.protocol) return { denial: 'protocol', ...seen };
  if (pathFor(rule, head) === null) return { denial: 'malformed', ...seen };
  const path = allowedPath(rule, head);
  return path === null ? { denial: 'request', ...seen } : { head, path, rule };
}

/** Where no rule looks at paths they pass as they are: npm's `/@scope%2fname` has no normal form. */
function pathFor(rule: EgressRule, { target }: RequestHead): string | null {
  return rule.paths === undefined ? target.path : normalPath(target.path);
}

/** The path to send upstream, where the rule allows the request; else null. */
export function allowedPath(rule: EgressRule, head: RequestHead): string | null {
  const path = pathFor(rule, head);
  return path !== null && requestAllowed(rule, head.method, path) ? path : null;
}

/** Host, and with it absolute-form, must be what was connected to: the name, or the address where there is none. */
function namesDestination({ host }: RequestHead, { host: name, address, port }: Destination): boolean {
  if ((host.port ?? standardPorts.http) !== port) return false;
  if (name !== null) return canonicalHost(host.host) === name;
  const literal = parseAddress(host.host);
  return literal !== null && formatAddress(literal) === formatAddress(address);
}

type Exchange = {
  readonly head: RequestHead;
  readonly path: string;
  readonly flow: number;
  readonly upstream: Socket;
};

/** One request and its response. True where another may follow on the connection. */
async function exchange(connection: Connection, { head, path, flow, upstream }: Exchange): Promise<boolean> {
  const before = { out: upstream.bytesWritten, in: upstream.bytesRead };
  const isWebSocket = head.upgrade === 'websocket';
  const forwarding = { host: hostValue(connection.destination), path, upgrade: isWebSocket };
  let next: 'next' | 'close' | 'upgraded' | 'failed' = 'failed';
  let outcome: EgressFlowEnd['outcome'] = 'reset';
  connection.request = head;
  if (await send(upstream, serializeRequestHead(head, forwarding))) {
    let sent = false;
    // Who asked is gone, and nobody else would notice before the upstream says something.
    const abandon = () => upstream.destroy();
    connection.client.once('close', abandon);
    void forward(connection.inlet, upstream, head.framing).then((whole) => {
      sent = whole;
      if (!whole) upstream.destroy();
    });
    next = await relayResponse(connection, upstream, head, isWebSocket);
    connection.client.off('close', abandon);
    if (next === 'upgraded') outcome = await upgraded(connection, upstream);
    else if (next !== 'failed') outcome = 'closed';
    if (next === 'next' && !sent) next = 'close';
  }
  connection.request = null;
  connection.ended(flow, {
    bytesOut: upstream.bytesWritten - before.out,
    bytesIn: upstream.bytesRead - before.in,
    outcome,
  });
  // No orderly end, which some would take for the end of the answer.
  if (next === 'failed') connection.client.resetAndDestroy();
  if (next === 'close') lastWords(connection.client, Buffer.alloc(0));
  return next === 'next';
}

function hostValue({ host, address, port }: Destination): string {
  const literal = formatAddress(address);
  const name = host ?? (address.family === 6 ? `[${literal}]` : literal);
  return port === standardPorts.http ? name : `${name}:${port}`;
}

/** Passes one body on as it is, checked. False where it is broken or its end never comes. */
async function forward(from: Inlet, to: Socket, framing: ResponseFraming): Promise<boolean> {
  const body = new BodyReader(framing);
  if (body.done) return true;
  for (let chunk = await from.next(); chunk !== null; chunk = await from.next()) {
    const step = body.push(chunk);
    if ('bad' in step) return false;
    if (!(await send(to, step.body))) return false;
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

async function upgraded({ client, inlet }: Connection, upstream: Socket): Promise<EgressFlowEnd['outcome']> {
  const early = inlet.takeHeld();
  if (early !== null) upstream.write(early);
  return await splice(client, upstream);
}

function badGateway(client: Socket, why: string): 'close' {
  lastWords(client, status(502, 'Bad Gateway', `Sealwright: ${why}.\n`));
  return 'close';
}
