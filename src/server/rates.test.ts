import assert from 'node:assert/strict';
import test from 'node:test';
import { addressKey, openRates } from './rates.ts';

test('an IPv6 host is counted by its /64, an IPv4 address by itself, however written', () => {
  assert.equal(addressKey('2001:db8:1:2:3:4:5:6'), addressKey('2001:db8:1:2::9'));
  assert.notEqual(addressKey('2001:db8:1:2::1'), addressKey('2001:db8:1:3::1'));
  assert.equal(addressKey('::1'), addressKey('::2'));
  assert.equal(addressKey('fe80::1%eth0'), addressKey('fe80::2'));
  assert.equal(addressKey('::ffff:192.0.2.1'), '192.0.2.1');
  assert.notEqual(addressKey('192.0.2.1'), addressKey('192.0.2.2'));
  assert.equal(addressKey(null), 'local');
});

test('classes and keys are counted apart, and a limit that is off stops the start', async () => {
  let refused = 0;
  const rates = openRates({ write: 1 }, () => {
    refused += 1;
  });
  await rates.spend('write', 'a');
  await rates.spend('write', 'b');
  await rates.spend('default', 'a');
  await assert.rejects(rates.spend('write', 'a'), { code: 'rate.exceeded' });
  assert.equal(refused, 1);
  for (const bad of [0, -1, 1.5, Number.NaN, Number.POSITIVE_INFINITY])
    assert.throws(() => openRates({ write: bad }, () => undefined));
});
