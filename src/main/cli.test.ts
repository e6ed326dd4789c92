import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, beforeEach, describe, it } from 'node:test';

/** The real program against a stand-in for the server: what only a process of its own shows. */

const session = 'ses_01kamcq5r8v0x4m2e7hj9n3tzb';
const run = 'run_01kamcq5r8v0x4m2e7hj9n3tzb';
let folder: string;
let server: Server;
let url: string;
const requests: string[] = [];
/** Writes the log of the run; `stopped` resolves when the program asks to stop it. */
let writeLog: (response: ServerResponse, stopped: Promise<void>) => Promise<void> | void;
let stop = Promise.withResolvers<void>();

before(async () => {
  folder = mkdtempSync(join(tmpdir(), 'sealwright-cli-'));
  server = createServer((request, response) => void answer(request, response));
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
});
after(async () => {
  server.closeAllConnections();
  server.close();
  await once(server, 'close');
  rmSync(folder, { recursive: true });
});
beforeEach(() => {
  requests.length = 0;
  stop = Promise.withResolvers<void>();
});

async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
  requests.push(`${request.method} ${request.url} ${request.headers.authorization}`);
  request.resume();
  const json = (status: number, value: unknown) => {
    response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(value));
  };
  if (request.url?.endsWith('/logs?offset=0&follow=true')) {
    response.writeHead(200, { 'content-type': 'text/event-stream' });
    return await writeLog(response, stop.promise);
  }
  if (request.url?.includes('/egress?')) return json(200, { items: [], nextCursor: null, counts: null });
  if (request.url?.endsWith('/stop')) stop.resolve();
  json(
    request.method === 'GET' ? 200 : 201,
    request.url?.includes('/sessions') ? { id: session } : { id: run, artifacts: [] },
  );
}

function text(event: string, id: number, value: string): string {
  return `id: ${id}\nevent: ${event}\ndata: ${JSON.stringify({ text: value })}\n\n`;
}

function end(exitCode: number | null, phase = 'succeeded'): string {
  return `event: end\ndata: ${JSON.stringify({ phase, cause: phase === 'failed' ? 'exit' : null, reason: null, exitCode, signal: null })}\n\n`;
}

function start(
  ...words: string[]
): ChildProcess & { stdout: NodeJS.ReadableStream; stderr: NodeJS.ReadableStream } {
  const child = spawn(process.execPath, [join(import.meta.dirname, 'cli.ts'), ...words], {
    env: { PATH: process.env.PATH, HOME: folder, SEALWRIGHT_URL: url, SEALWRIGHT_TOKEN: 'sw_t' },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  return child as ReturnType<typeof start>;
}

async function bytesOf(stream: NodeJS.ReadableStream): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of stream) chunks.push(Buffer.from(chunk));
  return Buffer.concat(chunks);
}

async function finished(child: ReturnType<typeof start>) {
  const [out, err, [status, signal]] = await Promise.all([
    bytesOf(child.stdout),
    bytesOf(child.stderr),
    once(child, 'close') as Promise<[number | null, NodeJS.Signals | null]>,
  ]);
  return { out, err: err.toString('utf8'), status, signal };
}

const record = 'x'.repeat(60_000);

/** Writes without end, at the reader's pace. */
async function flood(response: ServerResponse): Promise<void> {
  for (let id = 1; !response.destroyed; id += 1) {
    if (!response.write(text('stdout', id, record))) {
      const given = new AbortController();
      const { signal } = given;
      const events = [once(response, 'drain', { signal }), once(response, 'close', { signal })];
      await Promise.race(events).catch(() => {});
      await Promise.allSettled([...events, given.abort()]);
    }
  }
}

describe('sealwright run as a process', () => {
  it('hands 30 MB over whole, in order, and exits as the command did', async () => {
    writeLog = async (response) => {
      for (let id = 1; id <= 500; id += 1) {
        const event = text(id % 2 === 0 ? 'stdout' : 'stderr', id, `${id}${record}`);
        if (!response.write(event)) await once(response, 'drain');
      }
      response.end(end(42, 'failed'));
    };
    const { out, err, status } = await finished(start('run', '--', 'x'));
    const expected = (odd: number) =>
      Array.from({ length: 250 }, (_, index) => `${2 * index + 2 - odd}${record}`).join('');
    assert.equal(out.equals(Buffer.from(expected(0))), true);
    assert.equal(err === expected(1), true);
    assert.equal(status, 42);
    assert(requests.every((request) => request.endsWith(' Bearer sw_t')));
  });

  it('stops the run and ends quietly when the reader of its output leaves', async () => {
    writeLog = (response) => flood(response);
    const child = start('run', '--', 'yes');
    const error = bytesOf(child.stderr);
    await once(child.stdout, 'readable');
    (child.stdout as unknown as { destroy(): void }).destroy();
    const [status] = await once(child, 'close');
    assert.equal(status, 141);
    assert.equal((await error).toString(), '');
    await stop.promise;
  });

  it('stops the run on Ctrl-C and goes on to its end', async () => {
    writeLog = async (response, stopped) => {
      response.write(text('stdout', 1, 'before'));
      await stopped;
      response.end(text('stdout', 2, ' after') + end(143, 'cancelled'));
    };
    const child = start('run', '--', 'x');
    child.stdout.once('readable', () => child.kill('SIGINT'));
    const { out, err, status } = await finished(child);
    assert.equal(out.toString(), 'before after');
    assert.match(err, /stopping the run/);
    assert.equal(status, 143);
  });

  it('takes Ctrl-C while nobody reads its output, and leaves at once at the second', async () => {
    writeLog = (response) => flood(response);
    const child = start('run', '--', 'yes');
    await once(child.stdout, 'readable');
    // Nothing is read: the pipe is full and the program waits in a write.
    child.kill('SIGINT');
    await stop.promise;
    child.kill('SIGINT');
    const [, signal] = await once(child, 'exit');
    assert.equal(signal, 'SIGINT');
    (child.stdout as unknown as { destroy(): void }).destroy();
  });

  it('says that no server answers, with 125', async () => {
    const child = spawn(process.execPath, [join(import.meta.dirname, 'cli.ts'), 'run', '--', 'x'], {
      env: { HOME: folder, SEALWRIGHT_URL: 'http://127.0.0.1:1' },
    });
    const { err, status } = await finished(child as unknown as ReturnType<typeof start>);
    assert.equal(status, 125);
    assert.match(err, /^sealwright: No answer from http:\/\/127\.0\.0\.1:1 \(ECONNREFUSED\)/);
  });
});
