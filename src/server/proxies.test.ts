import assert from 'node:assert/strict';
import test from 'node:test';
import { knownProxies } from './proxies.ts';

const from = (remoteAddress: string | undefined, headers: Record<string, string> = {}) => ({
  socket: { remoteAddress },
  headers,
});
const claimed = {
  'x-forwarded-for': '6.6.6.6, 203.0.113.9',
  'x-forwarded-proto': 'https',
  host: 'x.example',
};

test('X-Forwarded-* of anybody is ignored where no proxy is trusted', () => {
  const proxies = knownProxies([]);
  assert.equal(proxies.addressOf(from('127.0.0.1', claimed)), '127.0.0.1');
  assert.equal(proxies.originOf(from('127.0.0.1', claimed)), null);
  assert.equal(proxies.addressOf(from(undefined, claimed)), null);
});

test('a trusted proxy names its caller, and what its caller claims beyond that is ignored', () => {
  const proxies = knownProxies(['10.0.0.0/8', '::1', '192.0.2.7']);
  assert.equal(proxies.addressOf(from('10.1.2.3', claimed)), '203.0.113.9');
  assert.equal(proxies.addressOf(from('::ffff:10.1.2.3', claimed)), '203.0.113.9');
  assert.equal(proxies.originOf(from('::1', claimed)), 'https://x.example');
  const chain = { 'x-forwarded-for': '6.6.6.6, 203.0.113.9, 192.0.2.7' };
  assert.equal(proxies.addressOf(from('10.1.2.3', chain)), '203.0.113.9');
});

test('an address that is not trusted is itself, whatever it sends', () => {
  const proxies = knownProxies(['10.0.0.0/8']);
  assert.equal(proxies.addressOf(from('11.0.0.1', claimed)), '11.0.0.1');
  assert.equal(proxies.originOf(from('11.0.0.1', claimed)), null);
});

test('what is no address ends the chain at the last one that is', () => {
  const proxies = knownProxies(['10.0.0.0/8']);
  for (const hops of ['', 'unknown', '1.2.3.4, _hidden', 'a:80'])
    assert.equal(proxies.addressOf(from('10.0.0.1', { 'x-forwarded-for': hops })), '10.0.0.1', hops);
});

test('an entry that is no address stops the start', () => {
  assert.throws(() => knownProxies(['proxy.example']));
  assert.throws(() => knownProxies(['10.0.0.0/33']));
});
