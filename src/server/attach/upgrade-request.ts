import type { IncomingMessage } from 'node:http';
import { attachProtocol, ticketProtocolPrefix } from '../../contract/attach.ts';
import { Fault } from '../../contract/faults.ts';
import { parseId, type RunId } from '../../model/ids.ts';
import { attachServerLimits } from './limits.ts';

/** What the handshake of RFC 6455 says, before any of it is believed. Everything here is pure. */

const pathForm = /^\/api\/v1\/runs\/([a-z0-9_]{1,64})\/attach$/;

/** The run whose route for attaching this URL names, or null. */
export function attachPathRun(url: string | undefined): RunId | null {
  const id = pathForm.exec(pathOf(url))?.[1];
  return id !== undefined && parseId('run', id) !== null ? (id as RunId) : null;
}

function pathOf(url = ''): string {
  return url.split('?', 1)[0]!;
}

/** Whether the query of a URL holds anything but the offset to go on from. */
export function hasForeignQuery(url = ''): boolean {
  const query = url.slice(pathOf(url).length + 1);
  return query !== '' && !/^from=\d{0,16}$/.test(query);
}

const keyForm = /^[A-Za-z0-9+/]{21}[AQgw]==$/;
/** A token of RFC 9110, 5.6.2. */
const protocolForm = /^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/;

/**
 * The ticket that an upgrade presents, null without one; untrusted text. Throws Fault `request.malformed` or
 * `request.upgrade` for what is no handshake of this protocol, `auth.invalid` for what cannot be a ticket.
 */
export function presentedTicket(
  { headers, method, httpVersion }: Pick<IncomingMessage, 'headers' | 'method' | 'httpVersion'>,
  parseBearer: (header: string) => string | null,
): string | null {
  if (method !== 'GET') throw malformed('An upgrade is a GET request.');
  if (httpVersion !== '1.1') throw malformed('An upgrade is a request of HTTP/1.1.');
  if (headers.upgrade?.toLowerCase() !== 'websocket')
    throw otherProtocol('The only upgrade is to `websocket`.');
  if (headers['sec-websocket-version'] !== '13') throw otherProtocol('Sec-WebSocket-Version is 13.');
  if (!keyForm.test(headers['sec-websocket-key'] ?? ''))
    throw malformed('Sec-WebSocket-Key is one key: 16 bytes as base64.');
  const offered = protocolsOf(headers['sec-websocket-protocol']);
  if (!offered.includes(attachProtocol))
    throw malformed(`Sec-WebSocket-Protocol offers \`${attachProtocol}\`.`);
  const tickets = offered
    .filter((protocol) => protocol.startsWith(ticketProtocolPrefix))
    .map((protocol) => protocol.slice(ticketProtocolPrefix.length));
  if (headers.authorization !== undefined) {
    const bearer = parseBearer(headers.authorization);
    if (bearer === null) throw new Fault('auth.invalid', { detail: 'Send `Authorization: Bearer TICKET`.' });
    tickets.push(bearer);
  }
  if (tickets.length > 1) throw malformed('A ticket is presented once.');
  return tickets[0] ?? null;
}

/** The protocols that a header offers, each once. */
function protocolsOf(header = ''): string[] {
  if (header === '') return [];
  const offered = header.split(',').map((part) => part.trim());
  const isFine =
    offered.length <= attachServerLimits.offeredProtocolsMax &&
    new Set(offered).size === offered.length &&
    offered.every((protocol) => protocolForm.test(protocol));
  if (!isFine) throw malformed('Sec-WebSocket-Protocol is a list of different tokens.');
  return offered;
}

function malformed(detail: string): Fault {
  return new Fault('request.malformed', { detail });
}

function otherProtocol(detail: string): Fault {
  return new Fault('request.upgrade', { detail });
}
