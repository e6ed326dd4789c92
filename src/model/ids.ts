import { randomFillSync } from 'node:crypto';

/** What an id names; the prefix is part of the id and is checked whenever one is parsed. */
const prefixes = {
  session: 'ses',
  run: 'run',
  upload: 'upl',
  token: 'tok',
  event: 'evt',
  request: 'req',
  /** One sign-in of a person or agent: a browser session, or a family of refresh tokens. */
  signIn: 'sgn',
  invitation: 'inv',
  /** A secret, key or certificate of an agent or service, or a passkey of a user. */
  credential: 'crd',
  elevation: 'elv',
  /** A key that signs access tokens. */
  key: 'key',
  /** A pseudo-terminal of a run: its own, or that of a command that was started in its sandbox. */
  terminal: 'trm',
  /** One client of a terminal, from its upgrade to its end. */
  connection: 'con',
} as const;

export type IdKind = keyof typeof prefixes;
export type Id<K extends IdKind> = `${(typeof prefixes)[K]}_${string}`;
export type SessionId = Id<'session'>;
export type RunId = Id<'run'>;
export type UploadId = Id<'upload'>;
export type TokenId = Id<'token'>;
export type SignInId = Id<'signIn'>;
export type InvitationId = Id<'invitation'>;
export type CredentialId = Id<'credential'>;
export type ElevationId = Id<'elevation'>;
export type KeyId = Id<'key'>;
export type TerminalId = Id<'terminal'>;
export type ConnectionId = Id<'connection'>;

const alphabet = '0123456789abcdefghjkmnpqrstvwxyz';
const bodyLength = 26;
const bodyPattern = /^[0-9a-hjkmnp-tv-z]{26}$/;

function encode(bytes: Uint8Array): string {
  let bits = 0;
  let value = 0;
  let text = '';
  for (const byte of bytes) {
    value = (value << 8) | byte;
    bits += 8;
    while (bits >= 5) {
      bits -= 5;
      text += alphabet[(value >>> bits) & 31];
    }
    value &= (1 << bits) - 1;
  }
  return bits > 0 ? text + alphabet[(value << (5 - bits)) & 31] : text;
}

/** Random bytes are made many at a time: asking for ten costs as much as asking for thousands. */
const pool = Buffer.alloc(8192);
let used = pool.length;

function takeRandom(target: Buffer, from: number): void {
  const count = target.length - from;
  if (used + count > pool.length) {
    randomFillSync(pool);
    used = 0;
  }
  pool.copy(target, from, used, used + count);
  used += count;
}

/**
 * A new id: 48 bits of `nowMs`, so that ids sort by age, then 80 random bits. 30 characters of `[a-z0-9_]`,
 * safe as a file name and as a Kubernetes label.
 */
export function newId<K extends IdKind>(kind: K, nowMs: number): Id<K> {
  const bytes = Buffer.allocUnsafe(16);
  bytes.writeUIntBE(Math.floor(nowMs), 0, 6);
  takeRandom(bytes, 6);
  return `${prefixes[kind]}_${encode(bytes)}` as Id<K>;
}

/** The id, or null when the text is not a well-formed id of this kind. Says nothing about existence. */
export function parseId<K extends IdKind>(kind: K, text: string): Id<K> | null {
  const prefix = prefixes[kind];
  if (text.length !== prefix.length + 1 + bodyLength || !text.startsWith(`${prefix}_`)) return null;
  return bodyPattern.test(text.slice(prefix.length + 1)) ? (text as Id<K>) : null;
}
