import type { AuditEvent } from '../../src/audit/event.ts';
import {
  type AttachCloseReason,
  type AttachStream,
  attachStreams,
  type ServerFrame,
} from '../../src/contract/attach.ts';
import type { AttachClient, AttachConnection } from '../../src/control/attach/attach.ts';
import type { Caller } from '../../src/control/control.ts';
import type { ConnectionId, RunId, TerminalId } from '../../src/model/ids.ts';
import type { AttachRole } from '../../src/model/terminal.ts';
import type { FakeTerminal } from './fake-terminals.ts';
import { actorOf, callerOf, type TestControl } from './test-control.ts';

/** The server's end of a connection as a test sees it: everything that control sent, in its order. */
export class TestClient implements AttachClient {
  readonly frames: ServerFrame[] = [];
  readonly chunks: { readonly stream: AttachStream; readonly bytes: Buffer }[] = [];
  closed: { readonly reason: AttachCloseReason; readonly detail: string } | null = null;
  /** Whether anything came after the end. */
  sentAfterClose = false;
  connection!: AttachConnection;
  /** Resolves what waits for room; null where there always is. */
  drain: Promise<void> | null = null;
  #watchers = new Set<() => void>();

  send(frame: ServerFrame): void {
    this.sentAfterClose ||= this.closed !== null;
    this.frames.push(frame);
    this.#changed();
  }

  data(stream: AttachStream, bytes: Buffer): void {
    this.sentAfterClose ||= this.closed !== null;
    this.chunks.push({ stream, bytes: Buffer.from(bytes) });
    this.#changed();
  }

  async drained(): Promise<void> {
    await this.drain;
  }

  close(reason: AttachCloseReason, detail: string): void {
    this.closed ??= { reason, detail };
    this.#changed();
  }

  /** Everything that was shown, with the screen that it began with. */
  get text(): string {
    return this.textOf(attachStreams.output);
  }

  textOf(stream: AttachStream): string {
    return this.chunks
      .filter((chunk) => chunk.stream === stream)
      .map(({ bytes }) => bytes.toString('latin1'))
      .join('');
  }

  last<T extends ServerFrame['type']>(type: T): Extract<ServerFrame, { type: T }> | null {
    const found = this.frames.findLast((frame) => frame.type === type);
    return (found as Extract<ServerFrame, { type: T }> | undefined) ?? null;
  }

  get id(): ConnectionId {
    return this.last('welcome')!.connection;
  }

  get mayType(): boolean {
    return this.last('input')?.allowed === true;
  }

  async type(text: string): Promise<void> {
    await this.connection.input(Buffer.from(text));
  }

  /** Resolves once the condition holds; it is looked at whenever anything comes. Rejects after some seconds. */
  async until(holds: (client: this) => boolean): Promise<void> {
    if (holds(this)) return;
    await new Promise<void>((resolve, reject) => {
      const timer = setTimeout(() => {
        this.#watchers.delete(look);
        reject(
          new Error(`did not come true: ${holds}; ${JSON.stringify([this.frames.slice(-5), this.closed])}`),
        );
      }, 5_000);
      const look = () => {
        if (!holds(this)) return;
        clearTimeout(timer);
        this.#watchers.delete(look);
        resolve();
      };
      this.#watchers.add(look);
    });
  }

  #changed(): void {
    for (const look of [...this.#watchers]) look();
  }
}

export const operatorScopes = [
  'session:read',
  'session:write',
  'run:read',
  'run:write',
  'control:write',
] as const;

/** Somebody who may drive, and reaches everything. */
export function driverCaller(name = 'ann'): Caller {
  return callerOf(actorOf(name, 'all', operatorScopes));
}

/** Somebody who may look on, and reaches everything. */
export function viewerCaller(name = 'vera'): Caller {
  return callerOf(actorOf(name, 'all', ['session:read', 'run:read']));
}

/** A running run with a terminal, in a session that people may attach to. */
export async function attachable(
  test: TestControl,
  caller: Caller,
  attach: {
    enabled?: boolean;
    mode?: 'exclusive' | 'collaborative';
    moderated?: boolean;
    recordInput?: boolean;
  } = {},
): Promise<{ session: Awaited<ReturnType<TestControl['session']>>; run: RunId; terminal: FakeTerminal }> {
  const session = await test.session(caller, { attach: { enabled: true, ...attach } });
  const run = await runningIn(test, caller, session);
  return { session, run, terminal: test.runner.terminals.of(run) };
}

export async function runningIn(
  test: TestControl,
  caller: Caller,
  session: Awaited<ReturnType<TestControl['session']>>,
): Promise<RunId> {
  const { id } = await test.run(caller, session, { terminal: { columns: 80, rows: 24 } });
  await test.runner.until(() => test.runner.live.has(id));
  test.runner.running(id);
  return id;
}

/** Asks for a ticket and comes in with it, as another request than the one that it was asked for with. */
export async function attach(
  test: TestControl,
  caller: Caller,
  run: RunId,
  options: { role?: AttachRole; terminal?: TerminalId; from?: number } = {},
): Promise<TestClient> {
  const { role = 'viewer', terminal, from = null } = options;
  const asked = { role, ...(terminal === undefined ? {} : { terminal }) };
  const { ticket } = await test.control.attach.ticket(caller, run, asked);
  return await redeemed(test, caller, run, ticket, from);
}

export async function redeemed(
  test: TestControl,
  caller: Caller,
  run: RunId,
  ticket: string | null,
  from: number | null = null,
): Promise<TestClient> {
  const { request } = callerOf(caller.actor);
  const { begin } = await test.control.attach.redeem({ run, ticket, from, request });
  const client = new TestClient();
  client.connection = begin(client);
  return client;
}

/** The log with everything that was noted by now: what is recorded later is on the disk no earlier. */
export async function recorded(test: TestControl): Promise<AuditEvent[]> {
  const root = callerOf({ id: 'user:root', scopes: new Set(['*']), reach: 'all' });
  await test.control.users.list(root, { limit: 1 });
  return await test.events();
}
