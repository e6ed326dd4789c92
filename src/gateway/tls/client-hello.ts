import assert from 'node:assert/strict';

/** Bounds of what is read of a connection before its ClientHello is whole. */
export const helloLimits = {
  /** All bytes that arrive up to the verdict, record headers and what follows the hello included. */
  bytesMax: 64 * 1024,
  /** A record's fragment (RFC 8446 §5.1). */
  fragmentBytesMax: 2 ** 14,
  serverNameBytesMax: 255,
} as const;

/** What a ClientHello says of itself. All of it is the client's word. GREASE values (RFC 8701) are left out. */
export type ClientHello = {
  /**
   * The host_name of `server_name` as it was sent: 1 to 255 letters, digits, hyphens and dots in any case, not
   * canonical and perhaps no host name at all (`a..b`, `1.2.3.4`); null where the extension is absent.
   */
  readonly serverName: string | null;
  /** Protocol ids in the order of the client, a character a byte; empty where the extension is absent. */
  readonly alpn: readonly string[];
  /**
   * Whether an encrypted ClientHello is offered. Nobody outside can tell a real one, whose inner hello may name
   * another server, from the random one that browsers send as GREASE; the caller decides what to make of it.
   */
  readonly ech: 'none' | 'grease-or-outer';
  /** What `supported_versions` lists, in the order of the client, such as 0x0304; else the legacy version alone. */
  readonly versions: readonly number[];
};

/** `why` is fixed text: it holds nothing of what was sent. */
export type HelloState =
  | { readonly state: 'more' }
  | { readonly state: 'hello'; readonly hello: ClientHello }
  | { readonly state: 'invalid'; readonly why: string };

export const tlsAlerts = {
  accessDenied: 49,
  decodeError: 50,
  internalError: 80,
  unrecognizedName: 112,
} as const;

/** A whole record with a fatal alert (RFC 8446 §6), to be sent before the connection is closed. */
export function fatalAlert(description: number): Buffer {
  assert(Number.isInteger(description) && description >= 0 && description <= 0xff, 'an alert is one byte');
  return Buffer.of(recordTypes.alert, 0x03, 0x03, 0, 2, alertLevelFatal, description);
}

const recordTypes = { alert: 21, handshake: 22 } as const;
const alertLevelFatal = 2;
const recordHeaderBytes = 5;
const handshakeHeaderBytes = 4;
const clientHelloType = 1;
const extensionTypes = { serverName: 0, alpn: 16, supportedVersions: 43, encryptedHello: 0xfe0d } as const;
/** `encrypted_server_name` and the ECH drafts 8 to 12: as opaque as ECH, and no longer judged in detail. */
const earlierEncryptedHellos: ReadonlySet<number> = new Set([0xffce, 0xfe08, 0xfe09, 0xfe0a, 0xfe0b, 0xfe0c]);

/**
 * Reads the first ClientHello of a connection (RFC 8446, 6066, 7301) from chunks of any size and any number of
 * records, and keeps the bytes. Strict where two readers could differ, because the upstream reads the same
 * bytes: lengths agree exactly, extensions are unique, the hello ends with its record. A later ClientHello
 * (after a HelloRetryRequest) is not read.
 *
 * Holds at most twice `helloLimits.bytesMax`, in memory of its own; push never throws over what was sent.
 */
export class ClientHelloReader {
  readonly #raw = new BoundedBytes();
  readonly #handshake = new BoundedBytes();
  /** Where in `#raw` the next unread byte is, and how much of its record is still unread. */
  #at = 0;
  #fragmentLeft = 0;
  #verdict: HelloState = { state: 'more' };

  /**
   * Every byte that was pushed, to be forwarded untouched once the state is `hello`. What follows the hello (early
   * data) is included and not judged. The buffer is the reader's own.
   */
  get bytes(): Buffer {
    return this.#raw.view();
  }

