import type { Socket as DatagramSocket } from 'node:dgram';
import { closeSync } from 'node:fs';
import { createServer, type Server } from 'node:net';
import type { Clock } from '../base/clock.ts';
import type { GatewayOrder, PassedListeners } from '../contract/gateway.ts';
import { serveDnsConnection, serveDnsDatagrams } from './dns/answering.ts';
import { serveConnection } from './flow/connection.ts';
import { serveHttpProxy } from './proxy/http-proxy.ts';
import { serveSocksProxy } from './proxy/socks-proxy.ts';
import { type FlowBatch, Recorder } from './recorder.ts';
import { Room } from './room.ts';
import { SandboxDoor } from './sandbox-door.ts';
import type { Upstreams } from './upstreams.ts';

type Open = { readonly door: SandboxDoor; readonly listeners: (Server | DatagramSocket)[] };

const dnsPort = 53;

/** The way out of every sandbox of a host. It decides by the policies that the runner hands it and holds nothing else. */
export class EgressGateway {
  readonly #doors = new Map<number, Open>();
  readonly #recorder: Recorder;
  readonly #upstreams: Upstreams;
  readonly #clock: Clock;
  readonly #room: Room;

  constructor(parts: {
    upstreams: Upstreams;
    clock: Clock;
    /** Of all sandboxes together. */
    connectionsMax: number;
    send: (batch: FlowBatch) => void;
  }) {
    this.#upstreams = parts.upstreams;
    this.#clock = parts.clock;
    this.#room = new Room(parts.connectionsMax);
    this.#recorder = new Recorder(parts.send);
  }

  /**
   * Resolves when an order is carried out; the descriptors are those of its listeners, in their order, and are the
   * gateway's now. Orders take effect in the order of the calls.
   */
  async obey(order: GatewayOrder, descriptors: readonly number[]): Promise<void> {
    switch (order.order) {
      case 'open':
        listen(this.#open(order), order.listeners, descriptors);
        break;
      case 'admit': {
        const open = this.#doors.get(order.door);
        // It was closed while the order was on its way.
        if (open === undefined) {
          for (const fd of descriptors) closeSync(fd);
          return;
        }
        open.door.admit(order.run, order.policy, order.nextFlow, order.bytesOut);
        listen(open, order.listeners, descriptors);
        break;
      }
      case 'close':
        await this.#close(order.door);
        break;
      case 'recorded':
        this.#recorder.recorded(order.batch);
        break;
      case 'refused':
        this.#recorder.refused(order.batch);
    }
  }

  #open({ door: number, era, authority }: Extract<GatewayOrder, { order: 'open' }>): Open {
    const parts = {
      upstreams: this.#upstreams,
      recorder: this.#recorder,
      clock: this.#clock,
      room: this.#room,
      era,
      authority,
    };
    const open = { door: new SandboxDoor(parts), listeners: [] };
    this.#doors.set(number, open);
    return open;
  }

  async #close(number: number): Promise<void> {
    const open = this.#doors.get(number);
    if (open === undefined) return;
    this.#doors.delete(number);
    for (const listener of open.listeners) listener.close();
    await open.door.close();
    this.#recorder.flush();
  }
}

function listen(open: Open, listeners: PassedListeners, descriptors: readonly number[]): void {
  for (const [index, listener] of listeners.entries())
    open.listeners.push(
      listener.transport === 'udp'
        ? serveDnsDatagrams(open.door, descriptors[index]!)
        : serveTcp(open.door, listener, descriptors[index]!),
    );
}

function serveTcp(door: SandboxDoor, { port, proxy }: PassedListeners[number], fd: number): Server {
  const server = createServer({ allowHalfOpen: true, noDelay: true, pauseOnConnect: true }, (socket) => {
    socket.on('error', () => undefined);
    if (proxy === 'http') serveHttpProxy(door, socket);
    else if (proxy === 'socks') serveSocksProxy(door, socket);
    else if (port === dnsPort) {
      if (!door.enter(socket)) return void socket.resetAndDestroy();
      socket.resume();
      serveDnsConnection(door, socket);
    } else {
      serveConnection(door, socket, port);
    }
  });
  server.on('error', () => undefined);
  return server.listen({ fd });
}
