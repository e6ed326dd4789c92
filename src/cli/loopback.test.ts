import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect } from 'node:net';
import { test } from 'node:test';
import { openLoopback } from './loopback.ts';

test('what any program of the machine asks for ends no sign-in, and its code still comes', async () => {
  const loopback = await openLoopback();
  const { port } = new URL(loopback.redirectUri);
  const code = loopback.code({ state: 's', issuer: 'i' }, new AbortController().signal);
  for (const target of [
    '//',
    '/',
    '/callback?state=t&iss=i&code=c',
    '/callback?state=s&state=s&iss=i&code=c',
  ]) {
    const socket = connect(Number(port), '127.0.0.1');
    socket.write(`GET ${target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n`);
    const [answer] = await once(socket, 'data');
    assert.match(String(answer), /^HTTP\/1\.1 400 /, target);
    socket.destroy();
  }
  assert.equal((await fetch(`${loopback.redirectUri}?state=s&iss=i&code=right`)).status, 200);
  assert.equal(await code, 'right');
  loopback.close();
});
