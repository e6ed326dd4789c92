/** An address by its bytes, in network order: 4 or 16 as the family says. */
export type IpAddress = { readonly family: 4 | 6; readonly bytes: Uint8Array };

/** A network: the bits of `address` beyond `prefix` are zero. */
export type Cidr = { readonly address: IpAddress; readonly prefix: number };

/** What an address is for. Only `public` ones may be dialled without a rule that names them. */
export const addressClasses = [
  'public',
  'loopback',
  'link-local', // the metadata services of clouds too
  'private',
  'cgnat',
  'multicast',
  'documentation',
  'benchmark',
  'translation', // IPv6 that carries an IPv4 address, and relays to and from it
  'reserved',
] as const;
export type AddressClass = (typeof addressClasses)[number];

/** The longest text of an address: eight groups of four, the last two as an IPv4 address. */
const textCharactersMax = 45;
const octet = /^(?:0|[1-9][0-9]{0,2})$/;
const group = /^[0-9a-f]{1,4}$/i;

/**
 * The address that a text says: an IPv4 dotted quad without leading zeros, or an IPv6 address in a form of RFC 4291
 * §2.2 (an IPv4 tail included). Null for every other spelling: octal, hexadecimal, short or whole-number IPv4,
 * brackets, zone ids, white space.
 */
export function parseAddress(text: string): IpAddress | null {
  if (text.length > textCharactersMax) return null;
  const bytes = text.includes(':') ? parseIpv6(text) : parseIpv4(text);
  return bytes && { family: bytes.length === 4 ? 4 : 6, bytes: Uint8Array.from(bytes) };
}

function parseIpv4(text: string): number[] | null {
  const parts = text.split('.');
  if (parts.length !== 4 || !parts.every((part) => octet.test(part))) return null;
  const bytes = parts.map(Number);
  return bytes.every((byte) => byte <= 255) ? bytes : null;
}

function parseIpv6(text: string): number[] | null {
  const halves = text.split('::');
  if (halves.length > 2) return null;
  const [head, tail] = [groupsOf(halves[0]!, halves.length === 1), groupsOf(halves[1] ?? '', true)];
  if (head === null || tail === null) return null;
  const missing = 16 - head.length - tail.length;
  if (halves.length === 1 ? missing !== 0 : missing < 2) return null;
  return [...head, ...Array<number>(missing).fill(0), ...tail];
}

/** The bytes of colon-separated groups; `last` says that an IPv4 address may end them. */
function groupsOf(text: string, last: boolean): number[] | null {
  if (text === '') return [];
  const parts = text.split(':');
  const bytes: number[] = [];
  for (const [index, part] of parts.entries()) {
    const quad = last && index === parts.length - 1 && part.includes('.') ? parseIpv4(part) : null;
    if (quad) bytes.push(...quad);
    else if (group.test(part)) bytes.push(Number.parseInt(part, 16) >> 8, Number.parseInt(part, 16) & 255);
    else return null;
  }
  return bytes;
}

/** The one spelling of an address: a dotted quad, or RFC 5952 with IPv4-mapped addresses as `::ffff:192.0.2.1`. */
export function formatAddress({ family, bytes }: IpAddress): string {
  if (family === 4) return bytes.join('.');
  if (isMapped(bytes)) return `::ffff:${bytes.subarray(12).join('.')}`;
  const groups = Array.from({ length: 8 }, (_, index) => (bytes[2 * index]! << 8) | bytes[2 * index + 1]!);
  const texts = groups.map((value) => value.toString(16));
  const { start, length } = longestZeros(groups);
  if (length < 2) return texts.join(':');
  return `${texts.slice(0, start).join(':')}::${texts.slice(start + length).join(':')}`;
}

/** The first of the longest runs of zero groups (RFC 5952 §4.2.3). */
function longestZeros(groups: readonly number[]): { start: number; length: number } {
  let longest = { start: 0, length: 0 };
  let start = 0;
  for (const [index, value] of groups.entries()) {
    if (value !== 0) start = index + 1;
    else if (index + 1 - start > longest.length) longest = { start, length: index + 1 - start };
  }
  return longest;
}

function isMapped(bytes: Uint8Array): boolean {
  return (
    bytes.length === 16 &&
    bytes.subarray(0, 10).every((byte) => byte === 0) &&
    bytes[10] === 255 &&
    bytes[11] === 255
  );
}

