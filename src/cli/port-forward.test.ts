import assert from 'node:assert/strict';
import { once } from 'node:events';
import { type AddressInfo, connect, createServer } from 'node:net';
import { networkInterfaces } from 'node:os';
import { buffer, text } from 'node:stream/consumers';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { ApiError } from '../client/api-error.ts';
import { buildProgram, runProgram } from './program.ts';
import { TestServer, testContext } from './test-api.ts';
import { type TestEnvironment, testEnvironment } from './test-environment.ts';

let environment: TestEnvironment;
let server: TestServer;
beforeEach(() => {
  environment = testEnvironment();
  server = new TestServer();
  server.run('build', { phase: 'running' });
});
afterEach(() => environment.dispose());

const err = () => environment.stderr.text;

function start(...words: string[]): Promise<number> {
  const context = testContext(environment, server);
  return runProgram(
    buildProgram(context, () => {}),
    ['port-forward', 'build', ...words],
    context,
  );
}

/** The port of this machine that was opened last. */
async function opened(): Promise<number> {
  for (;;) {
    const port = /127\.0\.0\.1:(\d+) leads to/.exec(err())?.[1];
    if (port !== undefined) return Number(port);
    await new Promise((resolve) => setImmediate(resolve));
  }
}

/** A program of the sandbox that answers in capitals once it has read everything. */
async function openShouter(t: { after(close: () => void): void }): Promise<number> {
  const shouter = createServer({ allowHalfOpen: true }, async (socket) => {
    socket.end((await text(socket)).toUpperCase());
  });
  shouter.listen(0, '127.0.0.1');
  await once(shouter, 'listening');
  t.after(() => shouter.close());
  return (shouter.address() as AddressInfo).port;
}

describe('port-forward', () => {
  it('carries connections, each by itself, and the end of either side', async (t) => {
    const inside = await openShouter(t);
    server.attach.onPort = async (port) => {
      assert.equal(port, 3000);
      return connect({ port: inside, host: '127.0.0.1', allowHalfOpen: true });
    };
    const ending = start('0:3000');
    const port = await opened();
    const answers = await Promise.all(
      ['one', 'two', 'three'].map(async (word) => {
        const socket = connect({ port, host: '127.0.0.1', allowHalfOpen: true });
        socket.end(word);
        return await text(socket);
      }),
    );
    assert.deepEqual(answers, ['ONE', 'TWO', 'THREE']);
    assert.equal(server.calls.filter((call) => call.startsWith('attach.port')).length, 3);
    environment.interrupt();
    assert.equal(await ending, 0);
  });

  it('listens for this machine alone', async () => {
    const ending = start('0:3000');
    const port = await opened();
    const others = Object.values(networkInterfaces())
      .flat()
      .filter((each) => each !== undefined && !each.internal && each.family === 'IPv4');
    for (const { address } of others as { address: string }[]) {
      const socket = connect({ port, host: address });
      const [error] = (await once(socket, 'error')) as [NodeJS.ErrnoException];
      assert.match(error.code ?? '', /ECONNREFUSED|EHOSTUNREACH/);
    }
    environment.interrupt();
    await ending;
  });

  it('waits where the server asks for it', async (t) => {
    const inside = await openShouter(t);
    server.attach.onPort = () => connect({ port: inside, host: '127.0.0.1', allowHalfOpen: true });
    const slow = { status: 429, code: 'rate.exceeded', detail: 'slow down', retryAfterSeconds: 0 } as const;
    server.attach.refusals.push(new ApiError(slow), new ApiError(slow));
    const ending = start('0:3000');
    const socket = connect({ port: await opened(), host: '127.0.0.1', allowHalfOpen: true });
    socket.end('late');
    assert.equal(await text(socket), 'LATE');
    environment.interrupt();
    await ending;
  });

  it('says once what goes wrong with a connection, and goes on', async () => {
    const refused = () =>
      new ApiError({ status: 409, code: 'state.conflict', detail: 'Nobody listens\x1b[2J.' });
    server.attach.onPort = () => {
      throw refused();
    };
    const ending = start('0:3000');
    const port = await opened();
    for (let count = 0; count < 3; count++) {
      const socket = connect({ port, host: '127.0.0.1' });
      socket.on('error', () => {});
      await buffer(socket).catch(() => {});
    }
    environment.interrupt();
    assert.equal(await ending, 0);
    assert.equal(err().match(/port 3000: Nobody listens\\e\[2J\./g)?.length, 1);
  });

  it('ends where nothing can come of it any more', async () => {
    server.attach.onPort = () => {
      throw new ApiError({ status: 409, code: 'state.conflict', detail: 'It has ended.' });
    };
    for (const [phase, wanted] of [
      ['succeeded', /has ended/],
      ['running', /needs control:write/],
    ] as const) {
      Object.assign(server.runs[0]!, { phase });
      environment.stderr.chunks.length = 0;
      const ending = start('0:3000');
      if (phase === 'running')
        server.attach.refusals.push(
          new ApiError({ status: 403, code: 'access.denied', detail: 'This needs control:write.' }),
        );
      const socket = connect({ port: await opened(), host: '127.0.0.1' });
      socket.on('error', () => {});
      assert.equal(await ending, 1);
      assert.match(err(), wanted);
    }
  });

  it('knows ports from what is none, and says which one is taken', async (t) => {
    for (const word of ['x', '0', '70000', '1:2:3', '-1', '99999:1'])
      assert.equal(await start('--', word), 2, word);
    const taken = createServer().listen(0, '127.0.0.1');
    await once(taken, 'listening');
    t.after(() => taken.close());
    const { port } = taken.address() as AddressInfo;
    assert.equal(await start(`${port}:3000`), 1);
    assert.match(err(), /EADDRINUSE.*0:3000/s);
  });
});
