import assert from 'node:assert/strict';
import { BlockList, isIPv4, isIPv6 } from 'node:net';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import {
  addressClass,
  cidrContains,
  cidrCovers,
  formatAddress,
  formatCidr,
  type IpAddress,
  parseAddress,
  parseCidr,
  unmapped,
} from './ip-address.ts';

const parsed = (text: string): IpAddress => {
  const address = parseAddress(text);
  assert.ok(address, text);
  return address;
};
const network = (text: string) => {
  const cidr = parseCidr(text);
  assert.ok(cidr, text);
  return cidr;
};

const byte = fc.oneof(fc.constantFrom(0, 0, 0, 255), fc.nat(255));
const ipv4 = fc.array(byte, { minLength: 4, maxLength: 4 });
const ipv6 = fc.array(byte, { minLength: 16, maxLength: 16 });
const mapped = ipv4.map((bytes) => [...Array(10).fill(0), 255, 255, ...bytes] as number[]);
const address = fc
  .oneof(ipv4, ipv6, mapped)
  .map((bytes): IpAddress => ({ family: bytes.length === 4 ? 4 : 6, bytes: Uint8Array.from(bytes) }));
const addressLike = fc.string({ unit: fc.constantFrom(...'0012579afF:::..x%/[] \0'), maxLength: 46 });

describe('parseAddress', () => {
  for (const [text, expected] of [
    ['0.0.0.0', '0.0.0.0'],
    ['255.255.255.255', '255.255.255.255'],
    ['::', '::'],
    ['::1', '::1'],
    ['1::', '1::'],
    ['2001:DB8:0:0:0:0:0:1', '2001:db8::1'],
    ['2001:db8::0001', '2001:db8::1'],
    ['2001:db8:0:1:1:1:1:1', '2001:db8:0:1:1:1:1:1'],
    ['2001:db8::1:1:1:1:1', '2001:db8:0:1:1:1:1:1'],
    ['2001:0:0:1:0:0:0:1', '2001:0:0:1::1'],
    ['2001:db8:0:0:1:0:0:1', '2001:db8::1:0:0:1'],
    ['::ffff:192.0.2.1', '::ffff:192.0.2.1'],
    ['::ffff:c000:201', '::ffff:192.0.2.1'],
    ['0:0:0:0:0:ffff:192.0.2.1', '::ffff:192.0.2.1'],
    ['64:ff9b::192.0.2.1', '64:ff9b::c000:201'],
    ['1:2:3:4:5:6:1.2.3.4', '1:2:3:4:5:6:102:304'],
  ]) {
    test(`${text} is ${expected}`, () => assert.equal(formatAddress(parsed(text!)), expected));
  }

  for (const text of [
    '',
    '1',
    '127.1',
    '1.2.3',
    '1.2.3.4.',
    '1.2.3.4.5',
    '01.2.3.4',
    '0x1.2.3.4',
    '1.2.3.256',
    '1.2.3.-4',
    '+1.2.3.4',
    ' 1.2.3.4',
    '1.2.3.4\n',
    '１.2.3.4',
    '2130706433',
    ':',
    ':::',
    '1:',
    ':1',
    '1::2::3',
    '1:2:3:4:5:6:7',
    '1:2:3:4:5:6:7:8:9',
    '1:2:3:4::5:6:7:8',
    '::1:2:3:4:5:6:7:8',
    '12345::',
    'g::',
    '::1.2.3',
    '::1.2.3.04',
    '::1.2.3.4:5',
    '1.2.3.4::',
    '1:2:3:4:5:6:7:1.2.3.4',
    'fe80::1%eth0',
    '[::1]',
    '::1/128',
    '::ffff:0x7f.0.0.1',
    '1'.repeat(100_000),
  ]) {
    test(`${JSON.stringify(text.slice(0, 40))} is no address`, () => assert.equal(parseAddress(text), null));
  }

  test('every address is read back from its one spelling', () => {
    fc.assert(
      fc.property(address, (given) => {
        const text = formatAddress(given);
        assert.deepEqual(parseAddress(text), given);
        assert.ok(given.family === 4 ? isIPv4(text) : isIPv6(text));
        if (given.family === 6 && !text.startsWith('::ffff:')) {
          assert.equal(new URL(`http://[${text}]/`).hostname, `[${text}]`, 'WHATWG spells it alike');
        }
      }),
    );
  });

  test('what is read is what the C library reads, and zone ids are refused', () => {
    fc.assert(
      fc.property(
        fc.oneof(addressLike, address.map(formatAddress), fc.string({ unit: 'binary' })),
        (text) => {
          const given = parseAddress(text);
          assert.equal(given?.family === 4, isIPv4(text));
          assert.equal(given?.family === 6, isIPv6(text) && !text.includes('%'));
        },
      ),
      { numRuns: 5_000 },
    );
  });
});