/** The IPv4 address that an IPv4-mapped one (`::ffff:0:0/96`) stands for, which is what is dialled; others as they are. */
export function unmapped(address: IpAddress): IpAddress {
  return isMapped(address.bytes) ? { family: 4, bytes: address.bytes.slice(12) } : address;
}

/**
 * The network that a text says, such as `10.0.0.0/8`. Null where the address is not one that `parseAddress` takes,
 * the prefix is out of range or has a leading zero, host bits are set, or the network is of IPv4-mapped addresses,
 * which are judged as IPv4.
 */
export function parseCidr(text: string): Cidr | null {
  const slash = text.indexOf('/');
  const address = parseAddress(text.slice(0, Math.max(slash, 0)));
  const digits = text.slice(slash + 1);
  if (address === null || !octet.test(digits)) return null;
  const prefix = Number(digits);
  if (prefix > 8 * address.bytes.length || hasHostBits(address.bytes, prefix)) return null;
  return isMapped(address.bytes) ? null : { address, prefix };
}

function hasHostBits(bytes: Uint8Array, prefix: number): boolean {
  return bytes.some((byte, index) => (byte & hostMask(index, prefix)) !== 0);
}

/** The bits of byte `index` that lie beyond the prefix. */
function hostMask(index: number, prefix: number): number {
  return 255 >> Math.min(Math.max(prefix - 8 * index, 0), 8);
}

/** The one spelling of a network. */
export function formatCidr({ address, prefix }: Cidr): string {
  return `${formatAddress(address)}/${prefix}`;
}

/** Whether the network holds the address; an IPv4-mapped address is in IPv4 networks and in no IPv6 one. */
export function cidrContains(cidr: Cidr, address: IpAddress): boolean {
  const { family, bytes } = unmapped(address);
  if (family !== cidr.address.family) return false;
  return bytes.every((byte, index) => {
    return ((byte ^ cidr.address.bytes[index]!) & ~hostMask(index, cidr.prefix) & 255) === 0;
  });
}

/** Whether every address of `inner` is in `outer`. */
export function cidrCovers(outer: Cidr, inner: Cidr): boolean {
  return inner.prefix >= outer.prefix && cidrContains(outer, inner.address);
}

/**
 * IANA's special-purpose address registries (iana-ipv4-special-registry, iana-ipv6-special-registry; RFC 6890, 8190)
 * with multicast (RFC 5771, 4291 §2.7) and what was withdrawn but may still be wired; the first match counts. Blocks
 * that are reachable only as anycast inside a protocol's range (192.0.0.0/24, 2001::/23) stay reserved. IPv6 outside
 * 2000::/3 is not assigned (iana-ipv6-unicast-address-assignments), so it is reserved as a whole.
 */
const specialPurpose: readonly (readonly [AddressClass, readonly string[]])[] = [
  ['loopback', ['127.0.0.0/8', '::1/128']],
  ['link-local', ['169.254.0.0/16', 'fe80::/10']],
  ['private', ['10.0.0.0/8', '172.16.0.0/12', '192.168.0.0/16', 'fc00::/7', 'fec0::/10']],
  ['cgnat', ['100.64.0.0/10']],
  ['multicast', ['224.0.0.0/4', 'ff00::/8']],
  ['documentation', ['192.0.2.0/24', '198.51.100.0/24', '203.0.113.0/24', '2001:db8::/32', '3fff::/20']],
  ['benchmark', ['198.18.0.0/15', '2001:2::/48']],
  ['reserved', ['::/128']],
  // IPv4-compatible, IPv4-translated (RFC 2765), NAT64 (RFC 6052, 8215), Teredo, 6to4 and its relays (RFC 7526).
  ['translation', ['::/96', '::ffff:0:0:0/96', '64:ff9b::/96', '64:ff9b:1::/48']],
  ['translation', ['2001::/32', '2002::/16', '192.88.99.0/24']],
  ['reserved', ['0.0.0.0/8', '192.0.0.0/24', '240.0.0.0/4', '2001::/23']],
  ['public', ['0.0.0.0/0', '2000::/3']],
  ['reserved', ['::/0']],
];

const table = specialPurpose.flatMap(([name, networks]) =>
  networks.map((network) => ({ name, cidr: parseCidr(network)! })),
);

/** What an address is for; an IPv4-mapped one is judged as its IPv4 address. */
export function addressClass(address: IpAddress): AddressClass {
  return table.find(({ cidr }) => cidrContains(cidr, address))?.name ?? 'reserved';
}
