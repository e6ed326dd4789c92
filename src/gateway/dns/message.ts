import assert from 'node:assert/strict';
import { isIPv4, isIPv6 } from 'node:net';

/**
 * DNS messages (RFC 1035, 6891) as the gateway reads and writes them: one question in, one answer out. Nothing
 * here follows a compression pointer, so no message can make it loop, and no byte of a query is copied into an
 * answer but its id, its opcode, the RD bit and the question itself.
 */

/** Bounds, in bytes unless the name says otherwise. */
export const dnsLimits = {
  /** A query, on either transport; padded ones (RFC 8467) are 128 or 256. */
  queryBytesMax: 4_096,
  /** What an answer over UDP takes at most, whatever EDNS offers: it fits an IPv6 packet of 1,280. */
  udpAnswerBytesMax: 1_232,
  /** What every client takes over UDP. */
  udpAnswerBytesMin: 512,
  nameBytesMax: 255,
  labelBytesMax: 63,
  /**
   * How long "there is none", PTR and HINFO may be cached. As short as can be, because a change of the policy
   * is to be seen within a second.
   */
  briefTtlSeconds: 1,
  ttlSecondsMax: 2 ** 31 - 1,
  answerAddressesMax: 64,
} as const;

export const dnsTypes = { a: 1, ptr: 12, hinfo: 13, aaaa: 28, opt: 41, any: 255 } as const;
export const dnsClassInternet = 1;

const headerBytes = 12;
const optBytes = 11;
/** Where the question's name begins, as a compression pointer; owner names of answers are spelled so. */
const questionPointer = Buffer.from([0xc0, headerBytes]);
const rootName = Buffer.from([0]);
const soaType = 6;

const rcodes = { none: 0, format: 1, absent: 3, notImplemented: 4, refused: 5, badVersion: 16 } as const;
type Rcode = (typeof rcodes)[keyof typeof rcodes];

/** One well-formed question. All of it is untrusted; `name` is not yet a host name. */
export type Query = {
  readonly id: number;
  /**
   * The labels joined by dots, in the case that was asked (0x20), without a dot at the end; `.` for the root.
   * Labels hold bytes 0x21–0x7E but no dot and no backslash, so the spelling is unambiguous; 253 characters.
   */
  readonly name: string;
  readonly type: number;
  readonly class: number;
  readonly recursionDesired: boolean;
  /** What the client's OPT record offers, at least 512; null where it sent none. */
  readonly edns: { readonly udpSize: number } | null;
  /** Name, type and class as they arrived. */
  readonly question: Buffer;
};

/** What is to be said about a name. `empty`: it exists, without such a record. `absent`: neither it nor any name below it exists (RFC 8020). */
export type AnswerContent =
  | { readonly kind: 'address'; readonly addresses: readonly string[]; readonly ttl: number }
  | { readonly kind: 'pointer'; readonly name: string }
  | { readonly kind: 'empty' }
  | { readonly kind: 'absent' }
  | { readonly kind: 'refused' };

/** Bytes on a TCP connection that are not DNS messages of a bounded size; the connection is to be closed. */
export class DnsFramingError extends Error {
  constructor(message: string) {
    super(message);
    this.name = 'DnsFramingError';
  }
}

/**
 * The query in a message, an answer that is ready to be sent instead, or null where nothing is to be said: less
 * than a header, or a response. Never throws, whatever the bytes.
 *
 * Ready answers: NOTIMP for every opcode but QUERY; BADVERS for an EDNS version over 0; FORMERR for anything but
 * one question and at most one OPT record that fill the message exactly, for a name that is compressed, too long
 * or holds bytes that a dotted spelling would have to escape, and for messages over `queryBytesMax`.
 */
export function parseQuery(message: Buffer): Query | { readonly refuse: Buffer } | null {
  if (message.length < headerBytes || (message[2]! & 0x80) !== 0) return null;
  if ((message[2]! & 0x78) !== 0) return { refuse: bareAnswer(message, rcodes.notImplemented) };
  const read = readQuery(message);
  if (read === null) return { refuse: bareAnswer(message, rcodes.format) };
  if (read.ednsVersion !== 0) return { refuse: assemble(read.query, { rcode: rcodes.badVersion }) };
  return read.query;
}

