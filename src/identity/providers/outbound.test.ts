import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer, type RequestListener } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import type { AddressInfo, Server } from 'node:net';
import { describe, it, type TestContext } from 'node:test';
import { loopbackPair } from '../../../tests/support/certificates.ts';
import { providerLimits } from './limits.ts';
import { openOutbound } from './outbound.ts';
import { ProviderRefusal } from './provider.ts';

const get = { method: 'GET', headers: {} };

async function listen(test: TestContext, server: Server): Promise<number> {
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  test.after(() => server.close());
  return (server.address() as AddressInfo).port;
}

const refused = (reason: string) => (error: unknown) => {
  assert(error instanceof ProviderRefusal, String(error));
  assert.equal(error.reason, reason);
  return true;
};

describe('the way to a provider', () => {
  const plain = async (test: TestContext, handler: RequestListener) =>
    `http://127.0.0.1:${await listen(test, createServer(handler))}/`;
  const loopback = openOutbound({ authorities: [], loopback: true });

  it('is plain for a provider on this machine alone, and then to this machine alone', async (t) => {
    const url = await plain(t, (_request, response) => response.end('here'));
    assert.equal(await (await loopback(url, get)).text(), 'here');
    const outside = openOutbound({ authorities: [], loopback: false });
    await assert.rejects(outside(url, get), refused('metadata'));
    for (const target of [
      'http://192.0.2.1/',
      'http://idp.example/',
      'file:///etc/passwd',
      'ftp://127.0.0.1/',
    ])
      await assert.rejects(loopback(target, get), refused('metadata'), target);
  });

  it('believes the authorities of Node, and those that were named', async (t) => {
    const { certificate, key, authority } = loopbackPair();
    const server = createTlsServer({ cert: certificate, key }, (_request, response) => response.end('safe'));
    const url = `https://127.0.0.1:${await listen(t, server)}/`;
    const trusting = openOutbound({ authorities: [authority], loopback: false });
    assert.equal(await (await trusting(url, get)).text(), 'safe');
    await assert.rejects(
      openOutbound({ authorities: [], loopback: false })(url, get),
      refused('unreachable'),
    );
    const other = openOutbound({ authorities: [loopbackPair().authority], loopback: false });
    await assert.rejects(other(url, get), refused('unreachable'));
  });

  it('follows no redirect', async (t) => {
    let asked = 0;
    const url = await plain(t, (_request, response) => {
      asked += 1;
      response.writeHead(302, { location: '/elsewhere' }).end();
    });
    assert.equal((await loopback(url, get)).status, 302);
    assert.equal(asked, 1);
  });

  it('takes an answer of bounded size, whatever its head says', async (t) => {
    const fits = Buffer.alloc(providerLimits.answerBytesMax);
    const url = await plain(t, (request, response) => {
      response.write(fits);
      response.end(request.url === '/more' ? 'x' : '');
    });
    assert.equal((await (await loopback(url, get)).arrayBuffer()).byteLength, fits.length);
    await assert.rejects(loopback(`${url}more`, get), refused('answer'));
  });

  it('says that nobody answered, or not to the end', async (t) => {
    const url = await plain(t, (request, response) => {
      response.writeHead(200, { 'content-length': '10' }).write('half');
      request.socket.destroySoon();
    });
    await assert.rejects(loopback(url, get), refused('unreachable'));
    await assert.rejects(loopback('http://127.0.0.1:1/', get), refused('unreachable'));
  });
});
