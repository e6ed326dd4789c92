import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { addressClass, formatAddress, type IpAddress, parseAddress } from '../model/ip-address.ts';
import { gatewayLimits } from './limits.ts';
import { SyntheticNames } from './synthetic-names.ts';

const families = [4, 6] as const;

function nameOf(names: SyntheticNames, address: string | null): string | null {
  return names.nameOf(parseAddress(address!)!);
}

test('a name keeps its addresses, in both families, whatever is asked for after it', () => {
  const names = new SyntheticNames(0);
  const [four, six] = families.map((family) => names.addressOf('a.test', family));
  for (let index = 0; index < 1_000; index += 1) names.addressOf(`n${index}.test`, 4);
  assert.deepEqual(
    families.map((family) => names.addressOf('a.test', family)),
    [four, six],
  );
  assert.equal(nameOf(names, four!), 'a.test');
  assert.equal(nameOf(names, six!), 'a.test');
});

test('every name up to the bound has an address of its own that means it, and the next name has none', () => {
  const names = new SyntheticNames(0);
  const seen = new Set<string>();
  for (let index = 0; index < gatewayLimits.namesMax; index += 1) {
    for (const family of families) {
      const address = names.addressOf(`n${index}.test`, family)!;
      assert.equal(formatAddress(parseAddress(address)!), address, 'it is spelled canonically');
      assert.notEqual(addressClass(parseAddress(address)!), 'public', 'it is nobody else’s');
      seen.add(address);
    }
  }
  assert.equal(seen.size, 2 * gatewayLimits.namesMax);
  for (const family of families) assert.equal(names.addressOf('one-more.test', family), null);
  for (let index = 0; index < gatewayLimits.namesMax; index += 1)
    for (const family of families) {
      const address = names.addressOf(`n${index}.test`, family);
      assert.equal(nameOf(names, address), `n${index}.test`);
    }
});

test('two sandboxes give out the same numbers, and each for its own names', () => {
  const [one, other] = [new SyntheticNames(0), new SyntheticNames(0)];
  const address = one.addressOf('one.test', 4);
  assert.equal(nameOf(other, address), null);
  assert.equal(other.addressOf('other.test', 4), address);
  assert.equal(nameOf(one, address), 'one.test');
  assert.equal(nameOf(other, address), 'other.test');
});

test("the resolver's own network and everything beside the numbers that were given mean no name", () => {
  const names = new SyntheticNames(0);
  for (const family of families) names.addressOf('a.test', family);
  const others = ['198.18.0.0', '198.18.0.1', '198.18.0.255', '198.18.1.1', '198.19.1.0', '198.20.1.0'];
  const others6 = [
    'fd73:6561:6c77::',
    'fd73:6561:6c77::ff',
    'fd73:6561:6c77::101',
    'fd73:6561:6c77:0:1::100',
  ];
  for (const address of [...others, ...others6, '::ffff:198.18.1.0', 'fd73:6561:6c77::1:100'])
    assert.equal(nameOf(names, address), null, address);
  assert.equal(nameOf(names, '198.18.1.0'), 'a.test');
  assert.equal(nameOf(names, 'fd73:6561:6c77::100'), 'a.test');
});

test('no address but the ones that were given out means a name', () => {
  const names = new SyntheticNames(0);
  const given = new Map<string, string>();
  for (let index = 0; index < 300; index += 1)
    for (const family of families) given.set(names.addressOf(`n${index}.test`, family)!, `n${index}.test`);
  const near4 = fc.tuple(fc.constantFrom(18, 19), fc.nat(3), fc.nat(255)).map(([b, c, d]) => [198, b, c, d]);
  const near6 = fc
    .tuple(fc.constantFrom(0, 1), fc.nat(3), fc.nat(255))
    .map(([a, c, d]) => [0xfd, 0x73, 0x65, 0x61, 0x6c, 0x77, 0, 0, 0, 0, 0, 0, a, 0, c, d]);
  const any = fc.constantFrom(4, 16).chain((length) => {
    return fc.array(fc.nat(255), { minLength: length, maxLength: length });
  });
  fc.assert(
    fc.property(fc.oneof(near4, near6, any), (bytes) => {
      const address: IpAddress = { family: bytes.length === 4 ? 4 : 6, bytes: Uint8Array.from(bytes) };
      assert.equal(names.nameOf(address), given.get(formatAddress(address)) ?? null);
    }),
    { numRuns: 2_000 },
  );
});

test('what an address meant to one gateway it means to none after it', () => {
  const addresses = new Set<string>();
  for (let era = 0; era < 20; era += 1) {
    const names = new SyntheticNames(era);
    for (const name of ['a.example', 'b.example']) {
      const given = names.addressOf(name, 4);
      if (given === null) continue;
      assert(!addresses.has(given), given);
      addresses.add(given);
      assert.equal(names.nameOf(parseAddress(given)!), name);
      assert.equal(new SyntheticNames(era + 1).nameOf(parseAddress(given)!), null);
    }
  }
  assert(addresses.size >= 24, 'a dozen gateways have addresses to give, and then there are none');
  assert.equal(new SyntheticNames(19).addressOf('a.example', 4), null);
});
