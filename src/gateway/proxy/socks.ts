import { formatAddress } from '../../model/ip-address.ts';

/** SOCKS 5 as RFC 1928 has it: what a program says before its bytes are those of the connection it asked for. */

export const socksVersion = 5;
export const socksMethods = { none: 0x00, noneAcceptable: 0xff } as const;
/** §6, those that are sent. */
export const socksReplies = {
  succeeded: 0,
  failure: 1,
  notAllowed: 2,
  commandNotSupported: 7,
  addressNotSupported: 8,
} as const;
export type SocksReply = (typeof socksReplies)[keyof typeof socksReplies];

/** A version, a number of methods and 255 of them; a request for a name of 255 bytes. No message is longer. */
export const greetingBytesMax = 2 + 255;
export const requestBytesMax = 4 + 1 + 255 + 2;

/** `bytes` is how long the message is; 0 where it is none. */
export type Greeting =
  /** Whether the program would go on without authentication. */
  { readonly is: 'greeting'; readonly bytes: number; readonly takesNone: boolean } | Invalid;
type Invalid = { readonly is: 'invalid'; readonly bytes: 0 };

export type Request =
  /** The host is as the program wrote it, a name or an address; the port is not 0. */
  | { readonly is: 'connect'; readonly bytes: number; readonly host: string; readonly port: number }
  | { readonly is: 'refused'; readonly bytes: 0; readonly reply: SocksReply };

/** What the bytes begin with; null where more are needed, which is never so from `greetingBytesMax` bytes on. */
export function parseGreeting(seen: Buffer): Greeting | null {
  if (seen.length > 0 && seen[0] !== socksVersion) return { is: 'invalid', bytes: 0 };
  if (seen.length < 2) return null;
  const bytes = 2 + seen[1]!;
  if (bytes === 2) return { is: 'invalid', bytes: 0 };
  if (seen.length < bytes) return null;
  return { is: 'greeting', bytes, takesNone: seen.subarray(2, bytes).includes(socksMethods.none) };
}

/** What the bytes after the greeting begin with; null where more are needed, never from `requestBytesMax` bytes on. */
export function parseRequest(seen: Buffer): Request | null {
  const [version, command, reserved, type, length] = seen;
  if (version !== undefined && version !== socksVersion) return refused(socksReplies.failure);
  if (command !== undefined && command !== connectCommand) return refused(socksReplies.commandNotSupported);
  if (reserved !== undefined && reserved !== 0) return refused(socksReplies.failure);
  if (type === undefined) return null;
  if (type !== types.ipv4 && type !== types.ipv6 && type !== types.name)
    return refused(socksReplies.addressNotSupported);
  if (type !== types.name) return connectTo(seen, 4, type === types.ipv4 ? 4 : 16, addressText);
  if (length === undefined) return null;
  return connectTo(seen, 5, length, nameText);
}

const connectCommand = 1;
const types = { ipv4: 1, name: 3, ipv6: 4 } as const;

function refused(reply: SocksReply): Request {
  return { is: 'refused', bytes: 0, reply };
}

function connectTo(
  seen: Buffer,
  at: number,
  length: number,
  read: (host: Buffer) => string | null,
): Request | null {
  const bytes = at + length + 2;
  if (seen.length < bytes) return null;
  const host = read(seen.subarray(at, at + length));
  const port = seen.readUInt16BE(at + length);
  return host === null || port === 0 ? refused(socksReplies.failure) : { is: 'connect', bytes, host, port };
}

function addressText(bytes: Buffer): string {
  return formatAddress({ family: bytes.length === 4 ? 4 : 6, bytes });
}

/** Visible ASCII, as in HTTP; null for everything else, the empty name included. */
function nameText(bytes: Buffer): string | null {
  const text = bytes.toString('latin1');
  return /^[\x21-\x7e]+$/.test(text) ? text : null;
}

/** The answer to a request; what was bound is not said. */
export function socksReply(reply: SocksReply): Buffer {
  return Buffer.from([socksVersion, reply, 0, types.ipv4, 0, 0, 0, 0, 0, 0]);
}