/**
 * The answer to a query. Addresses are those of the type that was asked, A or AAAA, and `pointer` answers PTR;
 * every other type of a name that exists is empty, ANY is HINFO (RFC 8482), every class but IN is refused.
 * "There is none" carries a SOA record of the root, so that it is cached for `briefTtlSeconds` (RFC 2308).
 *
 * `udpLimit` is what the socket sends at most, at least 512; null is TCP. Over UDP an answer that does not fit
 * that, what the client takes and `udpAnswerBytesMax` is sent truncated: the question, no records, TC set.
 * Addresses, names and TTLs are the gateway's own: those that are none are a bug.
 */
export function answer(
  query: Query,
  content: AnswerContent,
  options: { readonly udpLimit: number | null },
): Buffer {
  const reply = replyTo(query, content);
  const whole = assemble(query, reply);
  if (options.udpLimit === null || whole.length <= udpRoom(query, options.udpLimit)) return whole;
  return assemble(query, { rcode: reply.rcode, authoritative: true, truncated: true });
}

/**
 * Splits the bytes of one TCP connection into messages (RFC 1035 §4.2.2). Holds one unfinished message at most,
 * in memory of its own. A message of 0 or over `queryBytesMax` bytes throws DnsFramingError, with it go the
 * messages of the same chunk, and every later push throws too.
 */
export class TcpMessages {
  #lengthByte: number | null = null;
  #message: Buffer | null = null;
  #filled = 0;
  #failure: DnsFramingError | null = null;

