import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { openWebSockets } from '../../src/server/attach/client-sockets.ts';
import { openRaw } from '../support/raw-http.ts';
import { closePayload, frameBytes, opcodes, RawWebSocket, upgradeText } from '../support/raw-websocket.ts';

/**
 * The recorded cases of the Autobahn test suite (sections 1 to 7 and 10) against the very WebSockets that attached
 * clients get, with an echo behind them and room for the largest of its messages.
 */

type Step =
  | { op: 'frame'; opcode: number; fin: boolean; rsv: number; payload_b64: string; chop: number | null }
  | { op: 'message'; binary: boolean; payload_b64: string; frag: number | null }
  | { op: 'begin_message'; binary: boolean }
  | { op: 'begin_frame'; length: number }
  | { op: 'frame_data'; payload_b64: string }
  | { op: 'end_message' }
  | { op: 'close'; code: number | null; reason: string | null }
  | { op: 'close_frame'; code: number | null; reason_b64: string | null }
  | { op: 'wait'; s: number }
  | { op: 'close_after' | 'kill_after'; s: number };

type Event = readonly [kind: string, payload: { readonly b64: string }, isBinary?: boolean];

type Case = {
  readonly id: string;
  readonly description: string;
  readonly send: readonly Step[];
  readonly expected: Readonly<Record<string, readonly Event[]>>;
  readonly expectedClose: {
    readonly closedByMe: boolean;
    readonly closeCode: readonly number[];
    readonly requireClean: boolean;
  };
};

const vectors = process.env.SEALWRIGHT_VECTORS;
assert(vectors !== undefined, 'SEALWRIGHT_VECTORS names the folder of recorded vectors');
const cases = JSON.parse(readFileSync(join(vectors, 'autobahn/cases.json'), 'utf8')) as Case[];

const messageBytesMax = 1024 * 1024;
const atOnce = 16;
/** Of these the suite judges the close alone: whether a message is echoed that a close follows is the server’s choice. */
const byCloseAlone: ReadonlySet<string> = new Set(['7.1.6']);
/** The recorded waits are seconds; what they are there for is that what was sent before is read alone. */
const waitMs = 25;

const library = openWebSockets(messageBytesMax);
const server = createServer();
let port: number;

before(async () => {
  server.on('upgrade', (request, socket: Socket, head) =>
    library.handleUpgrade(request, socket, head, (webSocket) => {
      // What breaks the protocol is an error here, and the library answers it.
      webSocket.on('error', () => undefined);
      webSocket.on('message', (data, isBinary) => webSocket.send(data, { binary: isBinary }));
    }),
  );
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  port = (server.address() as AddressInfo).port;
});
after(() => server.close());

/** Plays one case; what was seen, as the suite counts it. */
class Player {
  readonly #case: Case;
  readonly #client: RawWebSocket;
  readonly events: Event[] = [];
  closeCode: number | null = null;
  closedByMe = false;
  #streamed = 0;

  constructor(played: Case, client: RawWebSocket) {
    this.#case = played;
    this.#client = client;
  }

  async play(): Promise<void> {
    const read = this.#read();
    for (const step of this.#case.send) await this.#step(step);
    await read;
    await this.#client.closed;
  }

  async #step(step: Step): Promise<void> {
    const { op } = step;
    if (op === 'frame') {
      const { opcode, fin, rsv, payload_b64, chop } = step;
      await this.#write(frameBytes({ opcode, fin, rsv, payload: bytesOf(payload_b64) }), chop);
    } else if (op === 'message') this.#message(step);
    else if (op === 'begin_message') this.#streamed = step.binary ? opcodes.binary : opcodes.text;
    else if (op === 'begin_frame')
      // A mask of zeros, so that the data may follow as it is.
      this.#client.send({ opcode: this.#streamed, fin: false, length: step.length, mask: Buffer.alloc(4) });
    else if (op === 'frame_data') this.#client.socket.write(bytesOf(step.payload_b64));
    else if (op === 'end_message') this.#client.send({ opcode: opcodes.continuation });
    else if (op === 'close') this.#close(step.code, step.reason ?? '');
    else if (op === 'close_frame') this.#close(step.code, bytesOf(step.reason_b64 ?? ''));
    else if (op === 'wait') await this.#wait();
    else if (!this.#isAwaited && this.#case.expectedClose.closedByMe) this.#close(1000, '');
  }

  /** Whether something is still to come. */
  get #isAwaited(): boolean {
    return !Object.values(this.#case.expected).some((expected) => same(expected, this.events));
  }

  async #write(bytes: Buffer, chop: number | null): Promise<void> {
    const size = chop ?? bytes.length;
    for (let at = 0; at < bytes.length; at += size) {
      this.#client.socket.write(bytes.subarray(at, at + size));
      // So that each piece is a packet of its own.
      if (chop !== null) await pause(0);
    }
  }

