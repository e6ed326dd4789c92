import { closeSync, openSync } from 'node:fs';
import { parentPort } from 'node:worker_threads';
import { namespaceFlags, unshare } from '../../base/libc.ts';
import {
  bindEverywhere,
  connectLoopback,
  enterNetwork,
  listenAt,
  listenEverywhere,
} from '../../base/sockets.ts';
import { gatewayAddress, type ProxyKind, proxyPorts } from '../../model/gateway-address.ts';
import { dnsPort, type Listener } from '../gateway.ts';
import { makeEveryAddressLocal } from './any-ip.ts';
import { localLimits } from './limits.ts';
import type { NamespaceAnswer, NamespaceOrder } from './namespaces.ts';

/**
 * A thread of the runner that makes network namespaces: it moves itself into a new one, makes every address
 * local there, makes the sockets that are to wait there and answers with file descriptors. File descriptors
 * belong to the process, so the main thread uses and closes them. Started with `trackUnmanagedFds: false`, or
 * Node would close them with the thread. What it connects to is in a sandbox's namespace or not there: it is in no other.
 */
parentPort?.on('message', (order: NamespaceOrder) => {
  const { id, namespace } = order;
  const made: number[] = [];
  let answer: NamespaceAnswer;
  try {
    if (namespace === null) {
      unshare(namespaceFlags.net);
      makeEveryAddressLocal();
    } else {
      enterNetwork(namespace);
    }
    if ('connect' in order) {
      answer = { id, fd: connectLoopback(order.connect, order.port), listeners: [] };
    } else {
      const listeners = [
        ...order.ports.flatMap((port) => listenersAt(port, made)),
        ...order.proxies.map((proxy) => proxyListener(proxy, made)),
      ];
      const fd = namespace ?? openSync('/proc/thread-self/ns/net', 'r');
      answer = { id, fd, listeners };
    }
  } catch (error) {
    for (const fd of made) closeSync(fd);
    answer = { id, problem: error instanceof Error ? error.message : String(error) };
  }
  parentPort?.postMessage(answer);
});

/** Ports that a proxy has at the gateway's address stay free for policies, and for the workload at its own addresses. */
const isShared = (port: number): boolean => Object.values<number>(proxyPorts).includes(port);

function listenersAt(port: number, made: number[]): Listener[] {
  const listeners: Listener[] = [
    {
      transport: 'tcp',
      port,
      proxy: null,
      fd: listenEverywhere(port, localLimits.listenBacklog, isShared(port)),
    },
  ];
  made.push(listeners[0]!.fd);
  if (port === dnsPort) listeners.push({ transport: 'udp', port, proxy: null, fd: bindEverywhere(port) });
  made.push(listeners.at(-1)!.fd);
  return listeners;
}

function proxyListener(proxy: ProxyKind, made: number[]): Listener {
  const port = proxyPorts[proxy];
  const fd = listenAt(gatewayAddress, port, localLimits.listenBacklog);
  made.push(fd);
  return { transport: 'tcp', port, proxy, fd };
}