  /** The messages that this chunk completes, in order. */
  push(chunk: Buffer): Buffer[] {
    if (this.#failure !== null) throw this.#failure;
    const messages: Buffer[] = [];
    let at = 0;
    while (at < chunk.length) {
      if (this.#message === null) {
        this.#readLength(chunk[at]!);
        at += 1;
        continue;
      }
      const taken = chunk.copy(this.#message, this.#filled, at);
      at += taken;
      this.#filled += taken;
      if (this.#filled < this.#message.length) break;
      messages.push(this.#message);
      this.#message = null;
    }
    return messages;
  }

  #readLength(byte: number): void {
    if (this.#lengthByte === null) {
      this.#lengthByte = byte;
      return;
    }
    const length = this.#lengthByte * 256 + byte;
    if (length === 0 || length > dnsLimits.queryBytesMax) {
      this.#failure = new DnsFramingError(`a DNS message of ${length} bytes`);
      throw this.#failure;
    }
    this.#lengthByte = null;
    this.#message = Buffer.alloc(length);
    this.#filled = 0;
  }
}

function readQuery(message: Buffer): { query: Query; ednsVersion: number } | null {
  if (message.length > dnsLimits.queryBytesMax) return null;
  const [questions, answers, authorities, additionals] = [4, 6, 8, 10].map((at) => message.readUInt16BE(at));
  if (questions !== 1 || answers !== 0 || authorities !== 0 || additionals! > 1) return null;
  const name = readName(message);
  if (name === null || name.end + 4 > message.length) return null;
  const end = name.end + 4;
  const opt = additionals === 1 ? readOpt(message.subarray(end)) : null;
  if (opt === null && (additionals === 1 || end !== message.length)) return null;
  const query = {
    id: message.readUInt16BE(0),
    name: name.dotted,
    type: message.readUInt16BE(name.end),
    class: message.readUInt16BE(name.end + 2),
    recursionDesired: (message[2]! & 0x01) !== 0,
    edns: opt === null ? null : { udpSize: opt.udpSize },
    question: Buffer.from(message.subarray(headerBytes, end)),
  };
  return { query, ednsVersion: opt?.version ?? 0 };
}

/** The question's name. A length byte over 63 is a pointer or a label type that nobody uses: no name. */
function readName(message: Buffer): { dotted: string; end: number } | null {
  const labels: string[] = [];
  let at = headerBytes;
  for (;;) {
    const length = message[at];
    if (length === undefined || length > dnsLimits.labelBytesMax) return null;
    const end = at + 1 + length;
    if (end > message.length || end - headerBytes > dnsLimits.nameBytesMax) return null;
    if (length === 0) return { dotted: labels.length === 0 ? '.' : labels.join('.'), end };
    const label = message.subarray(at + 1, end);
    if (!label.every(isPlain)) return null;
    labels.push(label.toString('latin1'));
    at = end;
  }
}

/** Printable, and neither a dot nor a backslash. */
function isPlain(byte: number): boolean {
  return byte > 0x20 && byte < 0x7f && byte !== 0x2e && byte !== 0x5c;
}

/** The OPT record (RFC 6891 §6.1.2) that fills `bytes` exactly. The options of a later version are not judged. */
function readOpt(bytes: Buffer): { udpSize: number; version: number } | null {
  if (bytes.length < optBytes || bytes[0] !== 0 || bytes.readUInt16BE(1) !== dnsTypes.opt) return null;
  if (bytes.readUInt16BE(9) !== bytes.length - optBytes) return null;
  const version = bytes[6]!;
  if (version === 0 && !hasWholeOptions(bytes.subarray(optBytes))) return null;
  return { udpSize: Math.max(bytes.readUInt16BE(3), dnsLimits.udpAnswerBytesMin), version };
}

function hasWholeOptions(bytes: Buffer): boolean {
  let at = 0;
  while (at + 4 <= bytes.length) at += 4 + bytes.readUInt16BE(at + 2);
  return at === bytes.length;
}

type Reply = {
  readonly rcode: Rcode;
  readonly authoritative?: boolean;
  readonly truncated?: boolean;
  readonly answers?: readonly Buffer[];
  readonly authorities?: readonly Buffer[];
};

function replyTo(query: Query, content: AnswerContent): Reply {
  if (query.class !== dnsClassInternet || content.kind === 'refused') return { rcode: rcodes.refused };
  if (content.kind === 'absent') {
    return { rcode: rcodes.absent, authoritative: true, authorities: [rootAuthority] };
  }
  const answers = query.type === dnsTypes.any ? [anyRecord] : recordsFor(query.type, content);
  const authorities = answers.length === 0 ? [rootAuthority] : [];
  return { rcode: rcodes.none, authoritative: true, answers, authorities };
}

function recordsFor(type: number, content: AnswerContent): readonly Buffer[] {
  if (content.kind === 'address') return addressRecords(type, content.addresses, content.ttl);
  if (content.kind !== 'pointer' || type !== dnsTypes.ptr) return [];
  return [record(questionPointer, dnsTypes.ptr, dnsLimits.briefTtlSeconds, nameBytes(content.name))];
}

function addressRecords(type: number, addresses: readonly string[], ttl: number): readonly Buffer[] {
  assert(addresses.length <= dnsLimits.answerAddressesMax, 'an answer has no more addresses than its bound');
  assert(Number.isInteger(ttl) && ttl >= 0 && ttl <= dnsLimits.ttlSecondsMax, 'a TTL is 31 bits');
  const ofType = addresses.map(addressBytes).filter((bytes) => type === addressType(bytes));
  return ofType.map((bytes) => record(questionPointer, type, ttl, bytes));
}

function addressType(bytes: Buffer): number {
  return bytes.length === 4 ? dnsTypes.a : dnsTypes.aaaa;
}

function addressBytes(address: string): Buffer {
  if (isIPv4(address)) return Buffer.from(address.split('.').map(Number));
  assert(isIPv6(address) && !address.includes('%'), 'an address is IPv4, or IPv6 without a zone');
  const [head, tail] = address.split('::').map(groupBytes) as [number[], number[] | undefined];
  const middle = new Array<number>(16 - head.length - (tail?.length ?? 0)).fill(0);
  return Buffer.from([...head, ...middle, ...(tail ?? [])]);
}

function groupBytes(part: string): number[] {
  if (part === '') return [];
  return part.split(':').flatMap((group) => {
    if (group.includes('.')) return group.split('.').map(Number);
    const value = Number.parseInt(group, 16);
    return [value >> 8, value & 0xff];
  });
}

function nameBytes(name: string): Buffer {
  const labels = name === '.' ? [] : name.split('.').map((label) => Buffer.from(label, 'latin1'));
  for (const label of labels) {
    assert(label.length > 0 && label.length <= dnsLimits.labelBytesMax, 'a label is 1 to 63 bytes');
  }
  const bytes = Buffer.concat([...labels.flatMap((label) => [Buffer.of(label.length), label]), rootName]);
  assert(bytes.length <= dnsLimits.nameBytesMax, 'a name is 255 bytes at most');
  return bytes;
}

function record(owner: Buffer, type: number, ttl: number, data: Buffer): Buffer {
  const fixed = Buffer.alloc(10);
  fixed.writeUInt16BE(type, 0);
  fixed.writeUInt16BE(dnsClassInternet, 2);
  fixed.writeUInt32BE(ttl, 4);
  fixed.writeUInt16BE(data.length, 8);
  return Buffer.concat([owner, fixed, data]);
}

/** The record that answers ANY: HINFO with the text that RFC 8482 §4.2 asks for and an empty second one. */
const anyRecord = record(
  questionPointer,
  dnsTypes.hinfo,
  dnsLimits.briefTtlSeconds,
  Buffer.from('\u0007RFC8482\u0000', 'latin1'),
);

/** The SOA record of negative answers: the root's, with no server and no mailbox. */
const rootAuthority = record(rootName, soaType, dnsLimits.briefTtlSeconds, soaData());

function soaData(): Buffer {
  const { briefTtlSeconds: brief } = dnsLimits;
  const numbers = Buffer.alloc(20);
  for (const [index, value] of [1, brief, brief, brief, brief].entries()) {
    numbers.writeUInt32BE(value, 4 * index); // serial, refresh, retry, expire, minimum
  }
  return Buffer.concat([rootName, rootName, numbers]);
}

function assemble(query: Query, reply: Reply): Buffer {
  const { answers = [], authorities = [] } = reply;
  const header = answerHeader(query.id, 0, query.recursionDesired, reply);
  const opt = query.edns === null ? [] : [optRecord(reply.rcode)];
  for (const [index, count] of [1, answers.length, authorities.length, opt.length].entries()) {
    header.writeUInt16BE(count, 4 + 2 * index);
  }
  return Buffer.concat([header, query.question, ...answers, ...authorities, ...opt]);
}

/** The header alone, for a message whose question cannot be told or is not to be looked at. */
function bareAnswer(message: Buffer, rcode: Rcode): Buffer {
  const flags = message[2]!;
  return answerHeader(message.readUInt16BE(0), (flags >> 3) & 0x0f, (flags & 0x01) !== 0, { rcode });
}

/** QR and RA set, counts zero. */
function answerHeader(id: number, opcode: number, recursionDesired: boolean, reply: Reply): Buffer {
  const header = Buffer.alloc(headerBytes);
  header.writeUInt16BE(id, 0);
  header[2] =
    0x80 |
    (opcode << 3) |
    (reply.authoritative === true ? 0x04 : 0) |
    (reply.truncated === true ? 0x02 : 0) |
    (recursionDesired ? 0x01 : 0);
  header[3] = 0x80 | (reply.rcode & 0x0f);
  return header;
}

/** Version 0, DO clear (nothing here is signed), no options, and the upper bits of the RCODE. */
function optRecord(rcode: Rcode): Buffer {
  const opt = Buffer.alloc(optBytes);
  opt.writeUInt16BE(dnsTypes.opt, 1);
  opt.writeUInt16BE(dnsLimits.udpAnswerBytesMax, 3);
  opt[5] = rcode >> 4;
  return opt;
}

function udpRoom(query: Query, udpLimit: number): number {
  assert(udpLimit >= dnsLimits.udpAnswerBytesMin, 'a UDP socket sends 512 bytes at least');
  return Math.min(udpLimit, dnsLimits.udpAnswerBytesMax, query.edns?.udpSize ?? dnsLimits.udpAnswerBytesMin);
}

assert(
  headerBytes + dnsLimits.nameBytesMax + 4 + optBytes + rootAuthority.length <= dnsLimits.udpAnswerBytesMin,
  'a truncated answer and every negative one fit every client',
);
assert(
  headerBytes + dnsLimits.nameBytesMax + 4 + optBytes + dnsLimits.answerAddressesMax * 28 < 2 ** 16,
  'every answer fits a TCP message',
);