describe('parseCidr', () => {
  for (const [text, expected] of [
    ['10.0.0.0/8', '10.0.0.0/8'],
    ['0.0.0.0/0', '0.0.0.0/0'],
    ['192.0.2.1/32', '192.0.2.1/32'],
    ['192.0.2.128/25', '192.0.2.128/25'],
    ['FD00:0::/8', 'fd00::/8'],
    ['::/0', '::/0'],
    ['::1/128', '::1/128'],
  ]) {
    test(`${text} is ${expected}`, () => assert.equal(formatCidr(network(text!)), expected));
  }

  for (const text of [
    '',
    '/',
    '/8',
    '10.0.0.0',
    '10.0.0.0/',
    '10.0.0.0/33',
    '10.0.0.0/08',
    '10.0.0.0/+8',
    '10.0.0.0/ 8',
    '10.0.0.0/8/8',
    '10.0.0.0/255.0.0.0',
    '10.0.0.1/8',
    '192.0.2.128/24',
    '10/8',
    'fd00::/129',
    'fd00::1/8',
    '::ffff:10.0.0.0/104',
    '::ffff:0:0/96',
    'fe80::%1/64',
    'a.b/8',
  ]) {
    test(`${JSON.stringify(text)} is no network`, () => assert.equal(parseCidr(text), null));
  }

  test('every network is read back from its spelling and holds what Node says that it holds', () => {
    fc.assert(
      fc.property(address, address, fc.nat(128), (base, other, bits) => {
        const { family, bytes } = unmapped(base);
        const prefix = bits % (8 * bytes.length + 1);
        const start = bytes.map((value, index) => {
          return value & ~(255 >> Math.min(Math.max(prefix - 8 * index, 0), 8));
        });
        const cidr = parseCidr(`${formatAddress({ family, bytes: start })}/${prefix}`);
        if (cidr === null) return assert.match(formatAddress({ family, bytes: start }), /^::ffff:/);
        assert.deepEqual(parseCidr(formatCidr(cidr)), cidr);
        assert.ok(cidrContains(cidr, base));
        const list = new BlockList();
        list.addSubnet(formatAddress(cidr.address), prefix, family === 4 ? 'ipv4' : 'ipv6');
        const plain = unmapped(other);
        const held = plain.family === family && list.check(formatAddress(plain), `ipv${family}`);
        assert.equal(cidrContains(cidr, other), held);
      }),
    );
  });

  test('an IPv4-mapped address is in IPv4 networks and in no IPv6 one', () => {
    const inside = parsed('::ffff:10.1.2.3');
    assert.ok(cidrContains(network('10.0.0.0/8'), inside));
    assert.ok(!cidrContains(network('::/0'), inside));
    assert.ok(!cidrContains(network('0.0.0.0/0'), parsed('::1')));
  });

  test('a network covers itself and its parts, not more and not another family', () => {
    assert.ok(cidrCovers(network('10.0.0.0/8'), network('10.0.0.0/8')));
    assert.ok(cidrCovers(network('10.0.0.0/8'), network('10.1.0.0/16')));
    assert.ok(!cidrCovers(network('10.0.0.0/8'), network('10.0.0.0/7')));
    assert.ok(!cidrCovers(network('0.0.0.0/0'), network('fd00::/8')));
  });
});