  #message({ binary, payload_b64, frag }: Extract<Step, { op: 'message' }>): void {
    const payload = bytesOf(payload_b64);
    const size = frag ?? payload.length;
    let opcode: number = binary ? opcodes.binary : opcodes.text;
    for (let at = 0; at === 0 || at < payload.length; at += size) {
      this.#client.send({
        opcode,
        fin: at + size >= payload.length,
        payload: payload.subarray(at, at + size),
      });
      opcode = opcodes.continuation;
      if (size === 0) break;
    }
  }

  #close(code: number | null, reason: string | Buffer): void {
    if (this.closeCode !== null) return;
    this.closedByMe = true;
    this.#client.send({
      opcode: opcodes.close,
      payload: code === null ? Buffer.from(reason) : closePayload(code, reason),
    });
  }

  async #wait(): Promise<void> {
    await Promise.race([pause(waitMs), this.#client.closed]);
    const isTold = Object.values(this.#case.expected).some((events) =>
      events.some(([kind]) => kind === 'timeout'),
    );
    const name = String.fromCharCode(65 + this.events.filter(([kind]) => kind === 'timeout').length);
    if (isTold && this.closeCode === null && this.#client.closedAt === null)
      this.events.push(['timeout', { b64: Buffer.from(name).toString('base64') }]);
  }

  async #read(): Promise<void> {
    for (;;) {
      const frame = await this.#client.next();
      if (frame === null) return;
      const payload = { b64: frame.payload.toString('base64') };
      if (frame.opcode === opcodes.pong) this.events.push(['pong', payload]);
      else if (frame.opcode === opcodes.close) {
        this.closeCode = frame.payload.length < 2 ? 1005 : frame.payload.readUInt16BE();
        if (!this.closedByMe) this.#client.send({ opcode: opcodes.close, payload: frame.payload });
      } else this.events.push(['message', payload, frame.opcode === opcodes.binary]);
      const isLast = this.#case.send.some(({ op }) => op === 'kill_after' || op === 'close_after');
      if (isLast && !this.#isAwaited && this.#case.expectedClose.closedByMe && !this.closedByMe)
        this.#close(1000, '');
    }
  }
}

function bytesOf(base64: string): Buffer {
  return Buffer.from(base64, 'base64');
}

function same(a: readonly Event[], b: readonly Event[]): boolean {
  return JSON.stringify(a) === JSON.stringify(b);
}

/** What is wrong with how a case went; null where it passed. */
async function flawOf(played: Case): Promise<string | null> {
  const client = new RawWebSocket(await openRaw(port), upgradeText('/'));
  assert.equal((await client.answer).status, 101);
  const player = new Player(played, client);
  const timer = setTimeout(() => client.socket.destroy(), 30_000);
  await player.play();
  clearTimeout(timer);
  const { expected, expectedClose } = played;
  const told = `${played.id} (${played.description.slice(0, 60)})`;
  const isEcho = Object.values(expected).some((events) => same(events, player.events));
  if (!isEcho && !byCloseAlone.has(played.id))
    return `${told}: saw ${JSON.stringify(player.events).slice(0, 200)}`;
  // A close frame without a code answers one without.
  if (player.closeCode !== 1005 && !expectedClose.closeCode.includes(player.closeCode ?? 0))
    return `${told}: closed with ${player.closeCode}`;
  return player.closedByMe === expectedClose.closedByMe ? null : `${told}: closed by the wrong end`;
}

test('all recorded cases of Autobahn pass', async () => {
  assert.equal(cases.length, 247);
  const flaws: string[] = [];
  const rest = cases.values();
  const lane = async () => {
    for (const played of rest) {
      const flaw = await flawOf(played);
      if (flaw !== null) flaws.push(flaw);
    }
  };
  await Promise.all(Array.from({ length: atOnce }, lane));
  assert.deepEqual(flaws, []);
});
