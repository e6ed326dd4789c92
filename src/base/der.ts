import assert from 'node:assert/strict';

/** Writing ASN.1's distinguished encoding (ITU-T X.690), as much of it as certificates of ours need. */

/** One value with its tag and length. */
export type Der = Buffer;

/** A tag's class, number and constructed bit in one byte, around the content. */
export function tagged(tag: number, ...content: readonly Uint8Array[]): Der {
  const body = Buffer.concat(content);
  return Buffer.concat([Buffer.from([tag, ...lengthOf(body.length)]), body]);
}

/** X.690 §8.1.3, the shortest form. */
function lengthOf(bytes: number): number[] {
  assert.ok(bytes < 0x1_00_00);
  if (bytes < 0x80) return [bytes];
  return bytes < 0x1_00 ? [0x81, bytes] : [0x82, bytes >> 8, bytes & 0xff];
}

export const sequence = (...items: readonly Der[]): Der => tagged(0x30, ...items);
export const set = (item: Der): Der => tagged(0x31, item);
export const octets = (bytes: Uint8Array): Der => tagged(0x04, bytes);
export const utf8 = (text: string): Der => tagged(0x0c, Buffer.from(text));
export const yes: Der = tagged(0x01, Buffer.of(0xff));

/** Bits, the last `unused` of which are padding. */
export const bits = (bytes: Uint8Array, unused = 0): Der => tagged(0x03, Buffer.of(unused), bytes);

/** A number by its bytes, which must already be the shortest that say it. */
export function integer(bytes: Uint8Array): Der {
  const [first, second] = bytes;
  assert.ok(first !== undefined && first < 0x80 && (first > 0 || second === undefined || second >= 0x80));
  return tagged(0x02, bytes);
}

/** From its dotted numbers. */
export function objectId(text: string): Der {
  const [root, branch, ...rest] = text.split('.').map(Number) as [number, number, ...number[]];
  return tagged(0x06, Buffer.from([root * 40 + branch, ...rest].flatMap(base128)));
}

function base128(value: number): number[] {
  const digits = [value & 0x7f];
  for (let left = value >> 7; left > 0; left >>= 7) digits.unshift((left & 0x7f) | 0x80);
  return digits;
}

/** A second of UTC as RFC 5280 §4.1.2.5 writes it: two digits of the year until 2049, four from then on. */
export function time(ms: number): Der {
  const date = new Date(ms);
  const digits = `${date.toISOString().slice(0, 19).replaceAll(/\D/g, '')}Z`;
  return date.getUTCFullYear() < 2050
    ? tagged(0x17, Buffer.from(digits.slice(2)))
    : tagged(0x18, Buffer.from(digits));
}

/** Every certificate in a text of PEM, whatever stands between them. */
export function certificatesIn(text: string): Der[] {
  const blocks = text.matchAll(/-----BEGIN CERTIFICATE-----([^-]*)-----END CERTIFICATE-----/g);
  return Array.from(blocks, ([, body]) => Buffer.from(body!, 'base64'));
}

/** As RFC 7468 writes it: base64 in lines of 64. */
export function pem(label: string, der: Der): string {
  const lines = der.toString('base64').match(/.{1,64}/g) ?? [];
  return `-----BEGIN ${label}-----\n${lines.join('\n')}\n-----END ${label}-----\n`;
}