  /**
   * `more` until the hello is whole or cannot become one. `invalid` is final: later bytes are dropped. After
   * `hello` the bytes are the caller's to forward: another push is a bug.
   */
  push(chunk: Buffer): HelloState {
    assert(this.#verdict.state !== 'hello', 'nothing is pushed after the hello');
    if (this.#verdict.state === 'more') this.#verdict = this.#judge(chunk);
    return this.#verdict;
  }

  #judge(chunk: Buffer): HelloState {
    if (this.#raw.length + chunk.length > helloLimits.bytesMax) {
      return { state: 'invalid', why: 'more bytes than a ClientHello may take' };
    }
    this.#raw.append(chunk);
    try {
      const hello = this.#advance();
      return hello === null ? this.#verdict : { state: 'hello', hello };
    } catch (error) {
      if (error instanceof Malformed) return { state: 'invalid', why: error.message };
      throw error;
    }
  }

  /** Null while there are not enough bytes. */
  #advance(): ClientHello | null {
    for (;;) {
      if (this.#fragmentLeft === 0 && !this.#openRecord()) return null;
      const count = Math.min(this.#fragmentLeft, this.#raw.length - this.#at);
      if (count === 0) return null;
      this.#handshake.append(this.#raw.view().subarray(this.#at, this.#at + count));
      this.#at += count;
      this.#fragmentLeft -= count;
      const whole = handshakeLength(this.#handshake.view());
      if (whole === null) continue;
      demand(
        this.#handshake.length + this.#fragmentLeft <= whole,
        'the record goes on after the ClientHello',
      );
      if (this.#handshake.length === whole) return parseClientHello(this.#handshake.view());
    }
  }

  /** Judges each byte of the record header as it comes; true once the fragment begins. */
  #openRecord(): boolean {
    const header = this.#raw.view().subarray(this.#at, this.#at + recordHeaderBytes);
    const [type, major, minor] = header;
    demand(type === undefined || type === recordTypes.handshake, 'not a TLS handshake record');
    demand(major === undefined || major === 3, 'not a TLS record version');
    demand(minor === undefined || (minor >= 1 && minor <= 3), 'not a TLS record version');
    if (header.length < recordHeaderBytes) return false;
    const length = header.readUInt16BE(3);
    demand(length > 0 && length <= helloLimits.fragmentBytesMax, 'a TLS record that is empty or too long');
    this.#at += recordHeaderBytes;
    this.#fragmentLeft = length;
    return true;
  }
}

/** Bytes that grow by doubling up to `helloLimits.bytesMax`; whoever appends keeps to the bound. */
class BoundedBytes {
  #store = Buffer.alloc(0);
  #length = 0;

  get length(): number {
    return this.#length;
  }

  view(): Buffer {
    return this.#store.subarray(0, this.#length);
  }

  append(bytes: Buffer): void {
    const length = this.#length + bytes.length;
    assert(length <= helloLimits.bytesMax, 'the bound is checked before bytes are appended');
    if (length > this.#store.length) {
      const size = Math.max(length, Math.min(2 * this.#store.length, helloLimits.bytesMax));
      const grown = Buffer.alloc(size);
      this.#store.copy(grown, 0, 0, this.#length);
      this.#store = grown;
    }
    bytes.copy(this.#store, this.#length);
    this.#length = length;
  }
}

/** Never leaves this file. */
class Malformed extends Error {}

function demand(holds: boolean, otherwise: string): asserts holds {
  if (!holds) throw new Malformed(otherwise);
}

/** Takes values off bytes; running out of them is Malformed. */
class Cursor {
  readonly #bytes: Buffer;
  #at = 0;

  constructor(bytes: Buffer) {
    this.#bytes = bytes;
  }

  get left(): number {
    return this.#bytes.length - this.#at;
  }

  take(count: number): Buffer {
    demand(count <= this.left, 'a length that does not agree with the bytes');
    this.#at += count;
    return this.#bytes.subarray(this.#at - count, this.#at);
  }

  number(bytes: 1 | 2): number {
    return this.take(bytes).readUIntBE(0, bytes);
  }

  /** A vector whose length takes this many bytes (RFC 8446 §3.4), of at least `min` bytes. */
  vector(lengthBytes: 1 | 2, min: number): Buffer {
    const length = this.number(lengthBytes);
    demand(length >= min, 'a vector that is too short');
    return this.take(length);
  }

  end(): void {
    demand(this.left === 0, 'a length that does not agree with the bytes');
  }
}

/** The length that the handshake header announces, with the header; null while that has not come. */
function handshakeLength(bytes: Buffer): number | null {
  demand(bytes[0] === clientHelloType, 'not a ClientHello');
  if (bytes.length < handshakeHeaderBytes) return null;
  const length = handshakeHeaderBytes + bytes.readUIntBE(1, 3);
  demand(length <= helloLimits.bytesMax, 'a ClientHello that is too long');
  return length;
}

/** Takes a whole handshake message of which type and length are known to be right. */
function parseClientHello(message: Buffer): ClientHello {
  const cursor = new Cursor(message.subarray(handshakeHeaderBytes));
  const legacyVersion = cursor.number(2);
  demand(legacyVersion >= 0x0301 && legacyVersion <= 0x0303, 'not a legacy version of TLS');
  cursor.take(32);
  demand(cursor.vector(1, 0).length <= 32, 'a session id that is too long');
  demand(cursor.vector(2, 2).length % 2 === 0, 'half a cipher suite');
  cursor.vector(1, 1);
  const extensions = readExtensions(cursor);
  return {
    serverName: readServerName(extensions.get(extensionTypes.serverName)),
    alpn: readAlpn(extensions.get(extensionTypes.alpn)),
    ech: readEncryptedHello(extensions),
    versions: readVersions(extensions.get(extensionTypes.supportedVersions)) ?? [legacyVersion],
  };
}

/** By type. A hello may end without any (TLS 1.2); what it has fills it to the end. */
function readExtensions(cursor: Cursor): ReadonlyMap<number, Buffer> {
  const extensions = new Map<number, Buffer>();
  if (cursor.left === 0) return extensions;
  const list = new Cursor(cursor.vector(2, 0));
  cursor.end();
  while (list.left > 0) {
    const type = list.number(2);
    demand(!extensions.has(type), 'an extension that comes twice');
    extensions.set(type, list.vector(2, 0));
  }
  return extensions;
}

/** RFC 6066 §3. */
function readServerName(data: Buffer | undefined): string | null {
  if (data === undefined) return null;
  const cursor = new Cursor(data);
  const list = new Cursor(cursor.vector(2, 1));
  cursor.end();
  demand(list.number(1) === 0, 'a server name that is not a host name');
  const name = list.vector(2, 1).toString('latin1');
  demand(list.left === 0, 'more than one server name');
  demand(name.length <= helloLimits.serverNameBytesMax, 'a server name that is too long');
  demand(
    /^[A-Za-z0-9.-]+$/.test(name),
    'a server name with other bytes than letters, digits, hyphens and dots',
  );
  return name;
}

/** RFC 7301 §3.1. */
function readAlpn(data: Buffer | undefined): readonly string[] {
  if (data === undefined) return [];
  const cursor = new Cursor(data);
  const list = new Cursor(cursor.vector(2, 2));
  cursor.end();
  const protocols: string[] = [];
  while (list.left > 0) {
    const id = list.vector(1, 1);
    if (id.length !== 2 || !isGrease(id.readUInt16BE(0))) protocols.push(id.toString('latin1'));
  }
  return protocols;
}

/** RFC 8446 §4.2.1. */
function readVersions(data: Buffer | undefined): readonly number[] | null {
  if (data === undefined) return null;
  const cursor = new Cursor(data);
  const list = new Cursor(cursor.vector(1, 2));
  cursor.end();
  const versions: number[] = [];
  while (list.left > 0) {
    const version = list.number(2);
    if (!isGrease(version)) versions.push(version);
  }
  return versions;
}

/** ECHClientHello, of which only the outer kind is ever sent in the open. */
function readEncryptedHello(extensions: ReadonlyMap<number, Buffer>): ClientHello['ech'] {
  const data = extensions.get(extensionTypes.encryptedHello);
  if (data !== undefined) {
    const cursor = new Cursor(data);
    demand(cursor.number(1) === 0, 'an inner ClientHello that is not encrypted');
    cursor.take(2 + 2 + 1); // KDF, AEAD, config id
    cursor.vector(2, 0);
    cursor.vector(2, 1);
    cursor.end();
    return 'grease-or-outer';
  }
  return [...earlierEncryptedHellos].some((type) => extensions.has(type)) ? 'grease-or-outer' : 'none';
}

/** 0x0A0A, 0x1A1A, … 0xFAFA. */
function isGrease(value: number): boolean {
  return (value & 0x0f0f) === 0x0a0a && value >> 8 === (value & 0xff);
}
