import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { pino } from 'pino';
import { type OpenServer, openServer, type ServerOptions } from '../../src/server/server.ts';
import { type FakeControl, openFakeControl, ownerActor } from './fake-control.ts';

export type TestServer = OpenServer & {
  readonly control: FakeControl;
  readonly socketPath: string;
  /** Lines that the server logged, parsed. */
  readonly log: Record<string, unknown>[];
  /** A JSON request of the owner; `body` is sent as JSON, and text as it is. */
  call(method: string, path: string, options?: CallOptions): Promise<Answer>;
};

export type CallOptions = {
  readonly body?: unknown;
  readonly headers?: Record<string, string>;
  /** Null for none; the owner's where absent. */
  readonly token?: string | null;
  /** Nothing is read behind the headers: for streams that do not end. */
  readonly headersAlone?: true;
};
export type Answer = {
  readonly status: number;
  readonly headers: Headers;
  // biome-ignore lint/suspicious/noExplicitAny: a test looks at whatever came
  readonly body: any;
  readonly text: string;
};

export const wideRates = { default: 1e6, signIn: 1e6, write: 1e6, admin: 1e6 };

/** A server on free ports over a fake Control, closed when the test ends. */
export async function openTestServer(
  test: Pick<TestContext, 'after'>,
  options: Partial<ServerOptions> = {},
): Promise<TestServer> {
  const folder = await mkdtemp(join(tmpdir(), 'sealwright-server-'));
  const control = openFakeControl();
  const log: Record<string, unknown>[] = [];
  const logger = pino({ level: 'debug' }, { write: (line: string) => log.push(JSON.parse(line)) });
  const socketPath = join(folder, 'api.sock');
  const server = await openServer({
    control,
    logger,
    listen: { host: '127.0.0.1', port: 0 },
    localSocketPath: socketPath,
    identity: { localOwner: ownerActor },
    version: '0.0.0-test',
    rateLimits: wideRates,
    ...options,
  }).catch(async (error: unknown) => {
    await rm(folder, { recursive: true, force: true });
    throw error;
  });
  test.after(async () => {
    await server.close();
    await rm(folder, { recursive: true, force: true });
  });
  const call = (method: string, path: string, how: CallOptions = {}) =>
    callServer(server.address + path, method, how);
  return { ...server, control, socketPath, log, call };
}

async function callServer(url: string, method: string, how: CallOptions): Promise<Answer> {
  const { body, token = 'owner-token' } = how;
  const headers: Record<string, string> = { ...how.headers };
  if (token !== null) headers.authorization ??= `Bearer ${token}`;
  if (body !== undefined) headers['content-type'] ??= 'application/json';
  const text = body === undefined ? null : typeof body === 'string' ? body : JSON.stringify(body);
  const response = await fetch(url, { method, headers, body: text });
  if (how.headersAlone === true) await response.body?.cancel();
  const answer = how.headersAlone === true ? '' : await response.text();
  const isJson = response.headers.get('content-type')?.includes('json') ?? false;
  return {
    status: response.status,
    headers: response.headers,
    body: isJson && answer !== '' ? JSON.parse(answer) : null,
    text: answer,
  };
}
