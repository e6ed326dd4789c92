import assert from 'node:assert/strict';
import type { RequestListener, Server } from 'node:http';
import type { Socket } from 'node:net';
import type { TLSSocket } from 'node:tls';
import type { Caller } from '../control/control.ts';
import {
  createListener,
  type Listener,
  type ListenerOptions,
  listenLocal,
  listenTcp,
  type Place,
} from './listeners.ts';
import { fingerprintOf, type MachineSource } from './machines.ts';
import type { Streams } from './streams.ts';

type Request = { readonly raw: { readonly socket: Socket } };

/** The ways in, and what the way that a request came says of its caller. */
export type Doors = {
  /** Makes the listeners, of which the first is the app's own; nothing listens yet. */
  make(handler: RequestListener): Server;
  /** Opens every door or none. */
  open(): Promise<{ readonly port: number; readonly machinesPort: number | null }>;
  /** Whether it came on the machine's own socket. */
  isLocal(request: Request): boolean;
  /** On the listener for machines the fingerprint of the caller's certificate; null on every other. */
  certificateOf(request: Request): string | null;
  /** A request of this caller was let in; a machine's connection ends with what let it in. */
  admitted(request: Request, caller: Caller): void;
  close(): Promise<void>;
};

export type DoorsOptions = Omit<ListenerOptions, 'tls'> & {
  readonly listen: Place;
  readonly tls: ListenerOptions['tls'];
  readonly localSocketPath: string | null;
  readonly machines: { readonly listen: Place; readonly source: MachineSource } | null;
  /** Holds connections of machines to their certificates. */
  readonly connections: Streams;
};

export function openDoors(options: DoorsOptions): Doors {
  const { limits, newRequestId, tls, machines, connections, upgrades } = options;
  const localSockets = new WeakSet<Socket>();
  const machineSockets = new WeakMap<Socket, string>();
  const held = new WeakSet<Socket>();
  let listeners: { tcp: Listener; local: Listener; machine: Listener | null } | null = null;
  return {
    make(handler) {
      const tcp = createListener(handler, { limits, newRequestId, tls, upgrades });
      const local = createListener(handler, { limits, newRequestId, tls: null, upgrades });
      local.server.on('connection', (socket) => localSockets.add(socket));
      let machine: Listener | null = null;
      if (machines !== null) {
        machine = createListener(handler, { limits, newRequestId, tls: machines.source, upgrades });
        machine.server.on('secureConnection', (socket: TLSSocket) => {
          const fingerprint = fingerprintOf(socket);
          if (fingerprint === null) socket.destroy();
          else machineSockets.set(socket, fingerprint);
        });
      }
      listeners = { tcp, local, machine };
      return tcp.server;
    },
    async open() {
      assert(listeners !== null);
      return await openAll(listeners, options);
    },
    isLocal: ({ raw }) => localSockets.has(raw.socket),
    certificateOf: ({ raw }) => machineSockets.get(raw.socket) ?? null,
    admitted({ raw: { socket } }, caller) {
      if (!machineSockets.has(socket) || held.has(socket)) return;
      held.add(socket);
      connections.add({ answer: socket, caller, still: async () => undefined, end: () => undefined });
    },
    async close() {
      machines?.source.close();
      connections.close();
      const { tcp, local, machine } = listeners ?? {};
      await Promise.all([tcp?.close(), local?.close(), machine?.close()]);
    },
  };
}

async function openAll(
  { tcp, local, machine }: { tcp: Listener; local: Listener; machine: Listener | null },
  { listen, localSocketPath, machines }: DoorsOptions,
): Promise<{ port: number; machinesPort: number | null }> {
  const port = await listenTcp(tcp.server, listen);
  try {
    if (localSocketPath !== null) await listenLocal(local.server, localSocketPath);
    if (machine === null || machines === null) return { port, machinesPort: null };
    return { port, machinesPort: await listenTcp(machine.server, machines.listen) };
  } catch (error) {
    await Promise.all([tcp.close(), local.close()]);
    throw error;
  }
}