describe('addressClass', () => {
  const expected: Record<string, readonly string[]> = {
    public: [
      '8.8.8.8',
      '1.1.1.1',
      '9.255.255.255',
      '11.0.0.0',
      '100.63.255.255',
      '100.128.0.0',
      '126.255.255.255',
      '128.0.0.0',
      '169.253.255.255',
      '172.15.255.255',
      '172.32.0.0',
      '192.169.0.0',
      '198.17.255.255',
      '198.20.0.0',
      '223.255.255.255',
      '2606:4700::1111',
      '2001:4860:4860::8888',
      '2001:200::',
      '2003::1',
      '2620:4f:8000::1',
      '3ffe:ffff::',
      '::ffff:8.8.8.8',
    ],
    loopback: ['127.0.0.1', '127.255.255.255', '::1', '::ffff:127.0.0.1'],
    'link-local': ['169.254.169.254', 'fe80::1', 'febf::', '::ffff:169.254.169.254'],
    private: [
      '10.0.0.1',
      '172.16.0.0',
      '172.31.255.255',
      '192.168.1.1',
      'fd00:ec2::254',
      'fc00::',
      'fec0::1',
    ],
    cgnat: ['100.64.0.0', '100.100.100.200', '100.127.255.255'],
    multicast: ['224.0.0.1', '239.255.255.255', 'ff02::1'],
    documentation: ['192.0.2.1', '198.51.100.1', '203.0.113.1', '2001:db8::1', '3fff:fff::1'],
    benchmark: ['198.18.0.1', '198.19.255.255', '2001:2::1'],
    translation: [
      '::8.8.8.8',
      '::2',
      '64:ff9b::8.8.8.8',
      '64:ff9b::7f00:1',
      '64:ff9b:1::1',
      '64:ff9b:1:ffff::',
      '2002:0808:0808::',
      '2001:0:1::',
      '::ffff:0:8.8.8.8',
      '192.88.99.1',
    ],
    reserved: [
      '0.0.0.0',
      '0.1.2.3',
      '192.0.0.9',
      '192.0.0.171',
      '240.0.0.0',
      '255.255.255.255',
      '::',
      '100::1',
      '100:0:0:1::1',
      '2001:1::1',
      '2001:20::1',
      '2001:1ff::',
      '5f00::1',
      '64:ff9b:2::',
      '1fff::',
      '4000::',
      'fe00::',
    ],
  };
  for (const [name, addresses] of Object.entries(expected)) {
    for (const text of addresses) {
      test(`${text} is ${name}`, () => assert.equal(addressClass(parsed(text)), name));
    }
  }

  test('a mapped address has the class of its IPv4 address, and no other IPv6 address outside 2000::/3 is public', () => {
    fc.assert(
      fc.property(ipv4, ipv6, (four, six) => {
        const inner: IpAddress = { family: 4, bytes: Uint8Array.from(four) };
        const outer: IpAddress = { family: 6, bytes: Uint8Array.of(...Array(10).fill(0), 255, 255, ...four) };
        assert.equal(addressClass(outer), addressClass(inner));
        const other: IpAddress = { family: 6, bytes: Uint8Array.from(six) };
        if (unmapped(other) === other && six[0]! >> 5 !== 1) assert.notEqual(addressClass(other), 'public');
      }),
    );
  });

  test('no address that carries an IPv4 address is public by what it carries', () => {
    fc.assert(
      fc.property(ipv4, (four) => {
        const [a, b, c, d] = four as [number, number, number, number];
        const quad = four.join('.');
        const hex = `${((a << 8) | b).toString(16)}:${((c << 8) | d).toString(16)}`;
        for (const text of [
          `64:ff9b::${quad}`,
          `64:ff9b:1::${quad}`,
          `::${quad}`,
          `2002:${hex}::`,
          `2001::${hex}`,
        ]) {
          assert.notEqual(addressClass(parsed(text)), 'public', text);
        }
      }),
    );
  });
});
